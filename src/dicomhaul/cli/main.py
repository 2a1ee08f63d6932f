"""The entry point: commands, and the one table of exit codes.

| code | means |
|---|---|
| 0 | everything asked for is there |
| 1 | fatal: the destination cannot be used, or a server failed while the cohort was resolved |
| 2 | usage, or nothing matches |
| 3 | finished; some instances failed or are damaged (listed) |
| 4 | paused: the source stopped the run; run again to go on |
| 130, 143 | stopped by SIGINT, SIGTERM; run again to go on |
"""

import contextlib
import sys
from typing import Final

import typer

from dicomhaul.cli.adopt import adopt
from dicomhaul.cli.audit import audit
from dicomhaul.cli.check import check
from dicomhaul.cli.cite import cite
from dicomhaul.cli.daemon import daemon
from dicomhaul.cli.delta import delta
from dicomhaul.cli.demo import demo
from dicomhaul.cli.doctor import doctor
from dicomhaul.cli.harness import FOREIGN_ERRORS
from dicomhaul.cli.merge import merge
from dicomhaul.cli.origin import origin
from dicomhaul.cli.output import complain, emit_json, failed_json
from dicomhaul.cli.plan import plan
from dicomhaul.cli.pull import pull, resume
from dicomhaul.cli.report import report
from dicomhaul.cli.run import run_job
from dicomhaul.cli.status import status
from dicomhaul.cli.sync import sync
from dicomhaul.cli.verify import verify
from dicomhaul.errors import CohortError, ConfigError, HaulError

_EXIT_CODES: Final = (
    "Exit codes: 0 complete, 1 fatal, 2 usage or empty cohort, 3 finished with failures, 4 paused (run again), "
    "130/143 stopped by a signal (run again)."
)
_FATAL: Final = 1
_USAGE: Final = 2

app = typer.Typer(
    name="dicomhaul",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Bring cohorts of DICOM instances down from DICOMweb servers: complete, verifiable, resumable.",
    epilog=_EXIT_CODES,
)
for command in (plan, delta, pull, sync, resume, status, verify, check, merge, adopt, cite, doctor, demo, daemon):
    app.command(epilog=_EXIT_CODES if command in {pull, sync, resume} else None)(command)
app.command("run", epilog=_EXIT_CODES)(run_job)
app.command()(report)
app.command(hidden=True)(origin)
app.add_typer(audit)


def _version(value: bool) -> None:
    if value:
        from dicomhaul import __version__  # noqa: PLC0415 - one line, rarely

        typer.echo(f"dicomhaul {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


def exit_code_for(error: Exception) -> int:
    """Return the exit code of an error that ended a command. What a run reports by value is not an error."""
    return _USAGE if isinstance(error, (ConfigError, CohortError)) else _FATAL


def run() -> None:
    """Run the command line; never returns. typer prints usage errors (exit 2) and turns SIGINT into exit 130."""
    try:
        app()
    except (HaulError, *FOREIGN_ERRORS) as error:
        if "--json" in sys.argv:  # whatever stage the command was at, the last line is an object
            with contextlib.suppress(OSError):  # stdout may be what failed
                emit_json(failed_json(error))
        complain(error)
        sys.exit(exit_code_for(error))
