"""What is tried where crashes come: a DICOMweb server and a lock, a bucket with a large object, merging, adopting."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dicomhaul.model import Series
from dicomhaul.origin import Entry, synthetic_holdings
from support.command import Word, run_command
from support.crashes import PRIVATE, Cohort, Left
from support.destination import assert_recorded, expected_tree, read_ledger, read_series_states, read_tree
from support.idc_origins import idc_manifest, idc_rows, idc_thread, idc_tree, write_profiles
from support.made_up import made_up_catalog, made_up_rows, manifest_of
from support.origin_process import origin_thread
from support.slow import slow

# Enough for several batches of the ledger, and large enough that asking singly can be the cheaper way.
_COUNTS = (1, 14, 2, 8, 20, 3)
_BYTES = 300_000
_WAIT_S = 0.01
_LARGE_BYTES = 40_000_000  # noted twice on the way
_LINE = "40M"  # slow enough that a note is recorded while the rest still comes
_SMALL_BYTES = 20_000
_SHARDED = (3, 1, 1, 2, 4, 2)


@contextmanager
def dicomweb(folder: Path) -> Iterator[Cohort]:
    """Six series of a DICOMweb server, and a lock of them."""
    catalog, rows = made_up_catalog(*_COUNTS, size_bytes=_BYTES), made_up_rows(*_COUNTS)
    manifest = folder / "cohort.csv"
    manifest.write_text(manifest_of(rows), encoding="utf-8")
    with origin_thread(slow(catalog, _WAIT_S)) as origin:
        yield Cohort(
            ("pull", manifest, "--source", origin.url),
            expected_tree(catalog),
            origin.requests,
            expected={f"/studies/{row.study}/series/{row.series}": row.expected or 0 for row in rows},
            lock=True,
        )


@contextmanager
def bucket(folder: Path) -> Iterator[Cohort]:
    """Two small series and a large object of a bucket, planned from IDC's index."""
    small = idc_rows("idc-open-data", 2)
    (large,) = idc_rows("idc-open-data", 1, where="Modality = 'SM' AND instanceCount = 1")
    rows: list[Series] = [large._replace(size_bytes=_LARGE_BYTES)]
    rows += [row._replace(size_bytes=(row.expected or 0) * _SMALL_BYTES) for row in small]
    holdings = synthetic_holdings(rows)
    manifest = folder / "idc.csv"
    manifest.write_text(idc_manifest(rows), encoding="utf-8")
    with idc_thread(holdings) as origins:
        yield Cohort(
            ("pull", manifest, "--source", write_profiles(folder, origins).source("bucket"), "--bwlimit", _LINE),
            idc_tree(holdings, rows),
            origins.bucket.requests,
            objects={f"/{each.bucket}/{key}": sop for each in holdings.revisions for key, sop in each.sops.items()},
        )


@dataclass(frozen=True, slots=True)
class Merging:
    """The task of merging two shards that were pulled: of one destination, or of two into a third (`apart`).

    Attributes:
        pulled: where they are: `shared`, or `a` and `b`; each destination begins with a copy.
        good, requests: as `Task` has it; nothing is asked for.
    """

    pulled: Path
    apart: bool
    good: dict[str, bytes]
    requests: list[Entry] = field(default_factory=list)

    def prepare(self, dest: Path) -> None:
        """Copy the shards."""
        if self.apart:
            for each in "ab":
                shutil.copytree(self.pulled / each, dest.with_suffix(f".{each}"))
        else:
            shutil.copytree(self.pulled / "shared", dest)

    def words(self, dest: Path) -> tuple[Word, ...]:
        """Return the command."""
        if self.apart:
            return ("merge", dest.with_suffix(".a"), dest.with_suffix(".b"), "-o", dest, "--json")
        return ("merge", dest, "--json")

    def asked_again(self, before: Left) -> list[str]:
        """Return nothing: no server is asked."""
        return []

    def assert_whole(self, dest: Path, calm: Path) -> None:
        """Assert that it is one whole destination now."""
        assert read_tree(dest) == self.good
        assert_recorded(dest, self.good)
        assert read_ledger(dest) == read_ledger(calm)
        assert read_series_states(dest) == read_series_states(calm)
        assert sorted(each.name for each in (dest / PRIVATE).iterdir()) == ["ledger.sqlite3", "lock", "staging"]
        if self.apart:
            for each in "ab":  # they stay as they are
                there = read_tree(dest.with_suffix(f".{each}"))
                assert there == read_tree(self.pulled / each)


@contextmanager
def shards(folder: Path) -> Iterator[Merging]:
    """Two shards of one destination."""
    yield _pull_shards(folder, apart=False)


@contextmanager
def destinations(folder: Path) -> Iterator[Merging]:
    """Two destinations with a shard each."""
    yield _pull_shards(folder, apart=True)


def _pull_shards(folder: Path, *, apart: bool) -> Merging:
    catalog, manifest = made_up_catalog(*_SHARDED), folder / "cohort.csv"
    manifest.write_text(manifest_of(made_up_rows(*_SHARDED)), encoding="utf-8")
    with origin_thread(catalog) as origin:
        for number, name in enumerate("ab" if apart else ("shared", "shared"), 1):
            part: list[Word] = ["--shard", f"{number}/2", "-o", folder / "pulled" / name]
            assert run_command("pull", manifest, "--source", origin.url, *part).code == 0
    return Merging(folder / "pulled", apart, expected_tree(catalog))


@dataclass(frozen=True, slots=True)
class Adopting:
    """The task of moving what somebody else brought into a destination.

    Attributes:
        manifest: of all that is wanted.
        good, requests: as `Task` has it; nothing is asked for.
    """

    manifest: Path
    good: dict[str, bytes]
    requests: list[Entry] = field(default_factory=list)

    def prepare(self, dest: Path) -> None:
        """Write the tree, flat and under other names."""
        tree = dest.with_suffix(".tree")
        tree.mkdir()
        for number, content in enumerate(self.good.values()):
            (tree / f"IM{number:04}.dcm").write_bytes(content)

    def words(self, dest: Path) -> tuple[Word, ...]:
        """Return the command."""
        tree = dest.with_suffix(".tree")
        return ("adopt", tree, self.manifest, "--source", "http://127.0.0.1:9", "--move", "-o", dest, "--json", "-q")

    def asked_again(self, before: Left) -> list[str]:
        """Return nothing: no server is asked."""
        return []

    def assert_whole(self, dest: Path, calm: Path) -> None:
        """Assert that all of it was moved."""
        assert read_tree(dest) == self.good
        assert_recorded(dest, self.good)
        assert read_ledger(dest) == read_ledger(calm)
        assert read_series_states(dest) == read_series_states(calm)
        assert read_tree(dest.with_suffix(".tree")) == {}


@contextmanager
def adoption(folder: Path) -> Iterator[Adopting]:
    """Six series that lie in one folder."""
    manifest = folder / "cohort.csv"
    manifest.write_text(manifest_of(made_up_rows(*_COUNTS)), encoding="utf-8")
    yield Adopting(manifest, expected_tree(made_up_catalog(*_COUNTS)))
