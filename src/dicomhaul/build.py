"""The composition root: the one place where adapters are chosen and put together."""

import itertools
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Final

import anyio
import anyio.lowlevel
import anyio.to_thread

from dicomhaul.config.source import SourceSpec
from dicomhaul.destination import Destination
from dicomhaul.events import Observer, Tally
from dicomhaul.land.sink import BATCH_BYTES, Batches, FolderSink
from dicomhaul.land.writer import Writer
from dicomhaul.model import Job
from dicomhaul.net.auth import credentials_for
from dicomhaul.net.host import Host, open_host
from dicomhaul.net.proxy import Proxies
from dicomhaul.net.session import Endpoint
from dicomhaul.ports import Clock, Source
from dicomhaul.record.recorder import Recorder
from dicomhaul.source.dicomweb import DicomwebSource
from dicomhaul.transfer.engine import Engine

_WRITERS: Final = 4  # fsync waits for the device, not for the processor
_BATCHES: Final = 6  # in flight, over all exchanges
_GATHERED_BYTES: Final = 12 << 20  # that all exchanges together may hold before they hand over


@asynccontextmanager
async def open_source_host(
    spec: SourceSpec,
    *,
    environ: Mapping[str, str],
    clock: Clock,
    observer: Observer,
    tally: Tally,
    concurrency: int | None = None,
    requests_per_s: float | None = None,
) -> AsyncIterator[Host]:
    """Open the host of a source: session, credentials, gate, retry. Raises ConfigError."""
    connection = spec.connection
    at_once = at_once_at(spec, concurrency)
    endpoint = Endpoint(
        base_url=spec.base_url,
        profile=spec.profile,
        max_connections=at_once,
        ca_file=connection.ca_file,
        client_cert=connection.client_cert,
        client_key=connection.client_key,
        proxies=Proxies.from_environ(environ),
    )
    credentials = credentials_for(
        connection.auth,
        profile=spec.profile,
        environ=environ,
        clock=clock,
        token_file=connection.token_file,
        user=connection.user,
        password=connection.password,
    )
    async with open_host(
        endpoint,
        credentials,
        clock=clock,
        observer=observer,
        tally=tally,
        concurrency=concurrency,
        requests_per_s=requests_per_s,
    ) as host:
        yield host


def at_once_at(spec: SourceSpec, concurrency: int | None) -> int:
    """The largest number of exchanges that a source may see at a time."""
    return concurrency or spec.profile.limits.concurrency_max


def dicomweb_source(spec: SourceSpec, host: Host) -> Source:
    """The source that speaks through `host`."""
    return DicomwebSource(spec.name, host, spec.profile)


@asynccontextmanager
async def open_engine(
    destination: Destination, source: Source, *, at_once: int, observer: Observer, tally: Tally
) -> AsyncIterator[Engine]:
    """Start the threads of a run and yield its engine; save everything that is whole at the end, a cancelled one too.

    Raises LandingError or LedgerError, at the end, where the saving failed.
    """
    recorder = Recorder(destination.ledger, destination.folder, tally)
    writers = [Writer(destination.folder.staging, recorder.staged) for _ in range(_WRITERS)]
    turn = itertools.cycle(writers)
    names = itertools.count()
    batches = Batches(_BATCHES)
    batch_bytes = min(BATCH_BYTES, _GATHERED_BYTES // at_once)

    def open_sink(job: Job, folder: str, known: Collection[str]) -> FolderSink:
        return FolderSink(
            job,
            folder,
            known=known,
            writer=next(turn),
            batches=batches,
            names=names,
            tally=tally,
            batch_bytes=batch_bytes,
        )

    recorder.start()
    for writer in writers:
        writer.start()
    try:
        yield Engine(
            source=source,
            open_sink=open_sink,
            recorder=recorder,
            at_once=at_once,
            observer=observer,
            tally=tally,
        )
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(_save, writers, recorder)
            await anyio.lowlevel.checkpoint()  # what the recorder called back is told to the observer


def _save(writers: list[Writer], recorder: Recorder) -> None:
    for writer in writers:
        writer.close()
    for writer in writers:
        writer.join()
    recorder.close()
