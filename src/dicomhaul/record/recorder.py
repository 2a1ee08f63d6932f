"""The one thread that writes the ledger while a run moves bytes.

Everything arrives in one queue and takes effect in that order, so a series is never complete before its instances are
there. The thread takes what has gathered, at most every `_GATHER_S` seconds, and commits it at once.
"""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

from dicomhaul.errors import HaulError, LedgerError
from dicomhaul.events import Tally
from dicomhaul.land.folder import Folder
from dicomhaul.land.writer import Note, Staged
from dicomhaul.record.ledger import Ledger
from dicomhaul.record.recovery import intent_batch, receipt_of, sweep
from dicomhaul.record.swaps import swap_due

T = TypeVar("T")
Change = Callable[[Ledger], None]  # applied inside the transaction of the batch it falls into
Committed = Callable[[], None]

_GATHER_S: Final = 0.1
_MOST_PARTS: Final = 4_000


class Recorder(threading.Thread):
    """Owns the ledger from `start` to `close`."""

    def __init__(self, ledger: Ledger, folder: Folder, tally: Tally) -> None:
        super().__init__(name="dicomhaul-recorder", daemon=True)
        self._ledger = ledger
        self._folder = folder
        self._tally = tally
        self._queue: queue.SimpleQueue[
            list[Staged]
            | Note
            | tuple[Change, Committed | None]
            | tuple[Future[object], Callable[[Ledger], object]]
            | None
        ] = queue.SimpleQueue()
        self.error: HaulError | None = None  # the first; afterwards nothing more is recorded

    def staged(self, batch: list[Staged]) -> None:
        """Take synced parts from a writer thread."""
        self._queue.put(batch)

    def noted(self, note: Note) -> None:
        """Take from a writer thread what staging holds of an object that is not whole yet."""
        self._queue.put(note)

    def change(self, change: Change, committed: Committed | None = None) -> None:
        """Apply `change` after everything that came before; then call `committed`, from this thread."""
        self._queue.put((change, committed))

    def ask(self, question: Callable[[Ledger], T]) -> "Future[T]":
        """Read the ledger in its own thread. Commits what came before."""
        future: Future[T] = Future()
        self._queue.put((future, question))  # type: ignore[arg-type]  # the queue knows it as object
        return future

    def close(self) -> None:
        """Record what is queued, then end the thread. Raises the first error that stopped the recording."""
        self._queue.put(None)
        self.join()
        if self.error is not None:
            raise self.error

    def run(self) -> None:
        """Record until `close`, when no writer is at work any more."""
        more = True
        while more:
            more = self._round()
        if self.error is None:
            try:
                self._ledger.add_sample(time.monotonic(), last=True)
                sweep(self._ledger, self._folder)  # beginnings of what came whole by another route take much room
            except HaulError as error:
                self.error = error

    def _round(self) -> bool:
        parts: list[Staged] = []
        notes: list[Note] = []
        changes: list[tuple[Change, Committed | None]] = []
        question: tuple[Future[object], Callable[[Ledger], object]] | None = None
        deadline: float | None = None
        ended = False
        while len(parts) < _MOST_PARTS:
            try:
                timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
                item = self._queue.get(timeout=timeout)
            except queue.Empty:
                break
            deadline = deadline or time.monotonic() + _GATHER_S
            if item is None:
                ended = True
                break
            if isinstance(item, list):
                parts.extend(item)  # receipts go before the changes of their round, which is early, and does no harm
            elif isinstance(item, Note):
                notes.append(item)  # before the receipts of their round: an object that became whole has none
            elif isinstance(item[0], Future):
                question = item
                break
            else:
                changes.append(item)
        self._commit(parts, notes, changes)
        if question is not None:
            self._answer(*question)
        return not ended

    def _commit(self, parts: list[Staged], notes: list[Note], changes: list[tuple[Change, Committed | None]]) -> None:
        if self.error is not None or not (parts or notes or changes):
            return
        ledger = self._ledger
        try:
            intent_id = 0
            if parts:
                with ledger.transaction():
                    intent_id = ledger.add_intent(intent_batch(parts))
                self._folder.move(parts)
            with ledger.transaction():
                for note in notes:
                    ledger.note_partial(note.series_id, note.stem, note.partial)
                if parts:
                    ledger.add_receipts([receipt_of(part) for part in parts])
                    ledger.drop_intent(intent_id)
                for change, _ in changes:
                    change(ledger)
                ledger.add_sample(time.monotonic(), len(parts), sum(part.size_bytes for part in parts))
            swap_due(ledger, self._folder, ledger.take_completed())
        except HaulError as error:
            self.error = error
            return
        except Exception as error:  # noqa: BLE001 - a thread must not die with somebody waiting
            self.error = LedgerError(f"recording failed: {error}")
            return
        self._tally.instances_landed += len(parts)
        self._tally.bytes_landed += sum(part.size_bytes for part in parts)
        for _, committed in changes:
            if committed is not None:
                committed()

    def _answer(self, future: "Future[object]", question: Callable[[Ledger], object]) -> None:
        if not future.set_running_or_notify_cancel():
            return
        if self.error is not None:
            future.set_exception(self.error)
            return
        try:
            future.set_result(question(self._ledger))
        except HaulError as error:
            future.set_exception(error)
        except Exception as error:  # noqa: BLE001 - a thread must not die with somebody waiting
            future.set_exception(LedgerError(f"reading the ledger failed: {error}"))
