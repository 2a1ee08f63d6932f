"""What one answer brings, on its way into a sink: skimmed as it passes, judged as it ends."""

from collections.abc import Mapping

from dicomhaul.errors import DamagedError
from dicomhaul.model import Partial, Stated
from dicomhaul.ports import Sink
from dicomhaul.wire.part10 import Skimmer


class Receiver:
    """Implements `wire.multipart.PartHandler`; a bucket's object is one part.

    A part that is damaged in itself, or not ours, is dropped, and the answer goes on: the other parts are still good.
    The first such error is kept in `error`, for when the answer has ended.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._skimmer: Skimmer | None = None  # None: the rest of this part does not matter
        self._named = False
        self.error: DamagedError | None = None

    @property
    def dropped(self) -> bool:
        """Whether the rest of the part does not matter: it is damaged, or not wanted."""
        return self._skimmer is None

    def begin(self, headers: Mapping[str, str]) -> None:  # noqa: ARG002 - they say nothing that the bytes don't
        """A part begins."""
        self.begin_object()

    def begin_object(self, stated: Stated | None = None) -> None:
        """A part begins, of which the source states this."""
        self._skimmer = Skimmer()
        self._named = False
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
        return True

    def data(self, view: memoryview) -> None:
        """Its next bytes."""
        self._sink.write(view)
        skimmer = self._skimmer
        if skimmer is None:
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
        if self._skimmer is None:
            return
        try:
            self._sink.end(self._skimmer.finish())
        except DamagedError as error:
            self._drop(error)

    def _drop(self, error: DamagedError | None = None) -> None:
        self.error = self.error or error
        self._skimmer = None
        self._sink.discard()
