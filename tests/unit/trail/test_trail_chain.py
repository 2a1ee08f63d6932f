"""Whatever is done to one log, `prove` finds it; what is sound is found sound."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomhaul.errors import ConfigError
from dicomhaul.trail.chain import MOST_LINE_BYTES, Head, seal, seal_first
from dicomhaul.trail.proof import prove

LOG = "ab" * 16


def written(count: int = 6) -> list[bytes]:
    line, head = seal_first(LOG, "2026-01-01T00:00:00.000Z", None)
    lines = [line]
    for number in range(1, count):
        line, head = seal(head, json.dumps({"from": ["cd", number], "event": "created", "sop": f"1.2.{number}"}))
        lines.append(line)
    return lines


LINES = written()
WHOLE = b"".join(LINES)


def broken(text: bytes, must: dict[str, str] | None = None) -> list[int]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "audit.log"
        path.write_bytes(text)
        return [finding.line for finding in prove([path], must=must).findings]


def test_a_log_as_it_was_written_is_sound() -> None:
    assert broken(WHOLE) == []


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_any_byte_that_is_changed_is_found_at_its_line(at: int, by: int) -> None:
    changed = bytearray(WHOLE)
    changed[at] ^= by
    line = WHOLE.count(b"\n", 0, at)
    assert broken(bytes(changed)) == [line]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_lines_that_are_dropped_moved_or_doubled_are_found(data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(LINES) - 2))
    second = data.draw(st.integers(first + 1, len(LINES) - 1))
    dropped = LINES[:first] + LINES[first + 1 :]
    assert broken(b"".join(dropped)) == [first]
    swapped = list(LINES)
    swapped[first], swapped[second] = swapped[second], swapped[first]
    assert broken(b"".join(swapped)) == [first]
    doubled = [*LINES[: second + 1], LINES[first], *LINES[second + 1 :]]
    assert broken(b"".join(doubled)) == [second + 1]


@given(st.integers(0, len(WHOLE) - 1))
@settings(max_examples=60, deadline=None)
def test_what_is_cut_off_at_the_end_is_missed_by_who_remembers_it(left: int) -> None:
    seal_of_last = json.loads(LINES[-1])["sha256"]
    assert broken(WHOLE[:left], {seal_of_last: "--head"}) != []
    assert broken(WHOLE, {seal_of_last: "--head"}) == []


def test_a_log_that_was_written_anew_is_not_the_one_that_is_remembered() -> None:
    assert broken(b"".join(written(9)), {"0" * 64: "--head"}) == [9]


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 50_000,
        b'{"number":' + b"9" * 5_000 + b"}",
        b"\0" * 100,
        b"x" * (MOST_LINE_BYTES + 9),
        b"null",
        b"\xff\xfe",
    ],
)
def test_lines_that_somebody_made_up_are_found_and_nothing_breaks(line: bytes) -> None:
    assert broken(WHOLE + line + b"\n") == [len(LINES)]
    assert broken(line + b"\n" + WHOLE) == [0]


def test_a_number_that_is_none_and_an_unknown_format_are_found() -> None:
    line, _ = seal(Head(LOG, -1, "0" * 64, 0), '{"event":"log begun","format":2,"log":"ab"}')
    assert broken(line) == [0]
    forged, _ = seal(Head(LOG, len(LINES) - 1, json.loads(LINES[-1])["sha256"], 0), '{"number":true}')
    assert broken(WHOLE + forged) == [len(LINES)]


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ConfigError, match="cannot read the audit log"):
            prove([path])
