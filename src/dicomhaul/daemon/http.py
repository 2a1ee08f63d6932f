"""What the daemon answers over HTTP: `/healthz` and `/metrics`, by GET; anything else is 404 or 405.

No answer names a credential or a patient; still, nobody else need read it: it listens on this machine unless told
otherwise. Requests are small, and few at once.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from aiohttp import web

from dicomhaul.daemon.decide import TimedJob, overdue_s
from dicomhaul.daemon.files import Found
from dicomhaul.daemon.health import health
from dicomhaul.daemon.supervisor import Supervisor
from dicomhaul.errors import ConfigError, LedgerError
from dicomhaul.observe.metrics import CONTENT_TYPE, JobFigures, Metric, daemon_metrics, exposition, parse_exposition
from dicomhaul.ports import Clock

_AT_ONCE: Final = 16
_HEAD_BYTES: Final = 8190
_IDLE_S: Final = 15.0
_TEXT_BYTES: Final = 1 << 20


class Answers:
    """What is answered.

    Args:
        supervisor: the loop.
        found: gives what the job files said when they were read last.
        metrics_of: gives the textfile of a job's runs.
        clock: says when it is.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        *,
        found: Callable[[], Found],
        metrics_of: Callable[[TimedJob], Path],
        clock: Clock,
    ) -> None:
        self._supervisor = supervisor
        self._found = found
        self._metrics_of = metrics_of
        self._clock = clock
        self._busy = 0

    def application(self) -> web.Application:
        """Return the application that answers."""
        app = web.Application(middlewares=[self._bounded])
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/metrics", self._metrics)
        return app

    @web.middleware
    async def _bounded(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if self._busy >= _AT_ONCE:
            return web.Response(status=503, headers={"Retry-After": "1"})
        self._busy += 1
        try:
            return await handler(request)
        finally:
            self._busy -= 1

    async def _healthz(self, _: web.Request) -> web.Response:
        supervisor = self._supervisor
        well, table = health(
            self._clock.now(),
            jobs=supervisor.jobs,
            state=supervisor.state,
            idle_s=supervisor.idle_s,
            errors=self._found().errors,
        )
        return web.json_response(table, status=200 if well else 503, dumps=lambda value: json.dumps(value, indent=1))

    async def _metrics(self, _: web.Request) -> web.Response:
        now, supervisor = self._clock.now(), self._supervisor
        figures = []
        for job in supervisor.jobs:
            known = supervisor.state[job.name]
            figures.append(
                JobFigures(
                    job.name,
                    str(job.destination),
                    running=known.run is not None,
                    next_at=job.schedule.next_due(now, job.name),
                    last_success=known.last_success,
                    last_exit_code=None if known.last is None else known.last.code,
                    overdue_s=overdue_s(now, job, known),
                )
            )
        files = dict.fromkeys(map(self._metrics_of, supervisor.jobs))  # two jobs may have been given one
        metrics = [metric for file in files for metric in _read(file)]
        own = daemon_metrics(figures, idle_s=supervisor.idle_s, unreadable=len(self._found().errors))
        body = exposition([*own, *metrics], now=now)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})


def _read(file: Path) -> Iterable[Metric]:
    """What a run says of itself; nothing before the first one, or while its textfile is not ours to read."""
    try:
        with file.open("rb") as opened:
            return parse_exposition(opened.read(_TEXT_BYTES).decode())
    except (OSError, UnicodeError, LedgerError):
        return []


def parse_listen(text: str) -> tuple[str, int]:
    """Read `HOST:PORT`, such as `127.0.0.1:9464` or `[::1]:9464`; port 0: any free one. Raises ConfigError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise ConfigError(f"--listen {text}: a host and a port are needed, such as 127.0.0.1:9464")
    return host.removeprefix("[").removesuffix("]"), int(port)


@asynccontextmanager
async def serving(app: web.Application, host: str, port: int) -> AsyncIterator[str]:
    """Answer until the block is left; gives the URL. Raises ConfigError where it cannot listen there."""
    runner = web.AppRunner(
        app,
        access_log=None,
        keepalive_timeout=_IDLE_S,
        max_line_size=_HEAD_BYTES,
        max_headers=64,
        handle_signals=False,
        shutdown_timeout=1.0,
    )
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}; see --listen") from None
        address = runner.addresses[0]
        shown = f"[{address[0]}]" if ":" in address[0] else address[0]
        yield f"http://{shown}:{address[1]}"
    finally:
        await runner.cleanup()
