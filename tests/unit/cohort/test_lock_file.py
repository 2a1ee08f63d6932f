"""A lock comes back as it was written, and nothing else is believed."""

import json
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from dicomhaul.cohort import lock as lock_module
from dicomhaul.cohort.lock import (
    LockedSeries,
    LockHeader,
    Uid,
    check_writable,
    is_lock,
    kept,
    lock_mark,
    open_lock,
    said,
    write_lock,
)
from dicomhaul.errors import CohortError, ConfigError, NotWritable
from dicomhaul.model import Query, Shard, is_identifier

REVISION = "0190bd21-75d4-4b5f-9e0c-0f1a2b3c4d5e"
OTHER = "11111111-75d4-4b5f-9e0c-0f1a2b3c4d5e"
DIGEST = "00112233445566778899aabbccddeeff"


def header_for(rows: list[LockedSeries], **values: Any) -> LockHeader:
    return replace(
        LockHeader(created="2026-01-02T03:04:05+00:00", query={"collection": ["a"]}, series=len(rows), idc_version=25),
        **values,
    )


def row(number: int = 1, **values: Any) -> LockedSeries:
    return replace(LockedSeries(f"1.2.{number}", "1.2", REVISION), **values)


def written(path: Path, *rows: LockedSeries, **values: Any) -> Path:
    write_lock(path, header_for(list(rows), **values), rows)
    return path


def read(path: Path) -> tuple[LockHeader, list[LockedSeries]]:
    with open_lock(path) as lock:
        return lock.header, list(lock)


# -- round trip -----------------------------------------------------------------------------------------------------

uids = st.from_regex(r"[0-9A-Za-z][0-9A-Za-z_-]{0,8}(\.[0-9A-Za-z_-]{1,5}){0,4}", fullmatch=True)
texts = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
counts = st.none() | st.integers(0, 1 << 53)
digests = st.binary(min_size=16, max_size=16).map(bytes.hex)
series = st.builds(
    LockedSeries,
    series=uids,
    study=uids,
    revision=st.uuids().map(str),
    bucket=st.none() | st.sampled_from(["idc-open-data", "idc-open-data-two"]),
    collection=texts,
    patient=texts,
    modality=texts,
    license=texts,
    instances=counts,
    size_bytes=counts,
    routes=st.none() | st.lists(st.sampled_from(["idc-bucket", "idc-proxy"]), unique=True).map(tuple),
    sops=st.none(),
    xxh3=st.none() | st.dictionaries(uids, digests, max_size=4),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(series, max_size=6, unique_by=lambda each: each.key))
def test_it_comes_back_as_it_was(tmp_path: Path, rows: list[LockedSeries]) -> None:
    rows.sort(key=lambda each: each.key)
    path = tmp_path / "cohort.lock"
    header = header_for(rows, licenses={"CC BY 4.0": 1, "": 2}, source=("idc-bucket",), instances=3, size_bytes=4)
    write_lock(path, header, rows)
    assert read(path) == (header, rows)
    assert is_lock(path)
    content = path.read_bytes()
    write_lock(path, *read(path))
    assert path.read_bytes() == content
    assert content.count(b"\n") == len(rows) + 1


@given(st.text(max_size=66) | uids)
def test_its_uids_are_those_of_the_model(text: str) -> None:
    try:
        TypeAdapter(Uid).validate_python(text)
    except ValidationError:
        assert not is_identifier(text)
    else:
        assert is_identifier(text)


def test_it_is_read_twice_from_the_beginning(tmp_path: Path) -> None:
    with open_lock(written(tmp_path / "l", row(1), row(2))) as lock:
        iterator = iter(lock)
        next(iterator)
        assert [each.series for each in lock] == [each.series for each in lock] == ["1.2.1", "1.2.2"]


def test_what_nobody_states_is_left_out(tmp_path: Path) -> None:
    lines = written(tmp_path / "l", row()).read_text().splitlines()
    assert json.loads(lines[1]) == {"series": "1.2.1", "study": "1.2", "revision": REVISION}
    assert "instances" not in json.loads(lines[0])


def test_the_query_is_what_was_given() -> None:
    assert said(Query(collection=("a",), shard=Shard(1, 3), everything=False)) == {"collection": ["a"], "shard": [1, 3]}
    manifest = said(Query(targets=("-",), manifest="1.2.3\n"))["manifest"]
    assert manifest.startswith("sha256 ")
    assert len(manifest) == 71


# -- writing --------------------------------------------------------------------------------------------------------


def test_the_old_one_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = written(tmp_path / "cohort.lock", row())
    before = path.read_bytes()

    def rows() -> Any:
        yield row(2)
        raise CohortError("in the middle")

    with pytest.raises(CohortError, match="in the middle"):
        write_lock(path, header_for([row(2)]), rows())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_everybody_may_read_it_whom_the_umask_lets(tmp_path: Path) -> None:
    mask = os.umask(0o027)
    try:
        path = written(tmp_path / "cohort.lock", row())
    finally:
        os.umask(mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real.lock")
    written(tmp_path / "link", row())
    assert (tmp_path / "link").is_symlink()
    assert is_lock(tmp_path / "real.lock")


def test_a_folder_that_is_not_there_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(NotWritable, match="No such file or directory"):
        written(tmp_path / "none" / "cohort.lock", row())


def test_where_it_can_be_written_is_seen_before(tmp_path: Path) -> None:
    check_writable(tmp_path / "new.lock")
    check_writable(written(tmp_path / "old.lock", row()))
    (tmp_path / "table.csv").write_text("a,b\n")
    for path, what in (
        (tmp_path / "table.csv", "no lock; it stays"),
        (tmp_path, "it is a folder"),
        (tmp_path / "none" / "a.lock", "there is no folder"),
    ):
        with pytest.raises(ConfigError, match=what):
            check_writable(path)


# -- hostile --------------------------------------------------------------------------------------------------------


def changed(path: Path, line: int, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change one line (from 0) of a lock."""
    lines = path.read_text().splitlines()
    table = json.loads(lines[line])
    given = change(table)
    lines[line] = given if isinstance(given, str) else json.dumps(table)
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("series", "1.2/../../etc"),
        ("series", "1..2"),
        ("series", 12),
        ("series", None),
        ("study", "../1"),
        ("study", "1.2\n"),
        ("study", "1" * 65),
        ("revision", "not-a-uuid"),
        ("revision", REVISION.upper()),
        ("revision", f"{REVISION}\n"),
        ("revision", None),
        ("bucket", "idc/../other"),
        ("bucket", "UPPER"),
        ("bucket", "?list-type=2"),
        ("collection", "x" * 1001),
        ("patient", ["x"]),
        ("instances", -1),
        ("instances", 1 << 60),
        ("instances", "3"),
        ("instances", 1.0),
        ("instances", True),
        ("size_bytes", -1),
        ("routes", "idc-bucket"),
        ("routes", ["a\x1b[2J"]),
        ("sops", []),
        ("sops", ["../x"]),
        ("xxh3", {"1.2": "abc"}),
        ("xxh3", {"../1": DIGEST}),
        ("xxh3", {"1.2": DIGEST.upper()}),
        ("unknown", 1),
    ],
)
def test_no_value_is_believed(name: str, value: Any, tmp_path: Path) -> None:
    path = written(tmp_path / "l", row(1), row(3))
    changed(path, 1, lambda table: table.update({name: value}))
    with pytest.raises(CohortError, match=r"line 2: ") as raised:
        read(path)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < len(str(path)) + 300


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "\x00", '{"series":' * 5_000, "NaN", '{"series":"\\ud800"}'])
def test_no_line_is_believed(text: str, tmp_path: Path) -> None:
    path = written(tmp_path / "l", row(1))
    changed(path, 1, lambda _: text)
    with pytest.raises(CohortError, match=r"line 2: "):
        read(path)


@pytest.mark.parametrize("text", ["[1]", "null", '"x"', '{"dicomhaul_lock":1', '{"dicomhaul_lock":' * 5_000, "\xff"])
def test_no_first_line_is_believed(text: str, tmp_path: Path) -> None:
    path = written(tmp_path / "l", row(1))
    changed(path, 0, lambda _: text)
    with pytest.raises(CohortError, match=r"line 1: "):
        read(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("series", -1),
        ("query", "x"),
        ("dicomhaul_lock", "1"),
        ("dicomhaul_lock", 0),
        ("licenses", [1]),
        ("idc_version", 0),
        ("source", ["\x07"]),
        ("more", 1),
    ],
)
def test_no_header_is_believed(name: str, value: Any, tmp_path: Path) -> None:
    path = written(tmp_path / "l", row(1))
    changed(path, 0, lambda table: table.update({name: value}))
    with pytest.raises(CohortError, match=r"line 1: "):
        read(path)


def test_a_later_format_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "l", row(1))
    changed(path, 0, lambda table: table.update(dicomhaul_lock=2, anything="new"))
    with pytest.raises(CohortError, match="a lock of version 2; this dicomhaul reads version 1"):
        read(path)


@pytest.mark.parametrize("name", ["a\\nb", "\\u001b]0;x", "\\u202e", "x" * 5_000])
def test_its_own_names_are_no_message(name: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a.lock")
    path.write_text(path.read_text().replace('"query"', f'"{name}":1,"query"'))
    with pytest.raises(CohortError, match="line 1") as caught:
        read(path)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message.replace(str(path), "")) < 200


def test_a_version_without_end_is_shown_in_part(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    path.write_text('{"dicomhaul_lock":' + "9" * 4_000 + "}\n")
    with pytest.raises(CohortError, match=r"version 9{20};"):
        read(path)


@pytest.mark.parametrize("order", [(2, 1), (1, 1)])
def test_its_order_is_checked(order: tuple[int, int], tmp_path: Path) -> None:
    with pytest.raises(CohortError, match=r"line 3: its series are not in the order"):
        read(written(tmp_path / "l", *map(row, order)))


def test_instances_beside_those_asked_for_have_no_digest(tmp_path: Path) -> None:
    path = written(tmp_path / "l", row(sops=("1.5",), xxh3={"1.6": DIGEST}))
    with pytest.raises(CohortError, match=r"line 2: xxh3 names"):
        read(path)


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_a_missing_end_is_found(rows: int, tmp_path: Path) -> None:
    path = written(tmp_path / "l", row(1), row(2))
    lines = path.read_text().splitlines(keepends=True)
    extra = json.dumps({"series": "1.2.3", "study": "1.2", "revision": REVISION}) + "\n"
    path.write_text("".join([*lines, extra][: rows + 1]))
    with pytest.raises(CohortError, match=f"it has {rows} of the 2 series"):
        read(path)


def test_a_line_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "l", row(1, collection="x" * 900))
    monkeypatch.setattr(lock_module, "_LINE_MAX_BYTES", 800)
    with pytest.raises(CohortError, match=r"line 2: longer than 800 bytes"):
        read(path)


def test_no_file_and_no_text(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="there is no lock"):
        read(tmp_path / "none")
    with pytest.raises(CohortError, match="cannot read the lock"):
        read(tmp_path)
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    for path in (tmp_path / "none", tmp_path, tmp_path / "binary"):
        assert not is_lock(path)


@pytest.mark.parametrize("head", ["\ufeff", "  ", "\ufeff "])
def test_what_an_editor_put_before_it_harms_nothing(head: str, tmp_path: Path) -> None:
    path = written(tmp_path / "l", row(1))
    path.write_bytes(head.encode() + path.read_bytes())
    assert is_lock(path)
    assert read(path)[1] == [row(1)]


# -- which cohort it is ---------------------------------------------------------------------------------------------


def test_what_becomes_known_later_makes_it_no_other_cohort(tmp_path: Path) -> None:
    mark = lock_mark(written(tmp_path / "a", row(1), row(2)))
    more = [row(1, instances=3, routes=("idc-proxy",), xxh3={"1.5": DIGEST}), row(2, bucket="idc-open-data")]
    assert lock_mark(written(tmp_path / "b", *more, created="later", written_by="x", instances=9)) == mark
    for other in (
        written(tmp_path / "c", row(1)),
        written(tmp_path / "d", row(1), row(2, revision=OTHER)),
        written(tmp_path / "e", row(1), row(2, sops=("1.5",))),
        written(tmp_path / "f", row(1), row(2), query={"collection": ["b"]}),
    ):
        assert lock_mark(other) != mark


def test_a_lock_gains_and_never_contradicts_itself() -> None:
    old = [row(1, instances=3, license="CC BY 4.0", xxh3={"1.5": DIGEST}), row(2), row(4), row(6)]
    new = [
        row(1, instances=4, size_bytes=9, xxh3={"1.4": "11" * 16, "1.5": "22" * 16}),
        row(2, xxh3={"1.7": DIGEST}),
        row(3),
        row(4, revision=OTHER, instances=1),
    ]
    assert list(kept(old, new)) == [
        row(1, instances=3, license="CC BY 4.0", size_bytes=9, xxh3={"1.4": "11" * 16, "1.5": DIGEST}),
        row(2, xxh3={"1.7": DIGEST}),
        row(3),
        row(4, revision=OTHER, instances=1),
    ]
