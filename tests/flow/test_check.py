"""`check`: every way in which a tree can differ from its source has its line, and nothing is moved or changed."""

from pathlib import Path
from uuid import uuid4

from dicomhaul.origin import Rule, Status, synthetic_catalog, synthetic_holdings
from support.command import Ended, run_command
from support.destination import read_tree
from support.idc_origins import idc_manifest, idc_rows, idc_thread, idc_tree, write_profiles
from support.made_up import made_up_rows
from support.origin_process import origin_thread
from support.orthanc import Orthanc
from support.s3_server import run_s3

ROWS = made_up_rows(3, 3, 3, 2, series_a_study=1)


def totals(ended: Ended) -> tuple[int, ...]:
    return tuple(ended.json[key] for key in ("matched", "missing", "besides", "differing", "errors"))


def state_of(dest: Path) -> dict[str, tuple[int, int]]:
    """Every file below a destination, ours included, with what would change if somebody wrote it."""
    return {
        str(path): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in dest.rglob("*")
        if path.is_file() and path.suffix not in {".sqlite3-wal", ".sqlite3-shm"}
    }


def test_each_difference_from_a_server_has_its_line(tmp_path: Path) -> None:
    dest, lines = tmp_path / "dest", tmp_path / "lines.txt"
    with origin_thread(synthetic_catalog(ROWS[:3])) as origin:
        assert run_command("pull", "--source", origin.url, "--all", "-o", dest).code == 0
        same = run_command("check", dest, "--json")
        assert (same.code, same.json["state"], totals(same)) == (0, "equal", (9, 0, 0, 0, 0))
    folders = [Path(row.study, row.series) for row in ROWS]
    first = sorted((dest / folders[0]).iterdir())
    first[0].unlink()
    first[1].write_bytes(b"short")
    (dest / folders[0] / "notes.txt").write_text("ours")
    (dest / "foreign.dcm").write_text("ours")
    before = state_of(dest)
    # The source has a new series, has lost the third, and refuses to list the second.
    path = f"/{ROWS[1].series}/instances"
    refused = Rule(path=path, level="search", action=Status(status=403))
    with origin_thread(synthetic_catalog([*ROWS[:2], ROWS[3]]), rules=[refused]) as origin:
        ended = run_command("check", dest, "--source", origin.url, "--json", "--combined", lines)
        asked = [entry.level for entry in origin.requests]
        one_way = run_command("check", dest, "--source", origin.url, "--json", "--one-way")
        narrow = run_command("check", dest, "--series", ROWS[0].series, "--source", origin.url, "--combined", "-")
    assert set(asked) == {"search"}
    assert (ended.code, ended.json["state"]) == (3, "different")
    relative = [path.relative_to(dest).as_posix() for path in first]
    said = sorted(lines.read_text().splitlines())
    assert said[0] == f"! {folders[1].as_posix()}/"
    new = [line for line in said if line.startswith("+") and str(folders[3].as_posix()) in line]
    assert len(new) == 2
    assert f"+ {relative[0]}" in said
    assert f"* {relative[1]}" in said
    assert f"= {relative[2]}" in said
    gone = [line for line in said if line.startswith("- ")]
    assert len(gone) == 5
    assert {"- foreign.dcm", f"- {folders[0].as_posix()}/notes.txt"} <= set(gone)
    assert totals(ended) == (1, 3, 5, 1, 1)
    assert "403" in ended.json["first_error"]
    assert totals(one_way) == (1, 3, 0, 1, 1)
    assert narrow.code == 3
    assert sorted(narrow.stdout.splitlines()) == sorted([f"+ {relative[0]}", f"* {relative[1]}", f"= {relative[2]}"])
    assert state_of(dest) == before


def test_objects_of_a_bucket_are_known_by_their_stems_and_digests(tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    rows = idc_rows("idc-open-data", 2)
    (tmp_path / "cohort.csv").write_text(idc_manifest(rows))
    with idc_thread(synthetic_holdings(rows)) as origins:
        profiles = write_profiles(tmp_path, origins)
        bucket, proxy = profiles.source("bucket"), profiles.source("proxy")
        assert run_command("pull", tmp_path / "cohort.csv", "--source", bucket, "-o", dest).code == 0
        count = len(read_tree(dest))
        same = run_command("check", dest, "--json", "--checksum")
        assert (same.code, totals(same), same.json["unnamed"]) == (0, (count, 0, 0, 0, 0), 0)
        # As large as before, with another byte: only who reads it knows.
        file = dest / min(read_tree(dest))
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
        assert run_command("check", dest, "--json").code == 0
        read = run_command("check", dest, "--json", "--checksum")
        assert (read.code, totals(read)) == (3, (count - 1, 0, 0, 1, 0))
        other = tmp_path / "other"
        assert run_command("pull", tmp_path / "cohort.csv", "--source", proxy, "-o", other).code == 0
        by_size = run_command("check", other, "--source", bucket, "--json")
        assert (by_size.code, totals(by_size), by_size.json["unnamed"]) == (0, (count, 0, 0, 0, 0), count)
    down = run_command("check", dest, "--json")
    assert (down.code, down.json["state"]) == (4, "paused")
    assert totals(down) == (0, 0, 0, 0, 0)


def test_a_real_s3_server_is_listed_and_compared(tmp_path: Path) -> None:
    (row,) = idc_rows("idc-open-data", 1)
    holdings = synthetic_holdings([row], max_instance_bytes=3_000)
    dest, mine, lines = tmp_path / "dest", tmp_path / "mine.toml", tmp_path / "lines.txt"
    (tmp_path / "cohort.csv").write_text(idc_manifest([row]))
    with run_s3() as s3:
        s3.put_bucket("idc-open-data")
        instances = {Path(path).stem: content for path, content in idc_tree(holdings, [row]).items()}
        contents = {key: instances[sop] for each in holdings.revisions for key, sop in each.sops.items()}
        for key, content in contents.items():
            s3.put("idc-open-data", key, content)
        mine.write_text(f'name = "mine"\nextends = "idc-bucket"\nurl = "{s3.url}"\n')
        assert run_command("pull", tmp_path / "cohort.csv", "--source", mine, "-o", dest).code == 0
        same = run_command("check", dest, "--json", "--checksum")
        assert (same.code, totals(same), same.json["unnamed"]) == (0, (len(contents), 0, 0, 0, 0), 0)
        first, second = list(contents)[:2]
        s3.put("idc-open-data", first, contents[first] + b"\0\0")  # grown
        s3.put("idc-open-data", f"{row.revision}/{uuid4()}.dcm", contents[second])  # one more
        ended = run_command("check", dest, "--json", "--combined", lines)
    assert (ended.code, totals(ended)) == (3, (len(contents) - 1, 1, 0, 1, 0))
    assert sorted(line[0] for line in lines.read_text().splitlines()) == sorted("+*" + "=" * (len(contents) - 1))


def test_where_nothing_was_pulled_there_is_nothing_to_compare(tmp_path: Path) -> None:
    ended = run_command("check", tmp_path / "none")
    assert ended.code == 1
    assert "nothing was pulled here" in ended.complaint
    assert list(tmp_path.iterdir()) == []


def test_a_cohort_is_compared_where_the_destination_came_from(tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    with origin_thread(synthetic_catalog(ROWS)) as origin:
        assert run_command("pull", "--source", origin.url, "--study", ROWS[0].study, "-o", dest).code == 0
        some = run_command("check", dest, "--study", f"{ROWS[0].study},{ROWS[1].study}", "--json")
        assert (some.code, totals(some)) == (3, (3, 3, 0, 0, 0))
        whole = run_command("check", dest, "--json")
        assert (whole.code, totals(whole)) == (0, (3, 0, 0, 0, 0))


def test_a_real_server_has_what_was_pulled(orthanc: Orthanc, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    never = len(orthanc.ambiguous)  # listed, and not to be had
    assert run_command("pull", "--source", orthanc.url, "--all", "-o", dest).code == 3
    count = len(read_tree(dest))
    same = run_command("check", dest, "--json")
    assert totals(same) == (count, never, 0, 0, 0)
    (dest / min(read_tree(dest))).unlink()
    less = run_command("check", dest, "--json")
    assert totals(less) == (count - 1, never + 1, 0, 0, 0)
