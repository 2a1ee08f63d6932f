"""`dicomhaul status`: where a destination stands, from its ledger alone."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

from dicomhaul.cli import parameters
from dicomhaul.cli.output import EXIT_CODES, emit_json, human_bytes, human_count, print_failures, say
from dicomhaul.config.rates import parse_duration_s
from dicomhaul.model import Failure, Shard
from dicomhaul.observe.figures import duration
from dicomhaul.plan.shard import parse_shard
from dicomhaul.report import Report, RunState

if TYPE_CHECKING:
    from dicomhaul.record.absent import Absent
    from dicomhaul.record.reader import CohortRow, Standing

_SHOWN_COHORTS: Final = 3
_TOO_OLD: Final = 3

MaxAgeOption = Annotated[
    str | None,
    typer.Option(
        "--max-age",
        metavar="TIME",
        help="Exit 3 unless a run ended with everything there so long ago at most, such as 26h; else 0, whatever else.",
    ),
]


@dataclass(frozen=True, slots=True)
class Age:
    """How long ago a run last ended with everything there.

    Attributes:
        last_success: when it ended, ISO 8601; None: none did.
        age_s: seconds since then; None: none did.
        most_s: how long ago it may be; None: nobody asks.
    """

    last_success: str | None
    age_s: float | None
    most_s: float | None

    @classmethod
    def of(cls, last_success: str | None, max_age: str | None) -> "Age":
        """Return the age now. Raises ConfigError for a `max_age` that is no time."""
        most_s = None if max_age is None else parse_duration_s(max_age)
        try:
            age_s = None if last_success is None else _seconds_since(last_success)
        except ValueError:  # a ledger that somebody else wrote
            return cls(None, None, most_s)
        return cls(last_success, age_s, most_s)

    def as_json(self) -> dict[str, Any]:
        """Return it as `--json` lists it."""
        return {"last_success": self.last_success, "age_s": None if self.age_s is None else round(self.age_s)}

    @property
    def sentence(self) -> str:
        """Say it."""
        if self.age_s is None:
            return "no run has ended with everything there"
        return f"last complete: {self.last_success}, {duration(self.age_s)} ago"

    def exit_code(self, state: RunState) -> int:
        """Return the exit code: of the age, where that is asked for, else of the state."""
        if self.most_s is None:
            return EXIT_CODES[state]
        return 0 if self.age_s is not None and self.age_s <= self.most_s else _TOO_OLD


def _seconds_since(moment: str) -> float:
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(moment).astimezone(UTC)).total_seconds())


def status(
    dest: parameters.Destination,
    shard: parameters.ShardOption = None,
    state_dir: parameters.StateDirOption = None,
    max_age: MaxAgeOption = None,
    as_json: parameters.JsonOption = False,
) -> None:
    """Say where DEST stands; asks no server. Exit 0 if everything is there, 3 if something failed, 4 if work is left.

    With --max-age the exit code says one thing alone: whether a mirror is as fresh as it has to be, also while a run
    goes on.

    \b
    Examples:
      dicomhaul status data
      dicomhaul status data --json
      dicomhaul status data --max-age 26h
    """
    from dicomhaul.destination import find_place  # noqa: PLC0415 - sqlite and pydantic, which --help need not wait for
    from dicomhaul.record.absent import absent_shards  # noqa: PLC0415
    from dicomhaul.record.ledger import Ledger  # noqa: PLC0415
    from dicomhaul.record.place import shards_at  # noqa: PLC0415

    if shard is None and (shards := shards_at(dest, state_dir)):
        _show_shards(dest, state_dir, shards, max_age=max_age, as_json=as_json)
    place = find_place(dest, state_dir, None if shard is None else parse_shard(shard))
    with closing(Ledger.open(place.ledger, read_only=True)) as ledger:
        ledger.check()
        cohorts = ledger.asked_for()
        standing = ledger.standing()
        failures = list(ledger.iter_failures(*(cohort.id for cohort in cohorts)))
        last = ledger.last_run()
        age = Age.of(ledger.last_success(), max_age)
        parts = [(cohort, ledger.standing(cohort.id)) for cohort in cohorts]
    absent = absent_shards(cohorts) if shard is None else []
    report = Report.at_rest(dest, *state_of(standing, len(failures), absent), standing, failures)
    if as_json:
        emit_json(
            {
                **report.as_json(),
                "bytes_present": standing.bytes_present,
                "checked": standing.checks_as_json(),
                "last_run": None if last is None else {"started_at": last[0], "ended_at": last[1], "state": last[2]},
                **age.as_json(),
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
                "shards_absent": names_of(absent),
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
        if absent:
            say(f"  {report.reason}")
        if last is not None:
            say(f"  last run: {last[0]}, {last[2] or 'not ended, or killed'}")
        say(f"  {age.sentence}")
        print_failures(failures)
    raise typer.Exit(age.exit_code(report.state))


def _show_shards(
    dest: Path, state_dir: Path | None, shards: "list[Shard]", *, max_age: str | None, as_json: bool
) -> NoReturn:
    """Say where each shard stands, and all together; a shard that nobody began is work that is left.

    Together they are as old as the oldest.
    """
    from dicomhaul.record.absent import absent_shards, named  # noqa: PLC0415 - as above
    from dicomhaul.record.ledger import Ledger  # noqa: PLC0415
    from dicomhaul.record.place import place_of  # noqa: PLC0415

    standings: list[Standing] = []
    failures: list[Failure] = []
    table: list[dict[str, Any]] = []
    asked: list[CohortRow] = []
    begun: set[Shard] = set()
    successes: list[str | None] = []
    for shard in shards:
        with closing(Ledger.open(place_of(dest, state_dir, shard).ledger, read_only=True)) as ledger:
            ledger.check()
            standing = ledger.standing()
            cohorts = ledger.cohorts()
            successes.append(ledger.last_success())
            failed = list(ledger.iter_failures(*(cohort.id for cohort in cohorts)))
        asked += cohorts
        if cohorts:  # else it came to an end before it was planned
            begun.add(shard)
        standings.append(standing)
        failures += failed
        table.append(
            {
                "shard": str(shard),
                "state": state_of(standing, len(failed))[0] if cohorts else "paused",
                "series_planned": standing.series_planned,
                "series_complete": standing.series_complete,
                "series_failed": standing.series_failed,
                "instances_present": standing.instances_present,
                "bytes_present": standing.bytes_present,
            }
        )
    lacking = {Shard(number, of) for of in {shard.of for shard in shards} for number in range(1, of + 1)} - begun
    lacking.update(shard for each in absent_shards(asked) for shard in each.shards)
    absent = sorted(lacking, key=lambda shard: (shard.of, shard.number))
    total = reduce(lambda one, other: one.plus(other), standings)
    state, reason = state_of(total, len(failures))
    if absent:
        state, reason = "paused", f"{human_count(len(absent), 'shards')} not begun here: {named(absent)}"
    report = Report.at_rest(dest, state, reason, total, failures)
    ended = [each for each in successes if each is not None]
    age = Age.of(None if absent or len(ended) < len(successes) else min(ended), max_age)
    if as_json:
        names = [str(shard) for shard in absent]
        emit_json(
            {
                **report.as_json(),
                "bytes_present": total.bytes_present,
                **age.as_json(),
                "shards": table,
                "shards_absent": names,
            }
        )
    else:
        say(
            f"{report.state}: {report.series_complete:,} of {human_count(report.series_planned, 'series')} complete, "
            f"{human_count(total.instances_present, 'instances')} ({human_bytes(total.bytes_present)}) present, "
            f"in {human_count(len(shards), 'shards')}"
        )
        for each in table:
            say(
                f"  shard {each['shard']}: {each['state']}: {each['series_complete']:,} of "
                f"{each['series_planned']:,} series, {human_count(each['instances_present'], 'instances')}"
            )
        if reason:
            say(f"  {reason}")
        say(f"  {age.sentence}")
        say(f"  when all have ended: dicomhaul merge {dest}")
        print_failures(failures)
    raise typer.Exit(age.exit_code(report.state))


def _checks(standing: "Standing") -> str:
    """Say what the bytes of the instances were held against as they landed, besides the XXH3-128 that all have."""
    words = {"md5": "MD5", "crc32c": "CRC32C", "size": "size", "framing": "the framing of the answer"}
    return ", ".join(f"{count:,} by {words[name]}" for name, count in standing.checks_as_json().items() if count)


def names_of(absent: "Sequence[Absent]") -> list[str]:
    """Return shards that are absent, of whatever cohort, each once."""
    shards = {shard for each in absent for shard in each.shards}
    return [str(shard) for shard in sorted(shards, key=lambda shard: (shard.of, shard.number))]


def state_of(standing: "Standing", failures: int, absent: "Sequence[Absent]" = ()) -> tuple[RunState, str]:
    """Return the state of a destination at rest, and why it is not complete; `absent`: shards it still waits for."""
    left = standing.series_planned - standing.series_complete - standing.series_failed
    reasons: list[str] = []
    if left:
        reasons.append(f"{human_count(left, 'series')} still to come; `dicomhaul resume` goes on")
    if absent:
        some = ", and ".join(map(str, absent[:_SHOWN_COHORTS]))
        reasons.append(f"not here: {some}; merge what is missing into it, or pull the cohort without --shard")
    if reasons:
        return "paused", "; ".join(reasons)
    return ("partial", human_count(failures, "failures")) if failures else ("complete", "")
