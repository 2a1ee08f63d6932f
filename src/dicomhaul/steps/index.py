"""index.parquet of a destination: written by a child process, and only when what is there has changed."""

import subprocess
import sys
from typing import Final

import anyio

from dicomhaul.destination import Destination
from dicomhaul.errors import LandingError
from dicomhaul.report import INDEX_NAME

_INDEX, _STALE = "index", "stale"  # in the ledger's meta; `merge` and `plan_again` make it stale
_CHILD: Final = "dicomhaul.record.index_child"


async def renew_index(at: Destination, *, changed: bool) -> None:
    """Write index.parquet if what is there has changed, by this run or since it was written. Raises LandingError.

    A shard writes none: it knows only its part, and `merge` writes one of the whole.
    """
    if at.shard is not None:
        return
    stale = changed or at.ledger.meta(_INDEX) == _STALE
    if stale or (at.ledger.holds_any() and not (at.folder.root / INDEX_NAME).exists()):
        await write_index(at)


async def write_index(at: Destination) -> None:
    """Write a destination's index.parquet, in a child process. Raises LandingError."""
    at.ledger.set_meta(_INDEX, _STALE)
    command = [sys.executable, "-P", "-m", _CHILD, str(at.place.ledger), str(at.folder.root / INDEX_NAME)]
    async with await anyio.open_process(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stderr is not None  # noqa: S101 - asked for
        said = b"".join([chunk async for chunk in process.stderr])
        code = await process.wait()
    if code != 0:
        why = said.decode(errors="replace").strip().splitlines()
        raise LandingError(f"cannot write {INDEX_NAME}: {why[-1] if why else 'the writer died'}")
    at.ledger.set_meta(_INDEX, "written")
