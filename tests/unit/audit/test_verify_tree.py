"""Each way in which a tree can differ from its ledger is found, named, and told apart."""

import os
import random
import shutil
from pathlib import Path

import pytest
import xxhash

from dicomhaul.audit import Checked, Expected, Finding, Problem, verify_tree
from dicomhaul.errors import LedgerError, NotWritable


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    root = tmp_path / "dest"
    (root / ".dicomhaul" / "staging").mkdir(parents=True)
    (root / ".dicomhaul" / "ledger.sqlite3").write_bytes(b"ours")
    (root / "index.parquet").write_bytes(b"ours")
    return root


def land(dest: Path, folder: str, sop: str, content: bytes, series_id: int = 1) -> Expected:
    path = dest / folder / f"{sop}.dcm"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return Expected(series_id, folder, sop, len(content), xxhash.xxh3_128(content).digest())


def a_tree(dest: Path) -> list[Expected]:
    rng = random.Random(1)
    return [
        land(dest, f"1.{study}/1.{study}.{series}", f"2.{study}.{series}.{n}", rng.randbytes(3_000 * n), study)
        for study in range(3)
        for series in range(2)
        for n in range(1, 8)
    ]


def test_an_untouched_tree_has_no_findings_and_counts_all(dest: Path) -> None:
    expected = a_tree(dest)
    checked = Checked()
    assert list(verify_tree(dest, expected, checked=checked)) == []
    assert checked == Checked(instances=len(expected), size_bytes=sum(row.size_bytes for row in expected))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def link(path: Path) -> None:
    elsewhere = path.parents[3] / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def fold(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (flip, Problem.CONTENT),
        (grow, Problem.SIZE),
        (truncate, Problem.SIZE),
        (Path.unlink, Problem.MISSING),
        (link, Problem.NOT_A_FILE),
        (fold, Problem.NOT_A_FILE),
        (pipe, Problem.NOT_A_FILE),
    ],
)
def test_one_damaged_file_is_the_one_finding(dest: Path, damage: object, problem: Problem) -> None:
    expected = a_tree(dest)
    victim = expected[17]
    damage(dest / victim.path)  # type: ignore[operator]
    findings = list(verify_tree(dest, expected))
    assert [(f.problem, f.path, f.series_id, f.sop) for f in findings] == [
        (problem, victim.path, victim.series_id, victim.sop)
    ]


def test_two_files_that_changed_places_are_two_findings(dest: Path) -> None:
    one = land(dest, "1/2", "3.1", b"a" * 1_000)
    two = land(dest, "1/2", "3.2", b"b" * 1_000)
    (dest / one.path).rename(dest / "spare")
    (dest / two.path).rename(dest / one.path)
    (dest / "spare").rename(dest / two.path)
    findings = list(verify_tree(dest, [one, two]))
    assert [(f.problem, f.sop) for f in findings] == [(Problem.CONTENT, "3.1"), (Problem.CONTENT, "3.2")]


def test_the_digest_is_the_one_that_the_ledger_stores(dest: Path) -> None:
    """Big endian, as `digest()` returns it; a known value of XXH3-128 (empty input) keeps the byte order
    honest.
    """
    row = land(dest, "1", "2", b"")._replace(xxh3=bytes.fromhex("99aa06d3014798d86001c324468d497f"))
    assert list(verify_tree(dest, [row])) == []


def test_a_file_of_many_buffers_is_read_to_its_end(dest: Path) -> None:
    row = land(dest, "1", "2", random.Random(2).randbytes(3_500_000))
    path = dest / row.path
    assert list(verify_tree(dest, [row])) == []
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert [f.problem for f in verify_tree(dest, [row])] == [Problem.CONTENT]


def test_a_folder_that_is_gone_makes_all_its_files_missing(dest: Path) -> None:
    expected = a_tree(dest)
    gone = expected[0].folder
    shutil.rmtree(dest / gone)
    findings = list(verify_tree(dest, expected))
    assert [f.path for f in findings] == [row.path for row in expected if row.folder == gone]
    assert {f.problem for f in findings} == {Problem.MISSING}


@pytest.mark.parametrize("levels", [1, 0])
def test_a_folder_that_became_a_link_holds_no_landed_file(dest: Path, tmp_path: Path, levels: int) -> None:
    row = land(dest, "1/2", "3", b"abc")
    folder = dest.joinpath(*["1", "2"][: levels + 1])
    folder.rename(tmp_path / "moved")
    folder.symlink_to(tmp_path / "moved")
    findings = list(verify_tree(dest, [row]))
    assert [(f.problem, f.path) for f in findings if f.sop] == [(Problem.NOT_A_FILE, "1/2/3.dcm")]
    assert [f.path for f in findings if not f.sop] == ["/".join(["1", "2"][: levels + 1])]


def test_a_folder_that_became_a_file_is_missing_and_foreign(dest: Path) -> None:
    row = land(dest, "1/2", "3", b"abc")
    shutil.rmtree(dest / "1")
    (dest / "1").write_bytes(b"")
    assert [(f.problem, f.path) for f in verify_tree(dest, [row])] == [
        (Problem.MISSING, "1/2/3.dcm"),
        (Problem.FOREIGN, "1"),
    ]


def test_foreign_files_are_named_wherever_they_lie(dest: Path, tmp_path: Path) -> None:
    expected = [land(dest, "1/2", "3", b"abc"), land(dest, "1/4", "5", b"def")]
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "not-below").write_bytes(b"")
    for name in (
        "README",
        "1/notes.txt",
        "1/2/9.dcm",
        "deep/er/still/x.dcm",
        "1/.dicomhaul/y",
        "1/index.parquet",
    ):
        (dest / name).parent.mkdir(parents=True, exist_ok=True)
        (dest / name).write_bytes(b"x")
    (dest / "1" / "4" / "link").symlink_to(outside)
    (dest / "empty").mkdir()
    findings = list(verify_tree(dest, expected))
    assert {f.problem for f in findings} == {Problem.FOREIGN}
    assert sorted(f.path for f in findings) == [
        "1/.dicomhaul/y",
        "1/2/9.dcm",
        "1/4/link",
        "1/index.parquet",
        "1/notes.txt",
        "README",
        "deep/er/still/x.dcm",
    ]


def test_what_is_ours_at_the_root_is_not_foreign_and_nothing_else_is_excused(dest: Path) -> None:
    row = land(dest, "", "3", b"abc")
    (dest / ".index.parquet.part").write_bytes(b"")
    (dest / "4.dcm").write_bytes(b"")
    assert list(verify_tree(dest, [row])) == [Finding(Problem.FOREIGN, "4.dcm")]


def test_two_series_that_share_a_folder_are_not_foreign_to_each_other(dest: Path) -> None:
    expected = [
        land(dest, "p", "1.1", b"a", 1),
        land(dest, "p", "1.2", b"b", 2),
        land(dest, "q", "1.3", b"c", 3),
        land(dest, "p", "1.4", b"d", 4),
        land(dest, "q", "1.5", b"e", 5),
        land(dest, "p", "1.6", b"f", 6),
    ]
    assert list(verify_tree(dest, expected)) == []
    (dest / "p" / "1.7.dcm").write_bytes(b"")
    assert list(verify_tree(dest, expected)) == [Finding(Problem.FOREIGN, "p/1.7.dcm")]


def test_a_folder_inside_a_folder_of_instances_is_checked_for_itself(dest: Path) -> None:
    expected = [land(dest, "p", "1.1", b"a"), land(dest, "p/q", "1.2", b"b")]
    assert list(verify_tree(dest, expected)) == []
    (dest / "p/q/x").write_bytes(b"")
    (dest / "p/y").write_bytes(b"")
    assert [f.path for f in verify_tree(dest, expected)] == ["p/y", "p/q/x"]


def test_an_unreadable_file_is_told_from_a_missing_one(dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may read everything, so the refusal is played."""
    expected = a_tree(dest)
    victim = expected[3]
    real = os.open

    def refuse(path: str, flags: int) -> int:
        if path.endswith(f"{victim.sop}.dcm"):
            raise PermissionError(13, "Permission denied")
        return real(path, flags)

    monkeypatch.setattr("os.open", refuse)
    assert list(verify_tree(dest, expected)) == [
        Finding(Problem.UNREADABLE, victim.path, victim.series_id, victim.sop, "Permission denied")
    ]


@pytest.mark.parametrize("folder", ["../out", "/etc", "a//b", "a/./b", ".."])
def test_a_ledger_cannot_lead_out_of_the_destination(dest: Path, folder: str) -> None:
    with pytest.raises(LedgerError, match="impossible folder"):
        list(verify_tree(dest, [Expected(1, folder, "1", 1, b"")]))


def test_a_destination_that_is_no_folder_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(NotWritable, match="not a folder"):
        list(verify_tree(tmp_path / "nowhere", []))


def test_the_destination_itself_may_be_a_link(dest: Path, tmp_path: Path) -> None:
    expected = a_tree(dest)
    (tmp_path / "alias").symlink_to(dest)
    assert list(verify_tree(tmp_path / "alias", expected)) == []


def test_expected_files_are_taken_as_they_are_needed(dest: Path) -> None:
    """A million rows must not be gathered before the first is checked."""
    rows = [land(dest, f"s/{n:04}", f"1.{n}", b"x") for n in range(200)]
    (dest / rows[0].path).unlink()
    taken = 0

    def feed() -> object:
        nonlocal taken
        for row in rows:
            taken += 1
            yield row

    findings = verify_tree(dest, feed(), threads=2)  # type: ignore[arg-type]
    assert next(findings).path == rows[0].path
    assert taken < 30
    findings.close()  # type: ignore[attr-defined]
