"""The seams: small protocols between the engine and everything that touches the world."""

from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Future
from typing import Protocol, TypeVar

from dicomhaul.errors import HaulError
from dicomhaul.model import End, Identity, InstanceRef, Job, Known, ObjectRef, Partial, Proof, Stated, Work

T = TypeVar("T")


class Clock(Protocol):
    """Time, so that tests can own it."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let `seconds` pass; none if they are over already (negative)."""
        ...


class Credentials(Protocol):
    """Who we are to a source."""

    @property
    def identity(self) -> str:
        """Whom the source takes us for, as far as we can tell, for an audit log. Never a secret."""
        ...

    async def authorization(self, *, stale: str | None = None) -> str | None:
        """Return the value of the Authorization header, or None where the source wants none.

        A token is renewed before it ends, once for all who wait. `stale` names a value that the source has just
        refused: it is never returned again; where nothing newer can be had, `Unauthorized` is raised.
        """
        ...

    async def aclose(self) -> None:
        """Release what it holds."""
        ...


class Sink(Protocol):
    """Where a source pushes the instances of one exchange, one part after the other.

    `begin`, then `write` as often as needed, then `end` or `discard`. Between chunks the source awaits `drain`, which
    is where back-pressure and landing errors surface. Views stay valid until they are written: the caller must not
    reuse the buffer below them.
    """

    def begin(self, stated: Stated | None = None) -> None:
        """A part begins. What the source states of it is compared once it has landed, see `SettlingSink.refused`.

        A part of which `stated` gives an ETag and more than 16 MiB is kept when it breaks off (`suspend`), and noted
        now and then with the recorder, so that a later run can go on with it.
        """
        ...

    async def reopen(self, stated: Stated, partial: Partial, skim: Callable[[memoryview], None]) -> bool:
        """Begin a part with the bytes that an earlier run left of it; False if they are not what was recorded.

        `skim` is given these bytes, a piece at a time, in another thread; whoever wrote it feeds nothing meanwhile.
        After False the part has not begun, what was left of it is deleted, and what `skim` was given counts for
        nothing. Raises LandingError.
        """
        ...

    def suspend(self) -> None:
        """Leave the open part as it is, for a later exchange or run to go on with; drop it, if it is none to keep."""
        ...

    def write(self, view: memoryview) -> None:
        """Take the part's next bytes, without copying them."""
        ...

    def wants(self, sop: str) -> bool:
        """Say whether the open part, now known by its SOP Instance UID, is still to be had; False: `discard` it.

        An object that is there already is thereby known by its stem, see `SettlingSink.stems`.
        """
        ...

    def end(self, identity: Identity) -> None:
        """The part is whole, and this is who it says it is. Raises WrongInstance if it was not asked for."""
        ...

    def discard(self) -> None:
        """Drop the part that is open, if there is one, and whatever of it has been written."""
        ...

    def gone_by(self) -> None:
        """The part that was discarded has come to its end, as the framing demands, whatever was wrong with it."""
        ...

    def progressed(self) -> bool:
        """Say whether an instance has been taken since the sink was made."""
        ...

    async def drain(self) -> None:
        """Wait until there is room for more. Raises LandingError."""
        ...


class Source(Protocol):
    """Where instances come from."""

    @property
    def name(self) -> str:
        """What the plan, the ledger and messages call it."""
        ...

    async def exchange(self, job: Job, sink: Sink) -> None:
        """Ask for `job` and push what comes into `sink`; return when the answer has ended as its framing demands.

        An answer that brought nothing new is asked for again as often as the source's manners allow. One that broke
        after an instance was taken is not: the caller decides anew what to ask for. Raises TransferError or
        SourceError; never returns quietly from an answer that was cut.
        """
        ...

    async def inventory(self, job: Job) -> list[InstanceRef] | None:
        """List the instances of the job's series, each once; None where the source cannot list. Errors as above."""
        ...


class ObjectSource(Protocol):
    """Where instances are objects of buckets: listed and fetched by key, named only by their own bytes."""

    @property
    def name(self) -> str:
        """What the plan, the ledger and messages call it."""
        ...

    async def listing(self, bucket: str, revision: str) -> list[ObjectRef]:
        """List the objects of one revision of a series (prefix `<crdc_series_uuid>/`). Raises NotFound without any.

        Other errors as `Source.exchange`.
        """
        ...

    async def fetch(self, ref: ObjectRef, sink: Sink, partial: Partial | None = None) -> None:
        """Push one object, as one part, into `sink`, going on where a broken answer or `partial` ended.

        Tries as often as the source's manners allow. Raises TransferError or SourceError. A sink may be shared by
        several fetches of objects of at most `SMALL_BYTES`, which are pushed whole.
        """
        ...

    async def identify(self, ref: ObjectRef) -> Identity:
        """Say who an object is, by a request for its first bytes. Errors as `fetch`; NotDicom if they do not tell."""
        ...


# Objects up to this are gathered before they are pushed, so that many can share one sink and one batch of the writer.
# A slice of CT has half of it; with 128 KiB, where it has a sink of its own, the event loop had a tenth more to do.
SMALL_BYTES = 1 << 20


class Ledger(Protocol):
    """What a run asks of, and tells, the memory of a destination. Synchronous; used through a Recorder."""

    def lease(self, count: int, end: End, route: str) -> list[Work]:
        """Hand out up to `count` planned series whose first route is `route`; none twice in a run."""
        ...

    def known(self, series_id: int) -> Known:
        """Return what is known of the instances of one series."""
        ...

    def add_wanted(self, series_id: int, sops: Iterable[str]) -> None:
        """These instances are known by name now, and are wanted."""
        ...

    def fail_instance(self, series_id: int, sop: str, reason: str) -> None:
        """This instance will not come in this run."""
        ...

    def digests(self, series_id: int) -> dict[str, bytes]:
        """Return SOP Instance UID -> XXH3-128 of the instances of a series that have landed."""
        ...

    def note_stems(self, series_id: int, stems: Mapping[str, str]) -> None:
        """These landed instances (stem of the object -> SOP Instance UID) are those objects of a bucket."""
        ...

    def complete_series(
        self, series_id: int, proof: Proof, expected: int | None, route: str, surplus: Collection[str] = ()
    ) -> None:
        """All that is wanted of this series is there; the last of it came by `route`.

        `surplus`: instances that landed and that the source's list of them lacks.
        """
        ...

    def fail_series(self, series_id: int, reason: str) -> None:
        """Something of this series will not come in this run."""
        ...


class Recorder(Protocol):
    """The one writer of a ledger; what is told to it takes effect in that order."""

    error: HaulError | None  # the first that stopped the recording

    def change(self, change: Callable[[Ledger], None], committed: Callable[[], None] | None = None) -> None:
        """Apply `change` after all that came before; once it is durable, call `committed` from another thread."""
        ...

    def ask(self, question: Callable[[Ledger], T]) -> Future[T]:
        """Read the ledger after everything that came before was committed."""
        ...


class SettlingSink(Sink, Protocol):
    """A sink as the engine makes it: it can also be waited for."""

    @property
    def landed(self) -> dict[str, int]:
        """SOP Instance UID -> bytes of what this exchange brought."""
        ...

    @property
    def refused(self) -> dict[str, str]:
        """Stem -> why, of objects whose bytes are not those that the source states; final after `settle`."""
        ...

    @property
    def stems(self) -> dict[str, str]:
        """Stem -> SOP Instance UID of the objects that came, those included that were there already."""
        ...

    @property
    def repeated(self) -> dict[str, bytes | None]:
        """SOP Instance UID -> XXH3-128 of a second copy of an instance that this exchange brought.

        None where that differs between further copies, or is not known. An object of a bucket is none: see `stems`.
        """
        ...

    async def settle(self) -> None:
        """Wait until all of it is in the recorder's hands. Raises LandingError."""
        ...

    def abandon(self) -> None:
        """The exchange was cancelled: keep what is whole, `suspend` the rest, wait for nothing."""
        ...
