"""After a crash: adopt what had been announced and is whole, keep what of a large object was noted, sweep the rest.

What is kept was noted by its length and digest; whoever goes on with it reads it again first (`land.writer`).
"""

import json
import re
from pathlib import Path

import xxhash

from dicomhaul.errors import LedgerError
from dicomhaul.land.folder import Folder
from dicomhaul.land.writer import Staged
from dicomhaul.model import Check, Receipt, SopUID
from dicomhaul.record.ledger import Ledger
from dicomhaul.record.swaps import recover_swaps

_CHUNK_BYTES = 1 << 20
_NAME = re.compile(r"[0-9A-Za-z_][0-9A-Za-z._~-]{0,250}")  # of a file, in staging and at its place


def intent_batch(batch: list[Staged]) -> str:
    """Write a batch as the intent that announces it."""
    return json.dumps(
        [
            (
                part.series_id,
                part.folder,
                part.file,
                part.sop,
                part.size_bytes,
                part.xxh3.hex(),
                part.name,
                int(part.check),
                part.stem,
            )
            for part in batch
        ]
    )


def _read_batch(text: str) -> list[Staged]:
    """Read an intent. Raises LedgerError where it is none, or names files that lie elsewhere."""
    try:
        batch = [
            Staged(series_id, folder, file, sop, size, bytes.fromhex(digest), name, Check(check), stem)
            for series_id, folder, file, sop, size, digest, name, check, stem in json.loads(text)
        ]
        sound = all(_NAME.fullmatch(part.file) and _NAME.fullmatch(part.name) for part in batch)
    except (ValueError, TypeError, RecursionError):
        sound = False
    if not sound:
        raise LedgerError("the ledger is damaged: it announces what cannot be an instance")
    return batch


def receipt_of(part: Staged) -> Receipt:
    """Return what the ledger records of a part once it is at its final path."""
    return Receipt(part.series_id, SopUID(part.sop), part.size_bytes, part.xxh3, part.check, part.stem)


def recover(ledger: Ledger, folder: Folder) -> int:
    """Finish what an interrupted run had announced; return how many instances were adopted.

    A file counts if it has the announced size and digest, at its final path or still in staging. What does not count is
    simply wanted again. Raises LandingError, LedgerError.
    """
    adopted = 0
    for intent_id, text in ledger.intents():
        batch = _read_batch(text)
        staged = [part for part in batch if _is_whole(folder.staging / part.name, part)]
        in_place = [part for part in batch if _is_whole(folder.path(part.folder, part.file), part)]
        folder.move(staged)
        folder.sync(part.folder for part in in_place)
        with ledger.transaction():
            ledger.add_receipts(receipt_of(part) for part in [*in_place, *staged])
            ledger.drop_intent(intent_id)
        adopted += len({part.name for part in [*in_place, *staged]})
    sweep(ledger, folder)
    recover_swaps(ledger, folder)
    return adopted


def sweep(ledger: Ledger, folder: Folder) -> None:
    """Delete what staging holds, except beginnings of large objects that are still wanted.

    For when nothing is being written there. Raises LandingError, LedgerError.
    """
    folder.sweep(_keep_partials(ledger, folder))


def _keep_partials(ledger: Ledger, folder: Folder) -> set[str]:
    """Forget what is noted of objects that are there or wanted no more, or whose bytes are gone; name the others'."""
    rows = ledger.partials()
    kept = {row.partial.name for row in rows if row.wanted and folder.holds(row.partial)}
    gone = [row for row in rows if row.partial.name not in kept]
    if gone:
        with ledger.transaction():
            for row in gone:
                ledger.note_partial(row.series_id, row.partial.stem, None)
    return kept


def _is_whole(path: Path, part: Staged) -> bool:
    digest = xxhash.xxh3_128()
    try:
        if path.is_symlink() or path.stat().st_size != part.size_bytes:
            return False
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    except OSError:
        return False
    return digest.digest() == part.xxh3
