"""`dicomhaul status`: where a destination stands, from its ledger alone."""

from contextlib import closing
from typing import TYPE_CHECKING

import typer

from dicomhaul.cli import shared
from dicomhaul.cli.output import EXIT_CODES, emit_json, human_bytes, human_count, print_failures, say
from dicomhaul.report import Report, RunState

if TYPE_CHECKING:
    from dicomhaul.record.reader import Standing


def status(
    dest: shared.Destination, state_dir: shared.StateDirOption = None, as_json: shared.JsonOption = False
) -> None:
    """Say where DEST stands; asks no server. Exit 0 if everything is there, 3 if something failed, 4 if work is left.

    \b
    Examples:
      dicomhaul status data
      dicomhaul status data --json
    """
    from dicomhaul.record.ledger import Ledger  # noqa: PLC0415 - sqlite and pydantic, which --help need not wait for
    from dicomhaul.record.place import place_of  # noqa: PLC0415

    with closing(Ledger.open(place_of(dest, state_dir).ledger, read_only=True)) as ledger:
        standing = ledger.standing()
        cohorts = ledger.cohorts()
        failures = list(ledger.iter_failures(*(cohort.id for cohort in cohorts)))
        last = ledger.last_run()
        parts = [(cohort, ledger.standing(cohort.id)) for cohort in cohorts]
    report = Report.at_rest(dest, *state_of(standing, len(failures)), standing, failures)
    if as_json:
        emit_json(
            {
                **report.as_json(),
                "bytes_present": standing.bytes_present,
                "checked": standing.checks_as_json(),
                "last_run": None if last is None else {"started_at": last[0], "ended_at": last[1], "state": last[2]},
                "cohorts": [
                    {
                        "name": cohort.name,
                        "source": cohort.source,
                        "planned_at": cohort.planned_at,
                        "series_planned": part.series_planned,
                        "series_complete": part.series_complete,
                    }
                    for cohort, part in parts
                ],
            }
        )
    else:
        say(
            f"{report.state}: {report.series_complete:,} of {human_count(report.series_planned, 'series')} complete, "
            f"{human_count(standing.instances_present, 'instances')} ({human_bytes(standing.bytes_present)}) present"
        )
        if standing.instances_present:
            say(f"  compared as they landed: {_checks(standing)}")
        for cohort, part in parts:
            say(f"  {cohort.name}: {part.series_complete:,} of {part.series_planned:,} series, from {cohort.source}")
        if last is not None:
            say(f"  last run: {last[0]}, {last[2] or 'not ended, or killed'}")
        print_failures(failures)
    raise typer.Exit(EXIT_CODES[report.state])


def _checks(standing: "Standing") -> str:
    """Say what the bytes of the instances were held against as they landed, besides the XXH3-128 that all have."""
    words = {"md5": "MD5", "crc32c": "CRC32C", "size": "size", "framing": "the framing of the answer"}
    return ", ".join(f"{count:,} by {words[name]}" for name, count in standing.checks_as_json().items() if count)


def state_of(standing: "Standing", failures: int) -> tuple[RunState, str]:
    """Return the state of a destination at rest, and why it is not complete."""
    left = standing.series_planned - standing.series_complete - standing.series_failed
    if left:
        return "paused", f"{human_count(left, 'series')} still to come; `dicomhaul resume` goes on"
    return ("partial", human_count(failures, "failures")) if failures else ("complete", "")
