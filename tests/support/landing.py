"""A writer thread on a staging folder, the sinks in front of it, and what it has staged and noted."""

import threading
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.to_thread

from dicomhaul.events import Tally
from dicomhaul.land.sink import BATCH_BYTES, Batches, FolderSink, staging_names
from dicomhaul.land.writer import Note, Staged, Writer
from dicomhaul.model import Job, Partial, SeriesUID, SopUID
from support.fakes import STUDY, prepared_folder

SERIES = SeriesUID("1.1")
BATCHES = 4


@dataclass
class Bench:
    """See the module."""

    staging: Path
    staged: dict[str, Staged] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    batches: Batches = field(default_factory=lambda: Batches(BATCHES))
    names: Iterator[str] = field(default_factory=staging_names)
    writer: Writer = field(init=False)

    def __post_init__(self) -> None:
        self.writer = Writer(self.staging, self._take, self._note)

    def _take(self, batch: list[Staged]) -> None:
        assert threading.current_thread() is self.writer
        self.staged |= {each.sop: each for each in batch}

    def _note(self, note: Note) -> None:
        assert threading.current_thread() is self.writer
        self.notes.append(note)

    def sink(
        self,
        *,
        sop: str | None = None,
        known: Collection[str] = (),
        by_stem: bool = False,
        batch_bytes: int = BATCH_BYTES,
    ) -> FolderSink:
        """Open a sink for series `SERIES`, whose id is 7."""
        return FolderSink(
            Job(7, STUDY, SERIES, None if sop is None else SopUID(sop)),
            "a/b",
            known=known,
            writer=self.writer,
            batches=self.batches,
            names=self.names,
            tally=self.tally,
            by_stem=by_stem,
            batch_bytes=batch_bytes,
        )

    def content(self) -> dict[str, bytes]:
        """What was staged: SOP Instance UID -> bytes."""
        return {sop: (self.staging / each.name).read_bytes() for sop, each in self.staged.items()}

    def partials(self) -> dict[str, Partial]:
        """What the notes say in the end: stem -> what is there of it."""
        found = {note.stem: note.partial for note in self.notes}
        return {stem: partial for stem, partial in found.items() if partial is not None}

    def leftovers(self) -> set[str]:
        """Files in staging that were neither staged nor are noted."""
        noted = {partial.name for partial in self.partials().values()}
        return {path.name for path in self.staging.iterdir()} - {each.name for each in self.staged.values()} - noted


@asynccontextmanager
async def open_bench(folder: Path) -> AsyncIterator[Bench]:
    """Run a bench on a destination; nothing may be left over in the end."""
    bench = Bench(prepared_folder(folder).staging)
    bench.writer.start()
    try:
        yield bench
    finally:
        bench.writer.close()
        await anyio.to_thread.run_sync(bench.writer.join)
    assert bench.leftovers() == set()
