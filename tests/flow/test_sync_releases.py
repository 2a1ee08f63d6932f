"""A mirror follows IDC's releases: each time it is what a fresh pull would have brought."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import NAMESPACE_OID, uuid5

import pytest

from dicomhaul.model import Series
from dicomhaul.origin import Holdings, IdcOrigins, synthetic_holdings
from support.command import Ended, Word, run_command
from support.destination import assert_recorded, read_tree
from support.idc_origins import idc_rows, idc_thread, idc_tree, write_profiles
from support.idc_releases import Release, write_release

BYTES = 3_000


def revised(row: Series, name: str, expected: int, each_bytes: int, *, other: bool = False) -> Series:
    """Another revision of a series; of `other` instances, or of the same and some more, or fewer, with other bytes."""
    uuid = str(uuid5(NAMESPACE_OID, f"{row.series} {name}"))
    return row._replace(revision=uuid, expected=expected, size_bytes=expected * each_bytes, prior=other)


@dataclass(frozen=True)
class Years:
    """Releases 23, 24 and 25 of five series, and origins that have each of their revisions."""

    rows: dict[int, list[Series]]
    releases: dict[int, Release]
    holdings: Holdings
    origins: IdcOrigins
    source: str

    def command(self, number: int, *words: Word) -> Ended:
        """Run a command with a release installed."""
        return run_command(*words, "--source", self.source, "--json", "-q", environ=self.releases[number].environ)

    def tree(self, number: int) -> dict[str, bytes]:
        return idc_tree(self.holdings, self.rows[number])


@pytest.fixture(scope="module")
def years(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Years]:
    folder = tmp_path_factory.mktemp("years")
    a, b, c, d, e = (row._replace(size_bytes=(row.expected or 1) * 1_000) for row in idc_rows("idc-open-data", 5))
    b24, c24 = revised(b, "24", (b.expected or 0) + 2, 1_500), revised(c, "24", (c.expected or 0) - 1, 900)
    b25 = revised(b, "25", 2, 2_000, other=True)
    c25 = c24._replace(patient="RENAMED")
    rows = {23: [a, b, c, d], 24: [a, b24, c24, e], 25: [a, b25, revised(c25, "25", 3, 1_100), d, e]}
    every = {row.revision: row for each in rows.values() for row in each}
    holdings = synthetic_holdings(every.values(), max_instance_bytes=BYTES)
    releases = {number: write_release(folder, number, each) for number, each in rows.items()}
    with idc_thread(holdings) as origins:
        source = write_profiles(folder, origins).source("bucket")
        yield Years(rows, releases, holdings, origins, source)


ALL: tuple[Word, ...] = ("--all",)
FREELY: tuple[Word, ...] = ("--max-delete-fraction", "1")


def test_each_time_it_is_what_a_fresh_pull_brings(years: Years, tmp_path: Path) -> None:
    dest = tmp_path / "mirror"
    seen: list[tuple[int, ...]] = []
    for step, number in enumerate((23, 24, 25, 24)):
        ended = years.command(number, "sync", *ALL, "-o", dest, *FREELY)
        assert (ended.code, ended.json["state"]) == (0, "complete"), (number, ended.stderr, ended.stdout)
        assert read_tree(dest) == years.tree(number), number
        assert_recorded(dest, years.tree(number))
        seen.append(tuple(ended.json[f"series_{what}"] for what in ("added", "revised", "withdrawn")))
        fresh = tmp_path / f"fresh-{step}"
        if step < 3:
            assert years.command(number, "pull", *ALL, "-o", fresh).code == 0
            assert read_tree(fresh) == read_tree(dest)
    assert seen == [(4, 0, 0), (1, 2, 1), (1, 2, 0), (0, 2, 1)]
    verified = run_command("verify", dest, "--json")
    assert (verified.code, verified.json["foreign"]) == (0, [])
