"""How an object's stem is stored: 16 bytes where it is a UUID, as in IDC's buckets; else as text. Pure."""

import uuid

_CANONICAL_CHARS = 36


def pack_stem(stem: str | None) -> bytes | str | None:
    """Return a stem as the ledger stores it."""
    if stem is None or len(stem) != _CANONICAL_CHARS:
        return stem
    try:
        packed = uuid.UUID(stem)
    except ValueError:
        return stem
    return packed.bytes if str(packed) == stem else stem


def unpack_stem(stored: bytes | str | None) -> str | None:
    """Return the stem that `pack_stem` stored."""
    return str(uuid.UUID(bytes=stored)) if isinstance(stored, bytes) else stored
