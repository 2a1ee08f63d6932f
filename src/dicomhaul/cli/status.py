"""`dicomhaul status`: where a destination stands, from its ledger alone."""

from contextlib import closing
from typing import Any

import typer

from dicomhaul.cli import shared
from dicomhaul.cli.output import emit_json, human_bytes, human_count, say


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
    left = standing.series_planned - standing.series_complete - standing.series_failed
    state = "paused" if left else "partial" if failures else "complete"
    if as_json:
        table: dict[str, Any] = {
            "dest": str(dest),
            "state": state,
            "series_planned": standing.series_planned,
            "series_complete": standing.series_complete,
            "series_failed": standing.series_failed,
            "instances_expected": standing.instances_expected,
            "instances_landed": 0,
            "instances_present": standing.instances_present,
            "instances_failed": standing.instances_failed,
            "bytes_landed": 0,
            "bytes_present": standing.bytes_present,
            "bytes_discarded": 0,
            "requests": 0,
            "retries": 0,
            "throttled": 0,
            "elapsed_s": 0.0,
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
            "failures": [
                {"study": each.study, "series": each.series, "sop": each.sop, "reason": each.reason}
                for each in failures
            ],
        }
        emit_json(table)
    else:
        say(
            f"{state}: {standing.series_complete:,} of {human_count(standing.series_planned, 'series')} complete, "
            f"{human_count(standing.instances_present, 'instances')} ({human_bytes(standing.bytes_present)}) present"
        )
        for cohort, part in parts:
            say(f"  {cohort.name}: {part.series_complete:,} of {part.series_planned:,} series, from {cohort.source}")
        if last is not None:
            say(f"  last run: {last[0]}, {last[2] or 'not ended, or killed'}")
        for failure in failures[:20]:
            what = f"instance {failure.sop}" if failure.sop else f"series {failure.series}"
            say(f"  missing: {what}: {failure.reason}")
    raise typer.Exit({"complete": 0, "partial": 3, "paused": 4}[state])
