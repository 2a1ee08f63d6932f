"""Instances that come again in one exchange: of each second copy its digest, to be held against the first one's.

A copy is not written, so it costs a digest and no disk. One whose beginning is gone before it is named (the writer has
it) has a digest that nobody knows, and so have several that differ among themselves: None.

What must not be here: what the first copy's digest is. The ledger has it once that copy has landed.
"""

from collections.abc import Iterable

import xxhash


class Repeats:
    """Follows one copy at a time.

    Attributes:
        found: SOP Instance UID -> XXH3-128 of the copies that came to their end; None: see above.
    """

    __slots__ = ("_hash", "_sop", "found")

    def __init__(self) -> None:
        self.found: dict[str, bytes | None] = {}
        self._sop = ""
        self._hash: xxhash.xxh3_128 | None = None

    def begin(self, sop: str, views: Iterable[memoryview] | None) -> None:
        """A copy is known by its UID; what of it has come, None where that is not here any more."""
        self._sop = sop
        self._hash = None if views is None else xxhash.xxh3_128()
        for view in views or ():
            self.take(view)

    def take(self, view: memoryview) -> None:
        """Take the copy's next bytes; they may be those of no copy."""
        if self._hash is not None:
            self._hash.update(view)

    def end(self) -> None:
        """What is followed, if anything is, has come to its end."""
        if not self._sop:
            return
        digest = None if self._hash is None else self._hash.digest()
        self.found[self._sop] = digest if self.found.get(self._sop, digest) == digest else None
        self.leave()

    def leave(self) -> None:
        """It broke off, or is over: follow nothing."""
        self._sop = ""
        self._hash = None
