"""A plan on IDC's index, or of a lock of an IDC cohort.

Where nothing but totals are wanted, DuckDB adds the cohort up and no row is made, unless a quota would be used up:
which series still come by that source is then decided one by one, as a pull does it.
"""

from collections.abc import Iterator
from pathlib import Path

from dicomhaul.cohort.idc import IdcCohort, open_idc
from dicomhaul.cohort.locked import lock_target
from dicomhaul.cohort.locked_idc import LockedCohort, open_locked
from dicomhaul.model import Series
from dicomhaul.plan.estimate import Group, Summary
from dicomhaul.plan.route import Traits
from dicomhaul.planner.entries import failure_of
from dicomhaul.planner.sheet import Sheet


def plan_on_idc(sheet: Sheet) -> Summary:
    """Resolve the sheet's request on the index. Raises CohortError, ConfigError, LedgerError, NotWritable."""
    query = sheet.request.query
    lock = lock_target(query)
    if lock is not None:
        return _plan_locked(sheet, lock)
    with open_idc(query, notice=sheet.notes.append) as cohort:
        reason = f"the index of IDC v{cohort.idc_version} does not have it"
        sheet.missing = [failure_of(entry, reason) for entry in cohort.missing]
        _tell_empty(sheet, empty=cohort.empty)
        request = sheet.request
        if request.load is None and request.present is None and request.lock is None and request.foreseeing is None:
            groups = _groups(sheet, cohort)
            if not sheet.router.overran:
                return sheet.groups(groups)
            sheet.router.start_again()
        return sheet.rows(_placed(sheet, cohort))


def _plan_locked(sheet: Sheet, lock: Path) -> Summary:
    with open_locked(lock, sheet.request.query) as cohort:
        if cohort.moved:
            sheet.notes.append(
                f"{cohort.moved:,} of the locked series are not the present revision in the installed index: "
                "only the buckets still have them"
            )
        _tell_empty(sheet, empty=cohort.empty)
        return sheet.rows(_placed(sheet, cohort))


def _tell_empty(sheet: Sheet, *, empty: bool) -> None:
    shard = sheet.request.query.shard
    if shard is not None and empty:
        sheet.notes.append(f"shard {shard} of this cohort is empty")


def _groups(sheet: Sheet, cohort: IdcCohort) -> list[Group]:
    router = sheet.router
    found = cohort.groups(size_bounds=router.size_bounds, instance_bounds=router.instance_bounds)
    return [
        Group(
            each.collection,
            each.license,
            each.modality,
            router.choose(
                Traits(each.bucket, each.whole, each.prior, each.one_size_bytes, each.one_instance_bytes),
                each.guessed_bytes,
            ),
            each.series,
            each.instances,
            each.size_bytes,
        )
        for each in found
    ]


def _placed(sheet: Sheet, cohort: IdcCohort | LockedCohort) -> Iterator[list[Series]]:
    if sheet.request.load is None and sheet.request.foreseeing is None:  # nobody asks for folders
        for batch in cohort.iter_rows():
            yield [row for row, _ in batch]
        return
    folder = sheet.layout.folder
    for batch in cohort.iter_rows(fields=sheet.layout.fields):
        yield [row._replace(folder=folder(values)) for row, values in batch]
