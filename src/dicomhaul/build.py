"""The composition root: the one place where adapters are chosen and put together."""

import itertools
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, nullcontext
from typing import Final

import anyio
import anyio.lowlevel
import anyio.to_thread

from dicomhaul.config.options import HaulOptions
from dicomhaul.config.source import SourceSpec
from dicomhaul.destination import Destination
from dicomhaul.errors import SourceError
from dicomhaul.events import Observer, Tally
from dicomhaul.land.sink import BATCH_BYTES, Batches, FolderSink, staging_names
from dicomhaul.land.writer import Writer
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
from dicomhaul.transfer.objects import ObjectsHaul
from dicomhaul.transfer.outcome import OpenSink
from dicomhaul.transfer.series import SeriesHaul
from dicomhaul.transfer.shares import Shares

_WRITERS: Final = 4  # fsync waits for the device, not for the processor
_BATCHES: Final = 6  # in flight, over all exchanges
_WHOLE_OBJECTS_BYTES: Final = 24 << 20  # of small objects that are under way and not yet handed to a sink
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
    hosts: Mapping[str, tuple[SourceSpec, Host]],
    *,
    options: HaulOptions,
    stopped: Mapping[str, SourceError],
    clock: Clock,
    observer: Observer,
    tally: Tally,
) -> AsyncIterator[Engine]:
    """Start the threads of a run and yield its engine; save everything that is whole at the end, a cancelled one too.

    `hosts` are the routes, by name. Raises LandingError or LedgerError, at the end, where the saving failed.
    """
    at_once = sum(at_once_at(spec, options.transfers) for spec, _ in hosts.values())
    recorder = Recorder(destination.ledger, destination.folder, tally)
    writers = [Writer(destination.folder.staging, recorder.staged, recorder.noted) for _ in range(_WRITERS)]
    turn = itertools.cycle(writers)
    names = staging_names()
    by_stem = destination.ledger.names_by_stem()
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
            by_stem=by_stem,
            batch_bytes=batch_bytes,
        )

    kept = ExitStack()
    for name, (_, host) in hosts.items():
        kept.enter_context(_quota_kept(name, host, destination, recorder))
    recorder.start()
    for writer in writers:
        writer.start()
    try:
        yield Engine(
            lanes=[_lane(spec, host, recorder, open_sink, options) for spec, host in hosts.values()],
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
            await anyio.to_thread.run_sync(_save, writers, recorder)
            await anyio.lowlevel.checkpoint()  # what the recorder called back is told to the observer


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


def _lane(spec: SourceSpec, host: Host, recorder: Recorder, open_sink: OpenSink, options: HaulOptions) -> Lane:
    at_once = at_once_at(spec, options.transfers)
    limits = spec.profile.limits
    if spec.profile.kind == "bucket":
        bucket = BucketSource(spec.name, host, spec.profile, compare=options.checksum == "stated")
        shares, gathered = Shares(at_once * 2), Shares(_WHOLE_OBJECTS_BYTES)
        return Lane(
            spec.name,
            at_once,
            lambda work, known: ObjectsHaul(
                work,
                known,
                source=bucket,
                open_sink=open_sink,
                note_stems=lambda series_id, stems: recorder.change(lambda ledger: ledger.note_stems(series_id, stems)),
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
            add_wanted=lambda series_id, sops: recorder.change(lambda ledger: ledger.add_wanted(series_id, sops)),
            at_once=at_once,
            cut_above_bytes=cut_above,
        ),
    )


def _save(writers: list[Writer], recorder: Recorder) -> None:
    for writer in writers:
        writer.close()
    for writer in writers:
        writer.join()
    recorder.close()
