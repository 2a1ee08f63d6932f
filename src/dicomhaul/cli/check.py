"""`dicomhaul check`: hold a destination against its source, and move nothing."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, TextIO

import typer

from dicomhaul.cli import parameters
from dicomhaul.cli.harness import Stop, run_async
from dicomhaul.cli.meaning import connection_from, options_from, query_from
from dicomhaul.cli.output import emit_json, human_count, say, tell
from dicomhaul.cli.wiring import wire
from dicomhaul.cohort.wanted import Cohort
from dicomhaul.errors import ConfigError, NotWritable
from dicomhaul.observe.wording import printable

if TYPE_CHECKING:
    from dicomhaul.checking.check import Checked
    from dicomhaul.checking.compare import Marked

_EXIT_CODES: Final = {"equal": 0, "different": 3, "paused": 4}
_SAME: Final = "="
_SHOWN: Final = 20

CombinedOption = Annotated[
    Path | None,
    typer.Option(
        "--combined",
        metavar="FILE",
        help="Write a line for each path there, as rclone does: = same, + missing at DEST, - only at DEST, * differs, "
        "! error; -: print them.",
        rich_help_panel="Output",
    ),
]
OneWayOption = Annotated[
    bool, typer.Option("--one-way", help="What is only at DEST is no difference.", rich_help_panel="Run")
]
FileChecksumOption = Annotated[
    bool,
    typer.Option(
        "--checksum",
        help="Read the files, too, and compare them with the digests that a bucket's listing states.",
        rich_help_panel="Run",
    ),
]


def check(
    dest: parameters.Destination,
    targets: parameters.Targets = None,
    collection: parameters.CollectionOption = None,
    modality: parameters.ModalityOption = None,
    patient: parameters.PatientOption = None,
    study: parameters.StudyOption = None,
    series: parameters.SeriesOption = None,
    study_date: parameters.StudyDateOption = None,
    where: parameters.WhereOption = None,
    sql: parameters.SqlOption = None,
    search: parameters.SearchOption = None,
    everything: parameters.AllOption = False,
    idc_version: parameters.IdcVersionOption = None,
    source: parameters.SourceOption = None,
    bucket_location: parameters.BucketLocationOption = "aws",
    profile: parameters.ProfileOption = None,
    auth: parameters.AuthOption = None,
    token_file: parameters.TokenFileOption = None,
    ca_file: parameters.CaFileOption = None,
    client_cert: parameters.ClientCertOption = None,
    client_key: parameters.ClientKeyOption = None,
    tpslimit: parameters.TpsOption = None,
    transfers: parameters.TransfersOption = None,
    one_way: OneWayOption = False,
    checksum: FileChecksumOption = False,
    combined: CombinedOption = None,
    state_dir: parameters.StateDirOption = None,
    as_json: parameters.JsonOption = False,
    quiet: parameters.QuietOption = False,
) -> None:
    """Compare DEST with its source, instance by instance, and move nothing. Exit 0: equal, 3: different, 4: stopped.

    Without a cohort, everything that was asked for at DEST is compared, and what is besides is told; with one, only its
    series are. The source is asked for the inventory of each series, never for an instance.

    \b
    Examples:
      dicomhaul check data
      dicomhaul check data --combined report.txt --one-way
      dicomhaul check data qin_pet_phantom --checksum --json
      dicomhaul check data --all --source http://localhost:8042/dicom-web
    """
    printed = str(combined) == "-"
    if as_json and printed:
        raise ConfigError("--json and --combined - would both be printed: name a file")
    words = (targets, collection, modality, patient, study, series, study_date, where, sql, search)
    query = None
    if any(words) or everything:
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
            search=search,
            everything=everything,
            limit_series=None,
            idc_version=idc_version,
            license_allow=None,
            shard=None,
        )
    elif idc_version is not None:
        raise ConfigError("--idc-version belongs to a cohort: name one, or leave it out")

    hauler, _ = wire(
        source,
        profile=profile,
        bucket_location=bucket_location,
        connection=connection_from(
            auth=auth, token_file=token_file, ca_file=ca_file, client_cert=client_cert, client_key=client_key
        ),
        options=options_from(transfers=transfers, tpslimit=tpslimit, state_dir=state_dir),
    )

    async def body(stop: Stop) -> "tuple[Checked, int | None]":
        stop.call = hauler.stop
        cohort = None if query is None else Cohort(query)
        with _lines(combined, tell_them=not (quiet or printed)) as found:
            async with hauler:
                checked = await hauler.check(dest, cohort, one_way=one_way, checksum=checksum, found=found)
        return checked, stop.exit_code

    checked, signalled = run_async(body)
    if as_json:
        emit_json(checked.as_json())
    else:
        _print(checked, tell if printed else say)
    code = signalled if checked.state == "interrupted" and signalled is not None else _EXIT_CODES.get(checked.state, 1)
    raise typer.Exit(code)


@contextmanager
def _lines(combined: Path | None, *, tell_them: bool) -> "Iterator[Callable[[Marked], None]]":
    """Yield what writes each path with its mark, and tells the first of each mark that is not `=`."""
    shown: Counter[str] = Counter()

    def show(marked: "Marked") -> None:
        if marked.mark == _SAME or not tell_them:
            return
        shown[marked.mark] += 1
        if shown[marked.mark] <= _SHOWN:
            tell(_line(marked))
        elif shown[marked.mark] == _SHOWN + 1:
            tell(f"{marked.mark} ... and more; --combined FILE has them all")

    def written(file: TextIO) -> "Callable[[Marked], None]":
        def write(marked: "Marked") -> None:
            file.write(f"{_line(marked)}\n")
            show(marked)

        return write

    if combined is None:
        yield show
    elif str(combined) == "-":
        yield written(sys.stdout)
    else:
        try:
            file = combined.open("w", encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise NotWritable(f"cannot write {combined}: {error.strerror}") from None
        with file:
            yield written(file)


def _line(marked: "Marked") -> str:
    return f"{marked.mark} {printable(marked.path)}"


def _print(checked: "Checked", line: Callable[[str], None]) -> None:
    counts = checked.counts
    line(
        f"{checked.state}: {human_count(counts.series, 'series')} compared: {counts.matched:,} instances are the same, "
        f"{counts.missing:,} missing here, {counts.besides:,} only here, {counts.differing:,} differ, "
        f"{human_count(counts.errors, 'errors')}"
    )
    if counts.unnamed:
        line(f"  {counts.unnamed:,} of them by size or number alone: a bucket does not name its instances")
    if checked.first_error:
        line(f"  the first error: {checked.first_error}")
    if checked.state in {"paused", "interrupted"}:
        line(f"  {checked.reason}")
