"""The parts of one answer, on their way into a sink: skimmed as they pass, judged as they end."""

from collections.abc import Mapping

from dicomhaul.errors import DamagedError
from dicomhaul.ports import Sink
from dicomhaul.wire.part10 import Skimmer


class Receiver:
    """Implements `wire.multipart.PartHandler`.

    A part that is damaged in itself, or not ours, is dropped, and the answer goes on: the other parts are still good.
    The first such error is kept in `error`, for when the answer has ended.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._skimmer: Skimmer | None = None  # None: the rest of this part does not matter
        self._named = False
        self.error: DamagedError | None = None

    def begin(self, headers: Mapping[str, str]) -> None:  # noqa: ARG002 - they say nothing that the bytes don't
        """A part begins."""
        self._skimmer = Skimmer()
        self._named = False
        self._sink.begin()

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
