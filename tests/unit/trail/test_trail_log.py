"""Appending: what others wrote is read, what a crash left stays and is told, what was cut is refused."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from dicomhaul.errors import AuditError, ConfigError
from dicomhaul.trail.log import AuditLog, check_outside
from dicomhaul.trail.proof import prove


def entry(number: int) -> tuple[int, str]:
    return number, json.dumps({"event": "created", "sop": f"1.2.{number}"})


def told(path: Path, teller: str = "one") -> list[int]:
    lines: list[dict[str, Any]] = [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    return [line["from"][1] for line in lines if "from" in line and line["from"][0] == teller]


def test_several_append_to_one_log_each_behind_the_others(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    one, two = AuditLog(path, "one", None), AuditLog(path, "two", None)
    one.append([entry(1), entry(2)])
    two.append([entry(1)])
    one.append([entry(3)])
    one.close()
    two.append([entry(2)])
    two.close()
    assert prove([path]).findings == ()
    assert (told(path), told(path, "two")) == ([1, 2, 3], [1, 2])
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_a_killed_run_had_appended_is_not_appended_again(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    killed = AuditLog(path, "one", None)
    known = killed.head
    killed.append([entry(1), entry(2)])
    killed.close()
    again = AuditLog(path, "one", known, 0)
    assert again.told == 2
    again.append([entry(1), entry(2), entry(3)])
    again.close()
    assert told(path) == [1, 2, 3]


@pytest.mark.parametrize("left", [1, 40, -2, -1])
def test_what_a_crash_left_of_a_line_stays_and_the_next_line_tells_of_it(left: int, tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    log = AuditLog(path, "one", None)
    known = log.head
    log.append([entry(1)])
    whole = path.read_bytes()
    log.append([entry(2)])
    log.close()
    line = path.read_bytes()[len(whole) :]
    path.write_bytes(whole + line[:left])
    again = AuditLog(path, "one", known, 0)
    again.append([entry(1), entry(2)])
    again.close()
    proof = prove([path])
    assert proof.findings == ()
    assert path.read_bytes().startswith(whole + line[:left])
    assert proof.files[0].torn == (() if left == -1 else (2,))  # without its end alone it is whole
    assert told(path) == ([1, 2])


def test_bytes_that_a_torn_line_tells_of_cannot_be_changed_either(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    AuditLog(path, "one", None).close()
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"number":1,"fr')
    AuditLog(path, "one", None).close()
    path.write_bytes(path.read_bytes().replace(b'{"number":1,"fr\n', b'{"number":1,"fx\n'))
    assert [finding.line for finding in prove([path]).findings] == [1]


def test_a_log_that_lacks_what_is_remembered_is_not_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    log = AuditLog(path, "one", None)
    log.append([entry(1), entry(2)])
    log.close()
    kept = path.read_bytes()
    for text in (b"".join(kept.splitlines(keepends=True)[:-1]), kept.replace(b"1.2.2", b"1.2.9")):
        path.write_bytes(text)
        if text == kept.replace(b"1.2.2", b"1.2.9"):
            assert prove([path]).findings != ()
        else:
            with pytest.raises(AuditError, match="was changed or cut"):
                AuditLog(path, "one", log.head, 2)
    path.write_bytes(kept + b"what is no entry\nnor this\n")
    with pytest.raises(AuditError, match="is damaged"):
        AuditLog(path, "one", log.head, 2)
    path.write_bytes(b"somebody's notes\n")
    with pytest.raises(AuditError, match="is no audit log"):
        AuditLog(path, "one", None)
    assert path.read_bytes() == b"somebody's notes\n"


def test_a_log_that_is_cut_while_it_is_open_stops_the_run(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    log = AuditLog(path, "one", None)
    log.append([entry(1)])
    os.truncate(path, log.head.end - 1)
    with pytest.raises(AuditError, match="was cut"):
        log.append([entry(2)])
    log.close()


def test_a_log_that_was_renamed_goes_on_in_a_new_file(tmp_path: Path) -> None:
    path, old = tmp_path / "audit.log", tmp_path / "audit.log.1"
    log = AuditLog(path, "one", None)
    log.append([entry(1)])
    path.rename(old)
    log.append([entry(2)])
    log.close()
    assert (told(old), told(path)) == ([1], [2])
    assert prove([old, path]).findings == ()
    # The lines that the new one remembers are missed in the old one; a file that is another's does not go on from it.
    lines = old.read_bytes().splitlines(keepends=True)
    old.write_bytes(b"".join(lines[:-1]))
    assert [(finding.path, finding.line) for finding in prove([old, path]).findings] == [(old, 1)]
    AuditLog(tmp_path / "other", "one", None).close()
    assert [finding.path for finding in prove([path, tmp_path / "other"]).findings] == [tmp_path / "other"]


def test_what_is_no_file_of_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "there")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    for name in ("link", "fifo", "folder", "nowhere/audit.log"):
        with pytest.raises(AuditError, match="cannot be used"):
            AuditLog(tmp_path / name, "one", None)
    assert (tmp_path / "there").read_text() == "mine"


def test_a_log_is_not_kept_in_what_it_tells_of(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "dest")
    for inside in ("dest/audit.log", "dest/.dicomhaul/audit.log", "link/audit.log", "dest"):
        with pytest.raises(ConfigError, match="keep it elsewhere"):
            check_outside(tmp_path / inside, tmp_path / "dest")
    check_outside(tmp_path / "destination.log", tmp_path / "dest")


def test_a_full_disk_is_told_and_what_was_half_written_is_made_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "audit.log"
    log = AuditLog(path, "one", None)
    write = os.write

    def full(fd: int, data: memoryview) -> int:
        if len(data) < 100:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(fd, data[: len(data) - 99])

    with monkeypatch.context() as patch:
        patch.setattr("dicomhaul.trail.log.os.write", full)
        with pytest.raises(AuditError, match="No space left"):
            log.append([entry(1), entry(2)])
    log.append([entry(1), entry(2), entry(3)])
    log.close()
    assert told(path) == [1, 2, 3]
    assert prove([path]).findings == ()
