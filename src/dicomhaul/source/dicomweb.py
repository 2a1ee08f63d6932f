"""A DICOMweb server, by WADO-RS (PS3.18 section 10.4). What differs between servers stands in its profile."""

from typing import Final

from dicomhaul.cohort.search import search_instances
from dicomhaul.errors import DamagedError, NotDicom, NotFound, ServerFailed, TransferError, Unsupported
from dicomhaul.model import InstanceRef, Job
from dicomhaul.net.host import Host
from dicomhaul.net.response import Response
from dicomhaul.ports import Sink
from dicomhaul.profile import Profile
from dicomhaul.source.receive import Receiver
from dicomhaul.source.stranger import Stranger
from dicomhaul.wire.framing import framing_for
from dicomhaul.wire.uri import instance_path, series_path

_LENGTHS: Final = frozenset({"content-length", "transfer-encoding"})  # without both the connection's end is the body's
_CODINGS: Final = frozenset({"gzip", "x-gzip", "deflate", "compress", "br", "zstd"})
# Framing, and an index that is off by a little, can push an answer over the limit that seems to fit.
_NEAR_LIMIT: Final = 0.8
_TRIES_NEAR_LIMIT: Final = 2  # each may be charged to a quota, whatever comes of it
_FRAMING_BYTES: Final = 512  # of one part: delimiter and headers, with room
_MOST_TIMES: Final = 4  # the bytes that the index states of a series; of what was sent on anew, others may be true
_MOST_BESIDES: Final = 1 << 30


class DicomwebSource:
    """Implements `ports.Source` on one host."""

    def __init__(self, name: str, host: Host, profile: Profile) -> None:
        self._name = name
        self._host = host
        self._profile = profile
        self._taken: dict[bool, int] = {}  # for single instances, for series: the first rung that the server has taken
        self._stranger = Stranger(host.name)

    @property
    def name(self) -> str:
        """What the plan, the ledger and messages call it."""
        return self._name

    async def exchange(self, job: Job, sink: Sink) -> None:
        """Ask for the job's series or instance; see `ports.Source.exchange`.

        A server whose answers have a largest size fails with a 5xx beyond it, as it does when it is busy
        (docs/servers.md, "IDC: `idc-google` and `idc-proxy`"). So a series near that size that has failed twice, or
        one of unknown size that has failed in every try, is `Unsupported` as a whole: it may come singly.

        Raises SourceDown besides when one series after the other is answered with something else than DICOM.
        """
        limit = self._profile.limits.response_bytes
        limited = limit is not None and job.sop is None
        near = limited and job.size_bytes is not None and job.size_bytes > (limit or 0) * _NEAR_LIMIT

        async def once(attempt: int) -> None:
            try:
                await self._ask(job, sink, attempt)
            except ServerFailed as error:
                if near and attempt >= _TRIES_NEAR_LIMIT:
                    raise _too_large(error) from error
                raise

        try:
            await self._host.attempt(once, label=str(job), progressed=sink.progressed, size_bytes=_answer_bytes(job))
        except TransferError as error:
            if sink.progressed():
                self._stranger.gave()
            elif isinstance(error, NotDicom):
                self._stranger.gave_otherwise(job.series, error)
            elif isinstance(error, ServerFailed) and limited and job.size_bytes is None:
                raise _too_large(error) from error
            raise
        self._stranger.gave()

    async def inventory(self, job: Job) -> list[InstanceRef] | None:
        """List the instances of the job's series by QIDO-RS; None where the server cannot."""
        return await search_instances(self._host, self._profile, job.study, job.series, stated=job.expected)

    async def _ask(self, job: Job, sink: Sink, attempt: int) -> None:
        """Climb down the ladder of Accept headers until the server takes one.

        A rung that it has taken before stays the one to begin with: a 400 that passes must not have all the rest of a
        run asked for in a form which the server has to make first, with other bytes than it stores.
        """
        accept = self._profile.accept
        ladder = accept.instance if job.sop else accept.series
        single = job.sop is not None
        rung = self._taken.get(single, 0)
        while True:
            try:
                await self._receive(job, sink, ladder[rung], attempt)
            except Unsupported as error:
                if error.status not in accept.refused or rung + 1 >= len(ladder):
                    raise
                rung += 1
            else:
                break
        self._taken[single] = min(rung, self._taken.get(single, rung))

    async def _receive(self, job: Job, sink: Sink, accept: str, attempt: int) -> None:
        path = instance_path(job.study, job.series, job.sop) if job.sop else series_path(job.study, job.series)
        receiver = Receiver(sink, most_bytes=_most_bytes(job))
        coding = ""
        try:
            async with self._host.session.get(path, accept=accept) as response:
                if response.status == 204:
                    raise NotFound("the server answered 204 No Content")
                coding = _coding(response)
                # A wrong part length is found out after the bytes were written: the next attempt searches instead.
                framing = framing_for(response.content_type, receiver, trust_lengths=attempt == 1)
                async for chunk in response.iter_chunks():
                    framing.feed(chunk)
                    await sink.drain()
                receiver.unstated_end = framing.lone and _LENGTHS.isdisjoint(map(str.lower, response.headers))
                framing.close()
                partial = response.status == 206
            if receiver.error is not None:
                raise receiver.error
        except DamagedError as error:
            if coding:
                raise DamagedError(f"the answer is encoded ({coding}), and was asked for as it is: {error}") from error
            raise
        finally:
            sink.discard()  # whatever ended the answer, a part that is still open is not whole
        if partial:
            raise Unsupported("the server answered 206 Partial Content: it keeps some instances back", status=206)


def _coding(response: Response) -> str:
    """Name the content coding that an answer states (RFC 9110 section 8.4); '' for none.

    What it states is no reason to refuse an answer, since some state one and send the bytes as they are; where these
    make no sense, it is the likely one.
    """
    stated = response.headers.get("Content-Encoding", "identity").strip().lower()
    if stated in {"identity", ""}:
        return ""
    return stated if stated in _CODINGS else "in some way"


def _too_large(error: ServerFailed) -> Unsupported:
    return Unsupported(f"{error}; its answer may be larger than the server can give")


def _most_bytes(job: Job) -> int | None:
    """Beyond how many bytes an answer is given up: nobody knows how else it would end."""
    return None if job.size_bytes is None else job.size_bytes * _MOST_TIMES + _MOST_BESIDES


def _answer_bytes(job: Job) -> int | None:
    """What an answer may have, framing included; None where nobody states it."""
    return None if job.size_bytes is None else job.size_bytes + (job.expected or 1) * _FRAMING_BYTES
