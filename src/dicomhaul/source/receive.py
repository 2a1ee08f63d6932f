"""What one answer brings, on its way into a sink: skimmed as it passes, judged as it ends.

An answer that does not end is given up: what of it is of no use is counted, and so is all of it where somebody has
stated how much it should be.
"""

from collections.abc import Mapping
from typing import Final

from dicomhaul.errors import BadMultipart, DamagedError, Truncated
from dicomhaul.model import Partial, Stated
from dicomhaul.ports import Sink
from dicomhaul.wire.part10 import Skimmer

_MOST_DAMAGED: Final = 10_000  # parts of one answer
_MOST_DAMAGED_BYTES: Final = 256 << 20  # of one part, from where it was found to be damaged
_MOST_UNWANTED: Final = 2_000_000  # parts of one answer that are there already; the largest series has a tenth
_MOST_UNWANTED_BYTES: Final = 64 << 30  # of one part


class Receiver:
    """Implements `wire.multipart.PartHandler`; a bucket's object is one part.

    A part that is damaged in itself, or not ours, is dropped, and the answer goes on: the other parts are still good.
    The first such error is kept in `error`, for when the answer has ended.

    `unstated_end`, set before the part ends: nothing but the end of the connection ends it. Then an instance that
    describes pixels and has none is taken for one that was cut between two elements.

    `most_bytes`: an answer with more in its parts is none that was asked for; None: nobody has stated how much it is.
    """

    def __init__(self, sink: Sink, *, most_bytes: int | None = None) -> None:
        self._sink = sink
        self._most_bytes = most_bytes
        self._bytes = 0
        self._damaged = self._unwanted = 0  # parts
        self._idle_bytes = 0  # that this part may still have, since it does not matter
        self._skimmer: Skimmer | None = None  # None: the rest of this part does not matter
        self._named = False
        self._stated = False  # somebody says how many bytes the part has, and mostly which: what it holds is as stored
        self.error: DamagedError | None = None
        self.unstated_end = False

    @property
    def dropped(self) -> bool:
        """Whether the rest of the part does not matter: it is damaged, or not wanted."""
        return self._skimmer is None

    def begin(self, headers: Mapping[str, str]) -> None:  # noqa: ARG002 - they say nothing that the bytes don't
        """A part begins. Raises DamagedError where too many of no use came before."""
        if self._damaged > _MOST_DAMAGED or self._unwanted > _MOST_UNWANTED:
            raise self.error or BadMultipart("the answer goes on and on with what is there already")
        self.begin_object()

    def begin_object(self, stated: Stated | None = None) -> None:
        """A part begins, of which the source states this."""
        self._skimmer = Skimmer()
        self._named = False
        self._stated = stated is not None
        self._sink.begin(stated)

    async def reopen(self, stated: Stated, partial: Partial) -> bool:
        """Begin a part with what an earlier run left of it; False: that is no use. Raises LandingError."""
        skimmer = Skimmer()
        damaged = False

        def skim(view: memoryview) -> None:
            nonlocal damaged
            try:
                if not damaged:
                    skimmer.feed(view)
            except DamagedError:
                damaged = True

        if not await self._sink.reopen(stated, partial, skim):
            return False
        if damaged:
            self._sink.discard()
            return False
        self._skimmer = skimmer
        self._named = False
        self._stated = True
        return True

    def data(self, view: memoryview) -> None:
        """Its next bytes. Raises DamagedError where the answer goes on beyond all reason."""
        self._sink.write(view)
        self._bytes += len(view)
        if self._most_bytes is not None and self._bytes > self._most_bytes:
            raise BadMultipart("the answer has many times the bytes that it should have")
        skimmer = self._skimmer
        if skimmer is None:
            self._idle_bytes -= len(view)
            if self._idle_bytes < 0:
                raise self.error or BadMultipart("a part that is there already does not end")
            return
        try:
            skimmer.feed(view)
            if not self._named and skimmer.sop:
                self._named = True
                if not self._sink.wants(skimmer.sop):
                    self._drop()
        except DamagedError as error:
            self._drop(error)

    def end(self) -> None:
        """It ended as the framing demands."""
        skimmer = self._skimmer
        if skimmer is None:
            self._sink.gone_by()
            return
        try:
            identity = skimmer.finish()
            if not self._stated and skimmer.lost_at is not None:
                raise Truncated(f"the data set cannot be followed from its byte {skimmer.lost_at:,}")
            if not self._stated and skimmer.padded and skimmer.lacks_pixels:
                raise Truncated("zeros stand where the pixels should, that the instance describes")
            if self.unstated_end and skimmer.lacks_pixels:
                raise Truncated("the answer ended with its connection, before the pixels that the instance describes")
            self._sink.end(identity)
        except DamagedError as error:
            self._drop(error)

    def _drop(self, error: DamagedError | None = None) -> None:
        if error is None:
            self._unwanted += 1
        else:
            self.error = self.error or error
            self._damaged += 1
        self._idle_bytes = _MOST_UNWANTED_BYTES if error is None else _MOST_DAMAGED_BYTES
        self._skimmer = None
        self._sink.discard()
