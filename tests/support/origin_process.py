"""Running the embedded origin beside a test: in a thread (quick, its journal at hand) or as `dicomhaul origin`."""

import json
import signal
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urljoin

from dicomhaul.origin import STYLES, Catalog, Origin, Rule, Script, Style, in_thread, serve
from dicomhaul.origin.feed import Teller
from dicomhaul.origin.server import BASE_PATH

_START_TIMEOUT_S = 60


@contextmanager
def origin_thread(
    catalog: Catalog,
    *,
    style: str | Style = "orthanc",
    rules: Sequence[Rule] = (),
    seed: int = 0,
    tls: ssl.SSLContext | None = None,
    authorization: str | Collection[str] | None = None,
    base_path: str = BASE_PATH,
    teller: Teller | None = None,
) -> Iterator[Origin]:
    """Serve from a thread with a loop of its own. `Origin.requests` may be read from the test's thread."""
    opened = serve(
        catalog,
        style=STYLES[style] if isinstance(style, str) else style,
        faults=Script(list(rules), seed=seed),
        tls=tls,
        authorization=authorization,
        base_path=base_path,
        teller=teller,
    )
    with in_thread(opened, name="origin") as origin:
        yield origin


@contextmanager
def origin_process(*arguments: str) -> Iterator[str]:
    """Run `dicomhaul origin ARGUMENTS` and yield its base URL; it is stopped with SIGTERM and must end well."""
    with _process(1, arguments) as (line,):
        assert line.startswith("http"), line
        yield line


@contextmanager
def origin_processes(count: int, *arguments: str) -> Iterator[dict[str, str]]:
    """Run `dicomhaul origin ARGUMENTS`, which plays several; yield the URL of each by its name."""
    with _process(count, arguments) as lines:
        yield dict(line.split(" ", 1) for line in lines)


@contextmanager
def _process(lines: int, arguments: Sequence[str]) -> Iterator[list[str]]:
    command = [sys.executable, "-m", "dicomhaul", "origin", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            read = [process.stdout.readline().strip() for _ in range(lines)]
            assert all(read), f"no URL, exit code {process.wait(_START_TIMEOUT_S)}"
            yield read
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(_START_TIMEOUT_S)
    assert code == 0


def fetch_journal(url: str) -> list[dict[str, Any]]:
    """Return the journal of an origin that runs in another process; see `dicomhaul.origin.journal.Entry`."""
    with urllib.request.urlopen(urljoin(url, "/_origin/journal"), timeout=_START_TIMEOUT_S) as response:
        entries: list[dict[str, Any]] = json.load(response)
    return entries
