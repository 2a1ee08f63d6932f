"""`dicomhaul run`: a job, as a file describes it."""

import os
import shlex
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicomhaul.cli import parameters
from dicomhaul.cli.ending import leave
from dicomhaul.cli.harness import Stop, run_async
from dicomhaul.cli.output import emit_json, say, tell
from dicomhaul.cli.watch import Watching, metrics_from
from dicomhaul.errors import ConfigError

if TYPE_CHECKING:
    from dicomhaul.job.model import Job
    from dicomhaul.report import Report

JobFiles = Annotated[list[Path], typer.Argument(metavar="JOB.toml...", help="A job file; several with --check.")]
CheckOption = Annotated[
    bool, typer.Option("--check", help="Only say whether the files are right, and what they would do.")
]
NoHooksOption = Annotated[
    bool, typer.Option("--no-hooks", help="Run no command that the file names, and tell no webhook.")
]


def run_job(
    files: JobFiles,
    check: CheckOption = False,
    no_hooks: NoHooksOption = False,
    as_json: parameters.JsonOption = False,
    quiet: parameters.QuietOption = False,
    verbose: parameters.VerboseOption = 0,
    progress: parameters.ProgressOption = False,
    log_file: parameters.LogFileOption = None,
    log_level: parameters.LogLevelOption = None,
    log_format: parameters.LogFormatOption = None,
    metrics_file: parameters.MetricsFileOption = None,
) -> None:
    """Run a job once: source, cohort, destination, limits and who is told, as a TOML file says.

    A job file can name a command (on_series), and where to write: run one of somebody else's as you would a script,
    after reading it, or with --no-hooks. Options here go before what the file says.

    \b
    Examples:
      dicomhaul run mirror-nlst.toml
      dicomhaul run mirror-nlst.toml --json --log-format json
      dicomhaul run --check jobs/pacs.toml jobs/mirror-nlst.toml
    """
    from dicomhaul.job.reading import examine_job  # noqa: PLC0415 - pydantic and the engine, see pull

    found = [examine_job(file) for file in files]
    errors = [error for _, wrong in found for error in wrong]
    jobs = [job for job, _ in found if job is not None]
    if check:
        _show(jobs, errors, as_json=as_json)
    for error in errors:
        tell(f"  {error}")
    if errors:
        raise ConfigError(_count(errors))
    if len(jobs) > 1:
        raise ConfigError("one job at a time; several files go with --check, or with the daemon")
    job = jobs[0]
    watching = Watching(
        quiet=quiet,
        verbose=verbose,
        bars=progress,
        log_file=log_file or job.log.file,
        level=log_level or job.log.level,
        log_format=log_format or job.log.form,
    )
    watching.metrics = metrics_from(
        metrics_file or job.textfile,
        name=job.name,
        dest=job.dest,
        state_dir=job.options.state_dir,
        shard=job.query.shard,
    )
    _run(job, watching, hooks=not no_hooks, as_json=as_json)


def _run(job: "Job", watching: Watching, *, hooks: bool, as_json: bool) -> None:
    from dicomhaul.job.running import JobRun  # noqa: PLC0415 - as above

    haul = JobRun(job, environ=os.environ, observer=watching.hear, hooks=hooks)

    async def body(stop: Stop) -> "tuple[Report, int | None]":
        stop.call, stop.at_once = haul.stop, haul.kill
        async with AsyncExitStack() as stack:
            stack.enter_context(watching.over(haul.tally))
            if watching.metrics is not None:
                await stack.enter_async_context(watching.metrics.of(haul))
            report = await haul.run()
            watching.ended(report)
        return report, stop.exit_code

    report, signalled = run_async(body)
    leave(report, signalled, commands=haul.commands, as_json=as_json, more={"job": job.name})


def _count(errors: list[str]) -> str:
    return "1 error in the job file" if len(errors) == 1 else f"{len(errors)} errors in job files"


def _show(jobs: "list[Job]", errors: list[str], *, as_json: bool) -> None:
    """Say what is wrong with the files, and what those that are right would do; exit with 0 or 2."""
    if as_json:
        emit_json({"jobs": [_as_json(job) for job in jobs], "errors": errors})
    else:
        for job in jobs:
            for line in _lines(job):
                say(line)
        for error in errors:
            tell(error)
    raise typer.Exit(2 if errors else 0)


def _as_json(job: "Job") -> dict[str, Any]:
    schedule = job.schedule
    return {
        "file": str(job.file),
        "name": job.name,
        "command": job.command,
        "source": job.source or "idc",
        "dest": str(job.dest),
        "cron": None if schedule is None else schedule.cron,
        "timezone": None if schedule is None else schedule.zone.key,
        "on_series": list(job.notify.on_series) or None,
        "webhook": job.notify.webhook is not None or job.notify.webhook_file is not None,
    }


def _lines(job: "Job") -> list[str]:
    """What a job would do; the webhook's URL may be a secret."""
    lines = [f"{job.name} ({job.file}): {job.command} from {job.source or 'idc'} to {job.dest}"]
    if job.schedule is not None:
        lines.append(f"  at {job.schedule.cron} ({job.schedule.zone.key}), by the daemon")
    if job.notify.on_series:
        lines.append(f"  runs for each series: {shlex.join(job.notify.on_series)}")
    if job.notify.webhook is not None or job.notify.webhook_file is not None:
        lines.append(f"  tells a webhook {'after each run' if job.notify.always else 'of a run that failed'}")
    for what, path in (("logs to", job.log.file), ("audit log", job.audit), ("metrics to", job.textfile)):
        if path is not None:
            lines.append(f"  {what} {path}")
    return lines
