"""What an instance costs in the ledger: at most 130 bytes, with UIDs as long as they may be, in the order they come."""

import hashlib
import random
import uuid
from itertools import islice
from pathlib import Path
from typing import Final

import pytest

from dicomhaul.model import Check, Receipt, SopUID
from dicomhaul.plan.order import turns
from dicomhaul.record.ledger import Ledger

_MOST_BYTES: Final = 130
_EACH: Final = 100  # instances of a series
_SERIES: Final = 200
_BATCH: Final = 2_000


def _sop(series: int, number: int) -> SopUID:
    digest = hashlib.blake2b(f"{series} {number}".encode(), digest_size=16).digest()
    return SopUID(f"1.3.6.1.4.1.14519.5.2.1.6279.6001.{10**29 + int.from_bytes(digest, 'big') % 10**29}")


def _bytes_in_use(ledger: Ledger) -> int:
    (pages,), (free,), (size,) = (
        ledger._db.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _receipt(series: int, number: int, came_from: str) -> Receipt:
    sop = _sop(series, number)
    if came_from == "server":
        return Receipt(series, sop, 525_000, bytes(16))
    stem = uuid.uuid5(uuid.NAMESPACE_OID, sop)
    return Receipt(series, sop, 525_000, bytes(16), Check.MD5, str(stem))


@pytest.mark.parametrize("came_from", ["server", "bucket"])
@pytest.mark.parametrize("together", [1, 16], ids=["one series after the other", "sixteen at a time"])
def test_instances_that_come_in_no_order_fill_its_pages(tmp_path: Path, together: int, came_from: str) -> None:
    waiting = list(range(_SERIES))
    order = [waiting.pop(-1 if end == "largest" else 0) for end in islice(turns(), _SERIES)]  # as the engine leases
    came: list[Receipt] = []
    for first in range(0, _SERIES, together):
        some = [(series, number) for series in order[first : first + together] for number in range(_EACH)]
        random.Random(first).shuffle(some)
        came += [_receipt(series, number, came_from) for series, number in some]
    ledger = Ledger.open(tmp_path / "ledger.sqlite3")
    before = _bytes_in_use(ledger)
    for at in range(0, len(came), _BATCH):
        with ledger.transaction():
            ledger.add_receipts(came[at : at + _BATCH])
    assert (_bytes_in_use(ledger) - before) / len(came) <= _MOST_BYTES
    ledger.close()
