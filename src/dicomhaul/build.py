"""The composition root: the one place where adapters are chosen and put together."""

import itertools
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    ExitStack,
    asynccontextmanager,
    nullcontext,
)
from pathlib import Path
from typing import Final, Protocol

import anyio
import anyio.lowlevel
import anyio.to_thread

from dicomhaul.config.options import HaulOptions
from dicomhaul.config.source import SourceSpec
from dicomhaul.destination import Destination
from dicomhaul.errors import SourceError
from dicomhaul.events import Observer, Tally
from dicomhaul.land.sink import BATCH_BYTES, Batches, FolderSink, staging_names
from dicomhaul.land.writer import Note, Staged, Writer
from dicomhaul.model import Job
from dicomhaul.net.auth import credentials_for
from dicomhaul.net.endpoint import Endpoint
from dicomhaul.net.host import Host, open_host
from dicomhaul.net.line import Line
from dicomhaul.net.proxy import Proxies
from dicomhaul.plan.split import largest_whole_bytes
from dicomhaul.ports import Clock, Credentials
from dicomhaul.record.recorder import Recorder
from dicomhaul.source.bucket import BucketSource
from dicomhaul.source.dicomweb import DicomwebSource
from dicomhaul.transfer.engine import Engine, Lane
from dicomhaul.transfer.objects import ObjectsHaul, shares_for
from dicomhaul.transfer.outcome import OpenSink
from dicomhaul.transfer.series import SeriesHaul
from dicomhaul.transfer.shares import Shares

_WRITERS: Final = 4  # fsync waits for the device, not for the processor
_BATCHES: Final = 6  # in flight, over all exchanges
_OBJECTS_BYTES: Final = 40 << 20  # of a bucket's objects under way, a large one counted as SMALL_BYTES: 76 of 525 KB
_GATHERED_BYTES: Final = 12 << 20  # that all exchanges together may hold before they hand over


class Teller(Protocol):
    """Who is told, in this order, what hauls have to say: the recorder, however far away it is. From any thread."""

    def staged(self, batch: list[Staged]) -> None:
        """These parts are whole, in staging."""
        ...

    def noted(self, note: Note) -> None:
        """This is what staging holds of an object that is not whole."""
        ...

    def stems(self, series_id: int, stems: Mapping[str, str]) -> None:
        """See `ports.Ledger.note_stems`."""
        ...

    def wanted(self, series_id: int, sops: Sequence[str]) -> None:
        """See `ports.Ledger.add_wanted`."""
        ...


class Recorded:
    """A Teller whose recorder is in this process."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self.staged = recorder.staged
        self.noted = recorder.noted

    def stems(self, series_id: int, stems: Mapping[str, str]) -> None:
        self._recorder.change(lambda ledger: ledger.note_stems(series_id, stems))

    def wanted(self, series_id: int, sops: Sequence[str]) -> None:
        self._recorder.change(lambda ledger: ledger.add_wanted(series_id, sops))


Hosts = Mapping[str, tuple[SourceSpec, Host]]  # the routes of a run, by name


class OpenCrew(Protocol):
    """Opens the lanes of a run whose series are hauled by several processes."""

    def __call__(
        self, destination: Destination, hosts: Hosts, teller: Teller, *, by_stem: bool
    ) -> AbstractAsyncContextManager[list[Lane]]:
        """As `open_lanes`."""
        ...


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
    line: Line | None = None,
    quota_bytes: int | None = None,
) -> AsyncIterator[Host]:
    """Open the host of a source: session, credentials, gate, retry, quota. Raises ConfigError.

    `line` is shared by all hosts of a run. `quota_bytes`, a day, holds for DICOMweb servers, not for buckets.
    """
    async with open_host(
        endpoint_of(spec, environ=environ, max_connections=at_once_at(spec, concurrency)),
        credentials_of(spec, environ=environ, clock=clock),
        clock=clock,
        observer=observer,
        tally=tally,
        concurrency=concurrency,
        requests_per_s=requests_per_s,
        line=line,
        quota_bytes=quota_bytes,
    ) as host:
        yield host


def endpoint_of(spec: SourceSpec, *, environ: Mapping[str, str], max_connections: int) -> Endpoint:
    """Return where a source is and how to connect to it. Raises ConfigError."""
    return Endpoint(
        base_url=spec.base_url,
        profile=spec.profile,
        max_connections=max_connections,
        ca_file=spec.connection.ca_file,
        client_cert=spec.connection.client_cert,
        client_key=spec.connection.client_key,
        proxies=Proxies.from_environ(environ),
    )


def credentials_of(spec: SourceSpec, *, environ: Mapping[str, str], clock: Clock) -> Credentials:
    """Return who we are to a source. Raises ConfigError."""
    return credentials_for(
        spec.connection.auth,
        profile=spec.profile,
        environ=environ,
        clock=clock,
        token_file=spec.connection.token_file,
        user=spec.connection.user,
        password=spec.connection.password,
    )


def at_once_at(spec: SourceSpec, concurrency: int | None) -> int:
    """The largest number of exchanges that a source may see at a time."""
    return concurrency or spec.profile.limits.concurrency_max


@asynccontextmanager
async def open_engine(
    destination: Destination,
    hosts: Hosts,
    *,
    options: HaulOptions,
    stopped: Mapping[str, SourceError],
    clock: Clock,
    observer: Observer,
    tally: Tally,
    open_crew: OpenCrew | None = None,
) -> AsyncIterator[Engine]:
    """Start the threads of a run and yield its engine; save everything that is whole at the end, a cancelled one too.

    `open_crew` opens the lanes where several processes haul; None: this one does. Raises LandingError or LedgerError,
    at the end, where the saving failed.
    """
    recorder = Recorder(destination.ledger, destination.folder, tally)
    by_stem = destination.ledger.names_by_stem()
    kept = ExitStack()
    for name, (_, host) in hosts.items():
        kept.enter_context(_quota_kept(name, host, destination, recorder))
    recorder.start()
    try:
        opened = (
            open_lanes(
                hosts, destination.folder.staging, Recorded(recorder), by_stem=by_stem, options=options, tally=tally
            )
            if open_crew is None
            else open_crew(destination, hosts, Recorded(recorder), by_stem=by_stem)
        )
        async with opened as lanes:
            yield Engine(
                lanes=lanes,
                stopped=stopped,
                recorder=recorder,
                clock=clock,
                wait=options.wait,
                observer=observer,
                tally=tally,
            )
    finally:
        kept.close()
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(recorder.close)
            await anyio.lowlevel.checkpoint()  # what the recorder called back is told to the observer


@asynccontextmanager
async def open_lanes(
    hosts: Hosts, staging: Path, teller: Teller, *, by_stem: bool, options: HaulOptions, tally: Tally
) -> AsyncIterator[list[Lane]]:
    """Start the writers of a process that hauls, and yield the lanes that feed them; whole parts are saved at the end.

    Several processes that haul together take no more memory than one would, as far as bounds hold it.

    Args:
        hosts: the routes.
        staging: where parts are written.
        teller: is told what comes of them.
        by_stem: files are named by their objects.
        options: of the run.
        tally: is added to.
    """
    at_once = sum(at_once_at(spec, options.transfers) for spec, _ in hosts.values())
    writers = [Writer(staging, teller.staged, teller.noted) for _ in range(_share(_WRITERS, options))]
    turn = itertools.cycle(writers)
    names = staging_names()
    batches = Batches(_share(_BATCHES, options))
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
            by_stem=by_stem,
            batch_bytes=batch_bytes,
        )

    for writer in writers:
        writer.start()
    try:
        yield [_lane(spec, host, teller, open_sink, options) for spec, host in hosts.values()]
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(_end, writers)


def _share(of: int, options: HaulOptions) -> int:
    """One process's part of what all that haul together may have."""
    return -(-of // options.processes)


def _quota_kept(source: str, host: Host, destination: Destination, recorder: Recorder) -> AbstractContextManager[None]:
    """Let the host's quota count on from what the ledger has of the day, and the ledger from what comes."""
    if host.quota is None:
        return nullcontext()
    ledger = destination.ledger
    return host.quota.kept(
        str(ledger.path),
        load=lambda day: ledger.quota_used(source, day),
        save=lambda day, size_bytes: recorder.change(lambda ledger: ledger.add_quota(source, day, size_bytes)),
    )


def _lane(spec: SourceSpec, host: Host, teller: Teller, open_sink: OpenSink, options: HaulOptions) -> Lane:
    at_once = at_once_at(spec, options.transfers)
    limits = spec.profile.limits
    if spec.profile.kind == "bucket":
        bucket = BucketSource(spec.name, host, spec.profile, compare=options.checksum == "stated")
        shares = shares_for(at_once, processes=options.processes)
        gathered = Shares(_share(_OBJECTS_BYTES, options))  # a lane's own: one that waits must not hold up another
        return Lane(
            spec.name,
            at_once,
            lambda work, known: ObjectsHaul(
                work,
                known,
                source=bucket,
                open_sink=open_sink,
                note_stems=teller.stems,
                shares=shares,
                gathered=gathered,
                at_once=at_once,
            ),
        )
    server = DicomwebSource(spec.name, host, spec.profile)
    cut_above = largest_whole_bytes(response_bytes=limits.response_bytes, series_bytes=limits.series_bytes)
    return Lane(
        spec.name,
        at_once,
        lambda work, known: SeriesHaul(
            work,
            known,
            source=server,
            open_sink=open_sink,
            add_wanted=teller.wanted,
            at_once=at_once,
            cut_above_bytes=cut_above,
        ),
    )


def _end(writers: list[Writer]) -> None:
    for writer in writers:
        writer.close()
    for writer in writers:
        writer.join()
