"""What is at a destination, for Python programs: the series that are complete, and what was asked for."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from dicomhaul.config.options import HaulOptions
from dicomhaul.config.source import Sources
from dicomhaul.destination import find_place
from dicomhaul.errors import LedgerError
from dicomhaul.land.folder import instance_path
from dicomhaul.model import Query, Shard
from dicomhaul.record.ledger import Ledger
from dicomhaul.record.place import place_of
from dicomhaul.record.reader import CohortRow, LandedRow
from dicomhaul.report import LandedSeries
from dicomhaul.steps.question import fingerprint


def landed_series(
    dest: Path, state_dir: Path | None, study: str, series: str, shard: Shard | None = None
) -> LandedSeries:
    """Return one complete series of a destination, or of one shard of it. Raises LedgerError if it is not there."""
    with closing(Ledger.open(place_of(dest, state_dir, shard).ledger, read_only=True)) as ledger:
        for row in ledger.iter_landed(series=(study, series)):
            return _as_landed(dest, ledger, row)
    raise LedgerError(f"series {series} is not complete at {dest}")


def cohorts_of(dest: Path, state_dir: Path | None) -> list[CohortRow]:
    """Return what was asked for at a destination. Raises LedgerError if nothing was; ConfigError as `find_place`."""
    with closing(Ledger.open(find_place(dest, state_dir).ledger, read_only=True)) as ledger:
        return ledger.asked_for()


def iter_landed(dest: Path, options: HaulOptions, query: Query, source: Sources) -> Iterator[LandedSeries]:
    """Yield the complete series of the cohort that `query` means."""
    with closing(Ledger.open(place_of(dest, options.state_dir, query.shard).ledger, read_only=True)) as ledger:
        if ledger.names_by_stem():
            source = source.buckets()
        mark = fingerprint(query, source, ledger.meta("layout") or "")
        for cohort in ledger.cohorts():
            if cohort.fingerprint == mark:
                for row in ledger.iter_landed(cohort_id=cohort.id):
                    yield _as_landed(dest, ledger, row)


def _as_landed(dest: Path, ledger: Ledger, row: LandedRow) -> LandedSeries:
    files = tuple(dest / instance_path(each.folder, each.file) for each in ledger.iter_files(row.series_id))
    return LandedSeries(row.study, row.series, dest / row.folder, files, row.proof)
