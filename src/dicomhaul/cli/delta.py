"""`dicomhaul delta`: what changed of a cohort between two releases of IDC. Moves nothing and asks no server."""

import contextlib
import csv
import os
import sys
import tempfile
from collections.abc import Iterator
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TextIO

import typer

from dicomhaul.cli import parameters
from dicomhaul.cli.meaning import query_from
from dicomhaul.cli.output import complain, emit_json, human_bytes, human_count, say, tell
from dicomhaul.errors import CohortError, ConfigError

if TYPE_CHECKING:
    from dicomhaul.cohort.delta import Delta, Kind, Sums
    from dicomhaul.plan.estimate import Amount

_SQL_LIMIT_S: Final = 900.0
_SHOWN: Final = 20
_COLUMNS: Final = (
    "change",
    "collection_id",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "crdc_series_uuid_before",
    "crdc_series_uuid",
    "instances",
    "bytes",
)

FromOption = Annotated[
    int, typer.Option("--from", min=1, metavar="RELEASE", help="The release that you have.", rich_help_panel="Cohort")
]
ToOption = Annotated[
    int | None,
    typer.Option(
        "--to",
        min=1,
        metavar="RELEASE",
        help="The release that you would have; the one of the installed index, unless given.",
        rich_help_panel="Cohort",
    ),
]
ListOption = Annotated[
    Path | None,
    typer.Option(
        "--list", metavar="FILE", help="Write each series that changed there, as CSV; -: print it.",
        rich_help_panel="Output",
    ),
]  # fmt: skip


def delta(
    before: FromOption,
    after: ToOption = None,
    targets: parameters.Targets = None,
    collection: parameters.CollectionOption = None,
    modality: parameters.ModalityOption = None,
    patient: parameters.PatientOption = None,
    study: parameters.StudyOption = None,
    series: parameters.SeriesOption = None,
    study_date: parameters.StudyDateOption = None,
    where: parameters.WhereOption = None,
    sql: parameters.SqlOption = None,
    listing: ListOption = None,
    as_json: parameters.JsonOption = False,
) -> None:
    """Say what changed between two releases of IDC: series added, revised and withdrawn. Without a cohort: of all IDC.

    Moves nothing and asks no server: the installed index knows the releases up to its own.

    \b
    Examples:
      dicomhaul delta --from 23 --to 25
      dicomhaul delta nlst tcga_brca --from 24
      dicomhaul delta --modality CT --from 24 --list changes.csv --json
    """
    if as_json and str(listing) == "-":
        raise ConfigError("--json and --list - would both be printed: name a file")
    cohort = (targets, collection, modality, patient, study, series, study_date, where, sql)
    query = query_from(
        targets=targets,
        collection=collection,
        modality=modality,
        patient=patient,
        study=study,
        series=series,
        instance=None,
        crdc=None,
        study_date=study_date,
        where=where,
        sql=sql,
        search=None,
        everything=not any(cohort),
        limit_series=None,
        idc_version=None,
        license_allow=None,
        shard=None,
    )
    from dicomhaul.cohort.delta import open_delta  # noqa: PLC0415 - DuckDB, which --help need not wait for
    from dicomhaul.config.source import idc_release  # noqa: PLC0415 - as above

    if sql is not None or where is not None:
        _bound()
    with open_delta(query, before, int(idc_release()) if after is None else after, notice=tell) as found:
        if listing is not None:  # before the amounts are told: a list that cannot be written is an error alone
            _write_list(found, listing)
        collections = found.collections()
        total = reduce(lambda sums, each: sums.plus(each), collections.values(), _nothing())
        if as_json:
            emit_json(
                {
                    "from": found.before,
                    "to": found.after,
                    **total.as_json(),
                    "collections": {name: sums.as_json() for name, sums in collections.items()},
                    "notes": list(found.notes),
                }
            )
        elif str(listing) != "-":
            _print(found, total, collections)
        else:
            for note in found.notes:
                tell(f"note: {note}")


def _nothing() -> "Sums":
    from dicomhaul.cohort.delta import Sums  # noqa: PLC0415 - loaded above

    return Sums()


def _bound() -> None:
    """Bound what SQL that somebody else wrote may take, as planning does."""
    from dicomhaul.planner.bounds import bound_process  # noqa: PLC0415 - rarely

    bound_process(
        _SQL_LIMIT_S, lambda: complain(CohortError("--sql or --where takes more than a quarter of an hour: given up"))
    )


def _print(found: "Delta", total: "Sums", collections: "dict[str, Sums]") -> None:
    say(f"IDC v{found.before} to v{found.after}:")
    for kind, amount in (("added", total.added), ("revised", total.revised), ("withdrawn", total.withdrawn)):
        say(f"  {kind + ':':<11}{_amount(amount)}")
    if not collections:
        say("  nothing changed")
    coming = total.added.plus(total.revised)
    if coming.series:
        say(f"  to bring:  {_amount(coming)}")
    largest = sorted(collections.items(), key=lambda item: -(_moved(item[1])))
    for name, sums in largest[:_SHOWN]:
        say(f"  {name or 'no collection'}: {_words(sums)}")
    if len(largest) > _SHOWN:
        say(f"  ... and {len(largest) - _SHOWN:,} more collections; `--json` lists them all")
    for note in found.notes:
        say(f"  note: {note}")


def _moved(sums: "Sums") -> int:
    return sum(amount.size_bytes or 0 for amount in (sums.added, sums.revised, sums.withdrawn))


def _words(sums: "Sums") -> str:
    kinds: tuple[Kind, ...] = ("added", "revised", "withdrawn")  # cohort.delta.KINDS, which loads DuckDB
    return "; ".join(
        f"{sums.of(kind).series:,} {kind} ({human_bytes(sums.of(kind).size_bytes)})"
        for kind in kinds
        if sums.of(kind).series
    )


def _amount(amount: "Amount") -> str:
    instances = "" if amount.instances is None else f"{human_count(amount.instances, 'instances')}, "
    return f"{human_count(amount.series, 'series')}, {instances}{human_bytes(amount.size_bytes)}"


def _write_list(found: "Delta", path: Path) -> None:
    if str(path) == "-":
        _write_rows(found, sys.stdout)
        return
    with _whole(path) as file:
        _write_rows(found, file)


def _write_rows(found: "Delta", file: TextIO) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for batch in found.iter_changes():
        writer.writerows(batch)


@contextlib.contextmanager
def _whole(path: Path) -> Iterator[TextIO]:
    """Write a file that is there whole or not at all."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            yield file
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise
