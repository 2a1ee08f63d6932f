"""`dicomhaul daemon`: job files, at their times."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from dicomhaul.cli import parameters
from dicomhaul.errors import ConfigError

JobPlaces = Annotated[list[Path], typer.Argument(metavar="JOBS", help="Folders of job files (*.toml), or job files.")]
ListenOption = Annotated[
    str,
    typer.Option("--listen", metavar="HOST:PORT", help="Where /healthz and /metrics are answered; port 0: any free."),
]
StateOption = Annotated[
    Path | None,
    typer.Option(
        "--state",
        metavar="DIR",
        help="Where it remembers what ran; .dicomhaul-daemon beside the job files unless said.",
    ),
]


def daemon(
    places: JobPlaces,
    listen: ListenOption = "127.0.0.1:9464",
    state: StateOption = None,
    log_file: parameters.LogFileOption = None,
    log_level: parameters.LogLevelOption = None,
    log_format: parameters.LogFormatOption = "text",
) -> None:
    """Run job files at their times, for those who have neither cron, systemd nor a cluster that would.

    Each job that has a schedule runs as a process of its own. Two jobs on one destination wait for each other; times
    that passed while the daemon was down, or while a run went on, are made up for by one run. SIGTERM and SIGINT end
    what runs, cleanly, and the daemon, with exit code 0; it is run again at the next start. SIGHUP reads the job files
    again. /healthz answers 200 while all is well, else 503; /metrics is for Prometheus. A job file can name a command
    that is run, so who may write to JOBS is as powerful as the daemon.

    \b
    Examples:
      dicomhaul daemon jobs/
      dicomhaul daemon jobs/ --listen 0.0.0.0:9464 --state /var/lib/dicomhaul --log-format json
    """
    if os.name == "nt":
        raise ConfigError("the daemon needs Linux or macOS; on Windows, let the Task Scheduler call `dicomhaul run`")
    from dicomhaul.cli.harness import Stop, run_async  # noqa: PLC0415 - the loop, which --help need not wait for
    from dicomhaul.daemon.http import parse_listen  # noqa: PLC0415
    from dicomhaul.daemon.service import STATE, Service  # noqa: PLC0415
    from dicomhaul.net.clock import SystemClock  # noqa: PLC0415
    from dicomhaul.observe.logs import open_logs  # noqa: PLC0415

    form: Literal["text", "json"] = log_format or "text"
    beside = places[0] if places[0].is_dir() else places[0].parent
    service = Service(places, (state or beside / STATE).absolute(), parse_listen(listen), form, SystemClock())

    async def body(stop: Stop) -> None:
        stop.call = service.stop
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, service.read_again)
        try:
            await service.run()
        finally:
            loop.remove_signal_handler(signal.SIGHUP)

    with open_logs(level=log_level or "info", file=log_file, form=form, stream=sys.stderr):
        run_async(body)
