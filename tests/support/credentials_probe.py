"""A process of its own that asks a resource with the credentials of its own environment.

    python -m support.credentials_probe PROFILE URL STEP...

A STEP is `ask=N`, N requests at once, or `pass=S`, S seconds gone by. Prints one JSON list with what each request got:
the body, or the error's class and message. Logs everything there is to standard error, at DEBUG.
"""

import json
import logging
import os
import sys
import time

import anyio

from dicomhaul.errors import HaulError
from dicomhaul.events import Tally
from dicomhaul.net.auth import credentials_for
from dicomhaul.net.endpoint import Endpoint
from dicomhaul.net.host import Host, open_host
from dicomhaul.profile import built_in
from support.clock import FakeClock


async def main(name: str, url: str, steps: list[str]) -> list[str]:
    """Do the steps."""
    clock = FakeClock(time.time())
    profile = built_in(name)
    endpoint = Endpoint(url, profile, max_connections=64)
    credentials = credentials_for(None, profile=profile, environ=os.environ, clock=clock)
    got: list[str] = []
    async with open_host(endpoint, credentials, clock=clock, observer=_log, tally=Tally(), concurrency=64) as host:
        for step in steps:
            what, _, number = step.partition("=")
            if what == "pass":
                clock.advance(float(number))
                continue
            async with anyio.create_task_group() as group:
                for _ in range(int(number)):
                    group.start_soon(_ask, host, got)
    return got


async def _ask(host: Host, got: list[str]) -> None:
    async def call(_number: int) -> str:
        async with host.session.get("studies", accept="*/*") as response:
            return (await response.read(1000)).decode()

    try:
        got.append(await host.attempt(call, label="probe"))
    except HaulError as error:
        logging.getLogger("probe").debug("failed", exc_info=True)
        got.append(f"{type(error).__name__}: {error}")


def _log(event: object) -> None:
    logging.getLogger("probe").debug("%r", event)


if __name__ == "__main__":
    logging.basicConfig(level=logging.DEBUG)
    print(json.dumps(anyio.run(main, sys.argv[1], sys.argv[2], sys.argv[3:])))  # noqa: T201 - what the test reads
