"""All of IDC's origins beside a test, in a thread; profiles with which a command asks them."""

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicomhaul.origin import Allowance, Holdings, IdcOrigins, Rule, Script, profile_toml, serve_idc
from dicomhaul.origin.idc import TOKEN, Name

# What the store on Google wants: pass it to `run_command(environ=...)`.
TOKEN_ENVIRON = {"DICOMHAUL_TOKEN": TOKEN}
_START_TIMEOUT_S = 60


@contextmanager
def idc_thread(
    holdings: Holdings,
    *,
    rules: Mapping[Name, Sequence[Rule]] | None = None,
    allowance: Allowance | None = None,
    **more: Any,
) -> Iterator[IdcOrigins]:
    """Serve from a thread with a loop of its own; `more` as `serve_idc`. The test may read journals."""
    started: Future[IdcOrigins] = Future()
    stop: Future[None] = Future()
    faults = {name: Script(list(each)) for name, each in (rules or {}).items()}

    async def run() -> None:
        async with serve_idc(holdings, faults=faults, allowance=allowance, **more) as origins:
            started.set_result(origins)
            await asyncio.wrap_future(stop)

    def work() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = threading.Thread(target=work, name="idc")
    thread.start()
    try:
        yield started.result(_START_TIMEOUT_S)
    finally:
        stop.set_result(None)
        thread.join()


@dataclass(frozen=True, slots=True)
class IdcProfiles:
    """Files that describe the origins; the sources are called `local-bucket`, `local-gcs`, ..."""

    folder: Path

    def source(self, *names: Name) -> str:
        """Return SOURCE: the profile of one, or of several with commas between."""
        return ",".join(str(self.folder / f"local-{name}.toml") for name in names)


def write_profiles(folder: Path, origins: IdcOrigins, more: Mapping[Name, str] | None = None) -> IdcProfiles:
    """Write a profile for each origin into `folder`; `more` is TOML that is added to one of them."""
    for name, origin in origins.by_name().items():
        text = profile_toml(name, origin.url, (more or {}).get(name, ""))
        (folder / f"local-{name}.toml").write_text(text, encoding="utf-8")
    return IdcProfiles(folder)
