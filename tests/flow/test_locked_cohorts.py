"""A lock from end to end: written by a plan and by a pull, pulled again elsewhere, proven, cited."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pytest
import xxhash

from dicomhaul import Cohort, Hauler, run
from dicomhaul.cohort.lock import LockedSeries, LockHeader, open_lock, write_lock
from dicomhaul.cohort.tables import Shelf
from dicomhaul.config.options import HaulOptions
from dicomhaul.model import Query, Series, SeriesUID, StudyUID
from dicomhaul.origin import Holdings, synthetic_holdings
from dicomhaul.plan.estimate import Summary
from dicomhaul.planner.parent import plan
from dicomhaul.planner.request import PlanRequest, Progress
from dicomhaul.record.ledger import Ledger
from support.command import Word, run_command
from support.destination import read_routes, read_series_states, read_tree
from support.idc_origins import idc_manifest, idc_rows, idc_thread, idc_tree, write_profiles
from support.made_up import made_up_catalog
from support.origin_process import origin_thread

DATA, CR = "idc-open-data", "idc-open-data-cr"
BYTES = 20_000


@pytest.fixture(scope="module")
def rows() -> list[Series]:
    """Three series: two in IDC's first bucket, one in another."""
    return [*idc_rows(DATA, 2), *idc_rows(CR, 1)]


@pytest.fixture(scope="module")
def earlier() -> Series:
    """An earlier revision of a series that the index has in another one today."""
    index, prior = (Shelf().bundled[name] for name in ("index", "prior_versions_index"))
    sql = f"""
        SELECT p.StudyInstanceUID, p.SeriesInstanceUID, p.collection_id, p.PatientID, p.Modality,
            p.crdc_series_uuid, p.aws_bucket
        FROM '{prior}' p JOIN '{index}' i USING (SeriesInstanceUID)
        WHERE p.aws_bucket = '{DATA}' AND i.instanceCount < 9 ORDER BY p.crdc_series_uuid LIMIT 1
    """
    study, series, collection, patient, modality, revision, bucket = duckdb.sql(sql).fetchall()[0]
    return Series(
        StudyUID(study), SeriesUID(series), collection, patient, modality, revision, bucket, expected=3, prior=True
    )


@pytest.fixture(scope="module")
def holdings(rows: list[Series], earlier: Series) -> Holdings:
    return synthetic_holdings([*rows, earlier], max_instance_bytes=BYTES)


def read(path: Path) -> tuple[LockHeader, list[LockedSeries]]:
    with open_lock(path) as lock:
        return lock.header, list(lock)


def digests_of(rows: list[LockedSeries]) -> dict[str, str]:
    return {sop: digest for row in rows for sop, digest in (row.xxh3 or {}).items()}


def digests_in(tree: dict[str, bytes]) -> dict[str, str]:
    return {
        path.rpartition("/")[2].removesuffix(".dcm"): xxhash.xxh3_128_hexdigest(content)
        for path, content in tree.items()
    }


def locked(*rows: Series) -> list[LockedSeries]:
    """Rows as a lock has them."""
    return sorted(
        (
            LockedSeries(row.series, row.study, row.revision, row.bucket, row.collection, row.patient, row.modality,
                         row.license, row.expected, row.size_bytes)
            for row in rows
        ),
        key=lambda row: row.key,
    )  # fmt: skip


def write(path: Path, *rows: Series, **values: Any) -> Path:
    """Write a lock of these series."""
    found = locked(*rows)
    write_lock(
        path, LockHeader(**{"created": "2020", "query": {}, "idc_version": 20, **values}, series=len(found)), found
    )
    return path


def test_a_pull_writes_a_lock_from_which_others_have_the_same(
    rows: list[Series], holdings: Holdings, tmp_path: Path
) -> None:
    manifest, lock, one, two = (tmp_path / name for name in ("cohort.csv", "cohort.lock", "one", "two"))
    manifest.write_text(idc_manifest(rows), encoding="utf-8")
    tree = idc_tree(holdings, rows)
    with idc_thread(holdings) as origins:
        source = write_profiles(tmp_path, origins).source("bucket", "proxy")
        words: list[Word] = ["--source", source, "--json"]
        first = run_command("pull", manifest, *words, "-o", one, "--lock", lock)
        assert (first.code, first.json["state"]) == (0, "complete"), first.stderr
        header, found = read(lock)
        content = lock.read_bytes()
        second = run_command("pull", lock, *words, "-o", two, "--lock", lock)
        assert (second.code, second.json["state"]) == (0, "complete"), second.stderr
        planned = run_command("plan", lock, *words)
    assert (header.query, header.source) == ({"targets": [str(manifest)]}, ("local-bucket", "local-proxy"))
    assert (header.idc_version, header.series) == (Shelf().idc_version, 3)
    assert header.instances == sum(row.expected or 0 for row in rows)
    assert [(row.series, row.revision, row.bucket, row.license, row.instances) for row in found] == sorted(
        (row.series, row.revision, row.bucket, row.license, row.expected) for row in rows
    )
    assert all(row.routes and row.routes[0] == "local-bucket" for row in found)
    assert digests_of(found) == digests_in(tree)
    assert read_tree(one) == read_tree(two) == tree
    assert lock.read_bytes() == content  # nothing more became known
    assert (planned.json["series"], planned.json["instances"]) == (3, header.instances)


def test_a_tree_is_proven_against_a_lock(rows: list[Series], holdings: Holdings, tmp_path: Path) -> None:
    lock, dest = tmp_path / "cohort.lock", tmp_path / "dest"
    (tmp_path / "cohort.csv").write_text(idc_manifest(rows), encoding="utf-8")
    with idc_thread(holdings) as origins:
        source = write_profiles(tmp_path, origins).source("bucket")
        words: list[Word] = [tmp_path / "cohort.csv", "--source", source, "-o", dest, "--lock", lock]
        assert run_command("pull", *words).code == 0
    proven = run_command("verify", dest, "--lock", lock, "--json")
    assert (proven.code, proven.json["state"]) == (0, "complete")
    assert proven.json["lock"] == {
        "file": str(lock),
        "series": 3,
        "series_proven": 3,
        "series_besides": 0,
        "digests_compared": len(read_tree(dest)),
        "sizes_compared": 0,
        "series_by_count": 0,
        "findings": [],
    }
    # Another lock: one series of another revision, one that is not there, one left out.
    header, found = read(lock)
    other = [
        LockedSeries(found[0].series, found[0].study, "00000000-0000-0000-0000-000000000000"),
        *found[1:2],
        LockedSeries("9.9.9", "9.9", "00000000-0000-0000-0000-000000000000"),
    ]
    write_lock(tmp_path / "other.lock", header, other)
    broken = run_command("verify", dest, "--lock", tmp_path / "other.lock", "--json")
    assert (broken.code, broken.json["state"]) == (3, "partial")
    assert broken.json["reason"] == "2 of 3 series are not as the lock says"
    assert [(each["series"], each["problem"]) for each in broken.json["lock"]["findings"]] == [
        (found[0].series, "another revision"),
        ("9.9.9", "series not here"),
    ]
    assert (broken.json["lock"]["series_proven"], broken.json["lock"]["series_besides"]) == (1, 1)
    named = run_command("verify", dest, "--lock", tmp_path / "other.lock")
    assert named.code == 3
    assert "not as the lock says: series 9.9.9: series not here" in named.stdout
    # A file that changed on disk.
    victim = next(path for path in sorted(dest.rglob("*.dcm")))
    victim.write_bytes(b"x" * victim.stat().st_size)
    damaged = run_command("verify", dest, "--lock", lock, "--json")
    assert (damaged.code, damaged.json["lock"]["series_proven"]) == (3, 2)
    assert [each["problem"] for each in damaged.json["lock"]["findings"]] == ["damaged or gone"]
    assert run_command("verify", dest, "--lock", lock, "--repair").code == 2


def test_without_digests_sizes_are_proven(rows: list[Series], holdings: Holdings, tmp_path: Path) -> None:
    """Of what came from a bucket; the made-up instances are smaller than the index says."""
    lock, sized = write(tmp_path / "cohort.lock", *rows), tmp_path / "sized.lock"
    whole, served = tmp_path / "whole", tmp_path / "served"
    with idc_thread(holdings) as origins:
        profiles = write_profiles(tmp_path, origins)
        assert run_command("pull", lock, "--source", profiles.source("bucket"), "-o", whole).code == 0
        one: list[Word] = ["--series", rows[0].series, "--source", profiles.source("proxy")]
        assert run_command("pull", *one, "-o", served).code == 0
    smaller = run_command("verify", whole, "--lock", lock, "--json")
    assert (smaller.code, smaller.json["lock"]["series_proven"], smaller.json["lock"]["sizes_compared"]) == (3, 0, 3)
    assert {each["problem"] for each in smaller.json["lock"]["findings"]} == {"another size"}
    there = {
        row.series: sum(len(content) for path, content in read_tree(whole).items() if row.series in path)
        for row in rows
    }
    write(sized, *(row._replace(size_bytes=there[row.series]) for row in rows))
    proven = run_command("verify", whole, "--lock", sized)
    assert (proven.code, "3 series, whole from buckets, held against the lock's size" in proven.stdout) == (0, True)
    write(lock, rows[0])
    counted = run_command("verify", served, "--lock", lock)
    assert (counted.code, "1 series proven by the number of instances alone" in counted.stdout) == (0, True)


def test_the_digests_become_known_later_and_it_stays_the_same_cohort(
    rows: list[Series], holdings: Holdings, tmp_path: Path
) -> None:
    lock, dest = tmp_path / "cohort.lock", tmp_path / "dest"
    (tmp_path / "cohort.csv").write_text(idc_manifest(rows), encoding="utf-8")
    with idc_thread(holdings) as origins:
        source = write_profiles(tmp_path, origins).source("bucket")
        words: list[Word] = ["--source", source, "--json"]
        planned = run_command("plan", tmp_path / "cohort.csv", *words, "--lock", lock)
        assert (planned.code, planned.json["series"]) == (0, 3)
        before, found = read(lock)
        assert digests_of(found) == {}
        told = run_command("pull", lock, *words, "-o", tmp_path / "told")
        assert (
            f"{lock} lacks digests that are known now; to add them: the same `pull` with --lock {lock}" in told.stderr
        )
        part = run_command("pull", lock, *words, "-o", tmp_path / "part", "--limit-series", "1")
        assert (part.code, "lacks digests" in part.stderr) == (0, False)
        pulled = run_command(
            "pull", lock, *words, "-o", dest, "--lock", lock, "--layout", "%Modality/%SeriesInstanceUID"
        )
        assert (pulled.code, pulled.json["instances_landed"]) == (0, before.instances)
        after, known = read(lock)
        again = run_command("pull", lock, *words, "-o", dest)
        assert (again.code, again.json["requests"], again.json["instances_landed"]) == (0, 0, 0)
        assert "lacks digests" not in again.stderr
        elsewhere = run_command("plan", tmp_path / "cohort.csv", *words, "-o", dest, "--lock", tmp_path / "late.lock")
    assert (elsewhere.code, elsewhere.json["series"]) == (0, 0)
    assert (after.query, after.created, after.series) == (before.query, before.created, before.series)
    assert digests_of(known) == digests_in(read_tree(dest)) == digests_of(read(tmp_path / "late.lock")[1])
    with closing(Ledger.open(dest / ".dicomhaul" / "ledger.sqlite3", read_only=True)) as ledger:
        assert len(ledger.cohorts()) == 1


@pytest.mark.anyio
async def test_a_lock_that_has_gained_is_not_planned_again(
    rows: list[Series], holdings: Holdings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = write(tmp_path / "cohort.lock", *rows)
    planned: list[str] = []

    async def count(request: PlanRequest, on_progress: Callable[[Progress], None]) -> Summary:
        planned.append(request.layout)
        return await plan(request, on_progress)

    monkeypatch.setattr(run, "plan", count)
    cohort = Cohort(Query(targets=(str(lock),)))
    with idc_thread(holdings) as origins:
        source = write_profiles(tmp_path, origins).source("bucket")
        async with Hauler(source, options=HaulOptions(lock=lock)) as hauler:
            for _ in range(2):
                report = await hauler.pull(cohort, tmp_path / "dest")
        assert report.instances_landed == 0
    assert len(planned) == 1
    assert digests_of(read(lock)[1]) == digests_in(read_tree(tmp_path / "dest"))


def test_an_earlier_revision_comes_from_where_it_still_lies(
    rows: list[Series], earlier: Series, holdings: Holdings, tmp_path: Path
) -> None:
    """The lock states a bucket where it no longer is, and no number of instances; another series is as today."""
    lock, dest = tmp_path / "cohort.lock", tmp_path / "dest"
    write(lock, rows[0], earlier._replace(bucket=CR, expected=None))
    with idc_thread(holdings) as origins:
        profiles = write_profiles(tmp_path, origins)
        proxy = run_command("plan", lock, "--source", profiles.source("proxy"), "--json")
        ended = run_command("pull", lock, "--source", profiles.source("proxy", "bucket"), "-o", dest, "--lock", lock)
    assert proxy.json["series"] == 1
    assert any("earlier revision" in reason for reason in proxy.json["skipped"])
    assert ended.code == 0, ended.stdout
    assert read_routes(dest) == {rows[0].series: "local-proxy", earlier.series: "local-bucket"}
    assert read_tree(dest) == idc_tree(holdings, [rows[0], earlier])
    found = {row.series: row for row in read(lock)[1]}
    assert len(found[earlier.series].xxh3 or {}) == 3
    assert run_command("verify", dest, "--lock", lock).code == 0


def test_a_pull_that_lacks_something_writes_what_it_knows(
    rows: list[Series], holdings: Holdings, tmp_path: Path
) -> None:
    lock, dest, gone = tmp_path / "cohort.lock", tmp_path / "dest", rows[0]
    (tmp_path / "cohort.csv").write_text(idc_manifest(rows), encoding="utf-8")
    left = Holdings(tuple(each for each in holdings.revisions if each.uuid != gone.revision))
    with idc_thread(left) as origins:
        source = write_profiles(tmp_path, origins).source("bucket")
        ended = run_command("pull", tmp_path / "cohort.csv", "--source", source, "-o", dest, "--lock", lock)
    assert ended.code == 3
    header, found = read(lock)
    assert header.series == 3
    assert [row.series for row in found if row.xxh3 is None] == [gone.series]
    assert digests_of(found) == digests_in(read_tree(dest))
    proof = run_command("verify", dest, "--lock", lock, "--json")
    assert (proof.code, proof.json["lock"]["series_proven"]) == (3, 2)
    assert [(each["series"], each["problem"]) for each in proof.json["lock"]["findings"]] == [
        (gone.series, "series not complete")
    ]


def test_part_of_a_lock(rows: list[Series], holdings: Holdings, tmp_path: Path) -> None:
    lock = write(tmp_path / "cohort.lock", *rows)
    first = sorted(row.series for row in rows)[:1]
    with idc_thread(holdings) as origins:
        source = write_profiles(tmp_path, origins).source("bucket")
        words: list[Word] = [lock, "--source", source, "--json", "--limit-series", "1"]
        one = run_command("pull", *words, "-o", tmp_path / "one", "--lock", tmp_path / "one.lock")
        assert one.code == 0, one.stderr
        itself = run_command("pull", *words, "-o", tmp_path / "two", "--lock", lock)
    assert [series for _, series in read_series_states(tmp_path / "one")] == first
    header, found = read(tmp_path / "one.lock")
    assert (header.query, [row.series for row in found]) == ({"limit_series": 1}, first)
    assert (itself.code, itself.json["error"]) == (2, "ConfigError")
    assert len(read(lock)[1]) == 3


def test_a_damaged_lock_names_its_line(rows: list[Series], tmp_path: Path) -> None:
    lock = write(tmp_path / "cohort.lock", *rows)
    lines = lock.read_text().splitlines(keepends=True)
    lock.write_text("".join([*lines[:2], lines[2].replace('"series":"', '"series":"../'), lines[3]]))
    ended = run_command("pull", lock, "-o", tmp_path / "dest")
    assert ended.code == 2
    assert "line 3: series: " in ended.complaint
    piped = run_command("plan", "-", stdin=lock.read_text())
    assert (piped.code, "cannot come by standard input" in piped.complaint) == (2, True)


def test_a_lock_is_not_written_over_something_else(rows: list[Series], tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("my,work\n")
    commands: list[list[Word]] = [["plan"], ["pull", "-o", tmp_path / "dest"]]
    for words in commands:
        ended = run_command(*words, "--series", rows[0].series, "--lock", table)
        assert ended.code == 2
        assert "that is no lock" in ended.complaint
    assert table.read_text() == "my,work\n"


def test_a_lock_that_is_there_is_only_added_to(rows: list[Series], holdings: Holdings, tmp_path: Path) -> None:
    """By a plan, by a pull that is cut, by another cohort, by shards, by an edited manifest."""
    lock, cohort, dest = (tmp_path / name for name in ("cohort.lock", "cohort.csv", "dest"))
    cohort.write_text(idc_manifest(rows), encoding="utf-8")
    with idc_thread(holdings) as origins:
        words: list[Word] = ["--source", write_profiles(tmp_path, origins).source("bucket"), "--json"]
        assert run_command("pull", cohort, *words, "-o", tmp_path / "first", "--lock", lock).code == 0
        full = read(lock)[1]
        assert run_command("plan", cohort, *words, "--lock", lock).code == 0
        assert read(lock)[1] == full
        cut = run_command("pull", cohort, *words, "-o", dest, "--lock", lock, "--max-transfer", "1")
        assert (cut.code, read(lock)[1]) == (4, full)
        content = lock.read_bytes()
        part: list[Word] = [*words, "--lock", lock, "-o", tmp_path / "other"]
        for refused in (
            run_command("plan", "--series", rows[0].series, *words, "--lock", lock),
            run_command("pull", "--series", rows[0].series, *part),
            run_command("pull", cohort, *part[:-1], tmp_path / "shards", "--shard", "1/2"),
        ):
            assert (refused.code, refused.json["error"]) == (2, "ConfigError")
        cohort.write_text(idc_manifest(rows[1:]), encoding="utf-8")
        for refused in (run_command("plan", cohort, *words, "--lock", lock), run_command("pull", cohort, *part)):
            assert refused.code == 2
            assert "1 of its 3 series are not in this cohort" in refused.complaint
    assert read_tree(tmp_path / "other") == {}  # it is refused before anything is brought
    assert lock.read_bytes() == content


def test_the_cohort_of_a_server(tmp_path: Path) -> None:
    """No revisions, no licences: the UIDs, the counts, the digests."""
    lock = tmp_path / "cohort.lock"
    with origin_thread(made_up_catalog(2, 3)) as origin:
        words: list[Word] = ["--source", origin.url, "--json"]
        assert run_command("pull", "--all", *words, "-o", tmp_path / "one", "--lock", lock).code == 0
        header, found = read(lock)
        origin.requests.clear()
        again = run_command("pull", lock, *words, "-o", tmp_path / "two")
        assert again.code == 0, again.stderr
        assert not [entry for entry in origin.requests if entry.level == "search"]
    assert (header.idc_version, header.index_version, header.query) == (None, None, {"everything": True})
    assert [row.instances for row in found] == [2, 3]
    assert read_tree(tmp_path / "one") == read_tree(tmp_path / "two")
    assert run_command("verify", tmp_path / "two", "--lock", lock).code == 0
    cited = run_command("cite", tmp_path / "one")
    assert (cited.code, "was not pulled from IDC" in cited.complaint) == (2, True)


def test_what_was_pulled_is_cited(rows: list[Series], holdings: Holdings, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    (tmp_path / "cohort.csv").write_text(idc_manifest(rows), encoding="utf-8")
    with idc_thread(holdings) as origins:
        source = write_profiles(tmp_path, origins).source("bucket")
        assert run_command("pull", tmp_path / "cohort.csv", "--source", source, "-o", dest).code == 0
    as_json = run_command("cite", dest, "--json").json
    assert sum(each["series"] for each in as_json["licenses"]) == 3
    assert {each["name"] for each in as_json["licenses"]} == {row.license for row in rows}
    text = run_command("cite", dest).stdout
    bibtex = run_command("cite", dest, "--format", "bibtex").stdout
    for work in [*as_json["citations"], as_json["acknowledgement"]]:
        assert work["citation"] in text
        assert f"doi = {{{work['doi']}}}" in bibtex
