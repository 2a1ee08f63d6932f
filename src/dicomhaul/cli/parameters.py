"""The arguments and options that several commands take."""

from pathlib import Path
from typing import Annotated, Literal

import typer

_COHORT = "Cohort"
_SOURCE = "Source"
_RUN = "Run"
_OUTPUT = "Output"


def dest(text: str) -> Path:
    """Read DEST: an unset variable of a script must not mean the current folder."""
    if not text:
        raise typer.BadParameter("an empty DEST means nothing; use . for the current folder")
    return Path(text)


Targets = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="TARGET...",
        help="IDC collection id, study, series or SOP Instance UID, CRDC series UUID, manifest file, or - for a "
        "manifest by standard input.",
        show_default=False,
    ),
]
CollectionOption = Annotated[
    list[str] | None, typer.Option("--collection", "--collection-id", help="IDC collection.", rich_help_panel=_COHORT)
]
ModalityOption = Annotated[
    list[str] | None, typer.Option("--modality", help="Modality, such as CT.", rich_help_panel=_COHORT)
]
PatientOption = Annotated[
    list[str] | None, typer.Option("--patient", "--patient-id", help="Patient ID.", rich_help_panel=_COHORT)
]
StudyOption = Annotated[
    list[str] | None,
    typer.Option("--study", "--study-instance-uid", help="Study Instance UID.", rich_help_panel=_COHORT),
]
SeriesOption = Annotated[
    list[str] | None,
    typer.Option("--series", "--series-instance-uid", help="Series Instance UID.", rich_help_panel=_COHORT),
]
InstanceOption = Annotated[
    list[str] | None,
    typer.Option("--instance", "--sop-instance-uid", help="SOP Instance UID.", rich_help_panel=_COHORT),
]
CrdcOption = Annotated[
    list[str] | None,
    typer.Option("--crdc-series-uuid", help="CRDC series UUID: one revision of a series.", rich_help_panel=_COHORT),
]
StudyDateOption = Annotated[
    str | None,
    typer.Option(
        "--study-date",
        metavar="A-B",
        help="Study date or range, YYYYMMDD; A- and -B are open.",
        rich_help_panel=_COHORT,
    ),
]
WhereOption = Annotated[
    str | None,
    typer.Option("--where", metavar="SQL", help="SQL condition on columns of IDC's index.", rich_help_panel=_COHORT),
]
SqlOption = Annotated[
    str | None,
    typer.Option("--sql", metavar="QUERY", help="SQL SELECT over IDC's tables.", rich_help_panel=_COHORT),
]
SearchOption = Annotated[
    list[str] | None,
    typer.Option(
        "--search",
        metavar="KEY=VALUE",
        help="DICOM attribute, by QIDO-RS: StudyDate=20240101-.",
        rich_help_panel=_COHORT,
    ),
]
AllOption = Annotated[bool, typer.Option("--all", help="Everything that the server has.", rich_help_panel=_COHORT)]
IdcVersionOption = Annotated[
    int | None,
    typer.Option("--idc-version", min=1, help="IDC as that release had it.", rich_help_panel=_COHORT),
]
LicenseAllowOption = Annotated[
    str | None,
    typer.Option(
        "--license-allow",
        metavar="LIST",
        help='Refuse a cohort with any other licence: "CC BY 3.0,CC BY 4.0".',
        rich_help_panel=_COHORT,
    ),
]
ShardOption = Annotated[
    str | None,
    typer.Option("--shard", metavar="I/N", help="Only part I of N, for N jobs side by side.", rich_help_panel=_COHORT),
]
LimitOption = Annotated[
    int | None, typer.Option("--limit-series", min=1, help="At most so many series.", rich_help_panel=_COHORT)
]

SourceOption = Annotated[
    str | None,
    typer.Option(
        "--source",
        "-s",
        help="Where from: idc (IDC's buckets, then its proxy; the default), idc-bucket, idc-proxy, idc-google, several "
        "of these with commas between, a profile file, or a DICOMweb base URL. A destination remembers it.",
        rich_help_panel=_SOURCE,
    ),
]
ProfileOption = Annotated[
    str | None,
    typer.Option(
        "--profile",
        help="Name or file of the profile for a URL, instead of the one that its host suggests.",
        rich_help_panel=_SOURCE,
    ),
]
AuthOption = Annotated[
    Literal["none", "basic", "bearer", "google", "azure"] | None,
    typer.Option(
        "--auth",
        help="How to authenticate, instead of as the profile says. basic: DICOMHAUL_USER and DICOMHAUL_PASSWORD; "
        "bearer: DICOMHAUL_TOKEN or --token-file.",
        rich_help_panel=_SOURCE,
    ),
]
TokenFileOption = Annotated[
    Path | None,
    typer.Option(
        "--token-file", help="File that holds a bearer token; read again when it changes.", rich_help_panel=_SOURCE
    ),
]
CaFileOption = Annotated[
    Path | None,
    typer.Option("--ca-file", help="Authorities to trust instead of the system's (PEM).", rich_help_panel=_SOURCE),
]
ClientCertOption = Annotated[
    Path | None, typer.Option("--client-cert", help="Our certificate for mutual TLS (PEM).", rich_help_panel=_SOURCE)
]
ClientKeyOption = Annotated[
    Path | None,
    typer.Option("--client-key", help="Its key, if it is in another file (PEM).", rich_help_panel=_SOURCE),
]
BucketLocationOption = Annotated[
    Literal["aws", "gcs"],
    typer.Option("--bucket-location", help="Which copy of IDC's buckets.", rich_help_panel=_SOURCE),
]
QuotaOption = Annotated[
    str | None,
    typer.Option(
        "--quota",
        metavar="BYTES/day",
        help="At most so much a day (UTC) from a DICOMweb server: 5G/day. Each shard counts for itself; divide it.",
        rich_help_panel=_SOURCE,
    ),
]
TpsOption = Annotated[
    float | None,
    typer.Option("--tpslimit", min=0.01, help="At most so many requests a second.", rich_help_panel=_SOURCE),
]

ToOption = Annotated[
    Path,
    typer.Option(
        "-o",
        "--to",
        "--download-dir",
        metavar="DEST",
        help="The destination, a folder.",
        parser=dest,
        rich_help_panel=_RUN,
    ),
]
PlanToOption = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--to",
        "--download-dir",
        metavar="DEST",
        help="Plan for this destination.",
        parser=dest,
        rich_help_panel=_RUN,
    ),
]
DeepOption = Annotated[
    bool, typer.Option("--deep", help="Parse every instance with pydicom, too.", rich_help_panel=_RUN)
]
RepairOption = Annotated[
    bool, typer.Option("--repair", help="Bring again what is damaged or gone.", rich_help_panel=_RUN)
]
DryRunOption = Annotated[bool, typer.Option("-n", "--dry-run", help="Only plan.", rich_help_panel=_RUN)]
Destination = Annotated[Path, typer.Argument(metavar="DEST", help="The destination, a folder.")]
TransfersOption = Annotated[
    int | None,
    typer.Option(
        "--transfers",
        "--max-workers",
        min=1,
        max=256,
        help="At most so many exchanges at once, instead of as the profile says.",
        rich_help_panel=_RUN,
    ),
]
ProcessesOption = Annotated[
    int,
    typer.Option(
        "--processes",
        min=1,
        max=64,
        metavar="N",
        help="So many processes haul, as one run: pays where one core of the processor is the limit, not the line or "
        "the server.",
        rich_help_panel=_RUN,
    ),
]
LayoutOption = Annotated[
    str | None,
    typer.Option(
        "--layout",
        "--dir-template",
        metavar="TEMPLATE",
        help="Folders below DEST, such as {PatientID}/{SeriesInstanceUID}.",
        rich_help_panel=_RUN,
    ),
]
StateDirOption = Annotated[
    Path | None,
    typer.Option(
        "--state-dir", help="Where the ledger lives instead of DEST/.dicomhaul; say it each time.", rich_help_panel=_RUN
    ),
]
AuditLogOption = Annotated[
    Path | None,
    typer.Option(
        "--audit-log",
        metavar="FILE",
        help="Append what is done to this log, which shows whether anybody changed it: see audit. Outside DEST.",
        rich_help_panel=_RUN,
    ),
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Go on although the plan does not fit the free space.", rich_help_panel=_RUN)
]
RecheckOption = Annotated[
    bool, typer.Option("--recheck", help="Look for landed files that are gone, and bring them.", rich_help_panel=_RUN)
]

NameByOption = Annotated[
    Literal["sop", "crdc"] | None,
    typer.Option(
        "--name-by",
        help="Name files by SOP Instance UID, or as idc-index does by CRDC instance UUID (buckets only).",
        rich_help_panel=_RUN,
    ),
]
ChecksumOption = Annotated[
    Literal["stated", "xxh3"],
    typer.Option(
        "--checksum",
        help="Hold what landed against the digest that the source states, too, or record XXH3 alone.",
        rich_help_panel=_RUN,
    ),
]
BwlimitOption = Annotated[
    str | None,
    typer.Option(
        "--bwlimit",
        metavar="RATE",
        help='At most so much a second (10M; a bare number: KiB, not bytes as --rate), or: "08:00,10M 19:00,off".',
        rich_help_panel=_RUN,
    ),
]
MaxTransferOption = Annotated[
    str | None,
    typer.Option(
        "--max-transfer", metavar="BYTES", help="Stop, resumable, once so much came: 500G.", rich_help_panel=_RUN
    ),
]
MaxDurationOption = Annotated[
    str | None,
    typer.Option("--max-duration", metavar="TIME", help="Stop, resumable, after it: 6h30m.", rich_help_panel=_RUN),
]
WaitOption = Annotated[
    bool, typer.Option("--wait", help="Sleep until a used-up quota opens again, and go on.", rich_help_panel=_RUN)
]
LockOption = Annotated[
    Path | None,
    typer.Option(
        "--lock",
        metavar="FILE",
        help="Write a lock: this very cohort, to be pulled again; or add to it.",
        rich_help_panel=_RUN,
    ),
]
AcceptFailuresOption = Annotated[
    Path | None,
    typer.Option(
        "--accept-failures",
        metavar="FILE",
        help="Failures that are known and no reason for exit 3: UID, tab or comma, what the reason contains.",
        rich_help_panel=_RUN,
    ),
]
OnSeriesOption = Annotated[
    str | None,
    typer.Option(
        "--on-series",
        metavar="COMMAND",
        help="Run this for each series that has landed, while others still come. No shell; {folder}, {series} and "
        "{study} are replaced, and stand in DICOMHAUL_FOLDER, ... too.",
        rich_help_panel=_RUN,
    ),
]
OnSeriesJobsOption = Annotated[
    int,
    typer.Option(
        "--on-series-jobs", min=1, max=64, metavar="N", help="At most so many of them at once.", rich_help_panel=_RUN
    ),
]
MetricsFileOption = Annotated[
    Path | None,
    typer.Option(
        "--metrics-file",
        metavar="FILE",
        help="Write metrics there for node_exporter's textfile collector, every 15 s and at the end: DIR/NAME.prom.",
        rich_help_panel=_OUTPUT,
    ),
]
RateOption = Annotated[
    str | None,
    typer.Option(
        "--rate",
        metavar="RATE",
        help="Predict with so much a second: 80M; a bare number is bytes, of --bwlimit KiB.",
        rich_help_panel=_RUN,
    ),
]
ProbeOption = Annotated[
    bool, typer.Option("--probe", help="Measure the rate first: up to 30 s of real transfer.", rich_help_panel=_RUN)
]

JsonOption = Annotated[
    bool,
    typer.Option("--json", help="The last line on stdout is one JSON object.", rich_help_panel=_OUTPUT),
]
QuietOption = Annotated[bool, typer.Option("-q", "--quiet", help="No progress.", rich_help_panel=_OUTPUT)]
VerboseOption = Annotated[
    int, typer.Option("-v", "--verbose", count=True, help="Log to stderr; twice for more.", rich_help_panel=_OUTPUT)
]
ProgressOption = Annotated[
    bool,
    typer.Option(
        "-P", "--progress", help="Show progress bars also where stderr is no terminal.", rich_help_panel=_OUTPUT
    ),
]
LogFileOption = Annotated[Path | None, typer.Option("--log-file", help="Write the log there.", rich_help_panel=_OUTPUT)]
LogLevelOption = Annotated[
    Literal["debug", "info", "warning", "error"] | None,
    typer.Option("--log-level", help="The least level that is logged.", rich_help_panel=_OUTPUT),
]
LogFormatOption = Annotated[
    Literal["text", "json"] | None,
    typer.Option("--log-format", help="A line of text or a JSON object for each record.", rich_help_panel=_OUTPUT),
]
