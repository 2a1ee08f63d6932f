"""After a crash: adopt what had been announced and is whole, sweep the rest out of staging."""

import json
from pathlib import Path

import xxhash

from dicomhaul.land.folder import Folder
from dicomhaul.land.writer import Staged
from dicomhaul.model import Receipt, SopUID
from dicomhaul.record.ledger import Ledger

_CHUNK_BYTES = 1 << 20


def intent_batch(batch: list[Staged]) -> str:
    """Write a batch as the intent that announces it."""
    return json.dumps(
        [(part.series_id, part.folder, part.sop, part.size_bytes, part.xxh3.hex(), part.name) for part in batch]
    )


def _read_batch(text: str) -> list[Staged]:
    return [
        Staged(series_id, folder, sop, size, bytes.fromhex(digest), name)
        for series_id, folder, sop, size, digest, name in json.loads(text)
    ]


def recover(ledger: Ledger, folder: Folder) -> int:
    """Finish what an interrupted run had announced; return how many instances were adopted.

    A file counts if it has the announced size and digest, at its final path or still in staging. What does not count is
    simply wanted again. Raises LandingError, LedgerError.
    """
    adopted = 0
    for intent_id, text in ledger.intents():
        batch = _read_batch(text)
        staged = [part for part in batch if _is_whole(folder.staging / part.name, part)]
        in_place = [part for part in batch if _is_whole(folder.path(part.folder, part.sop), part)]
        folder.move(staged)
        folder.sync(part.folder for part in in_place)
        with ledger.transaction():
            ledger.add_receipts(
                Receipt(part.series_id, SopUID(part.sop), part.size_bytes, part.xxh3) for part in [*in_place, *staged]
            )
            ledger.drop_intent(intent_id)
        adopted += len({part.name for part in [*in_place, *staged]})
    folder.sweep()
    return adopted


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
