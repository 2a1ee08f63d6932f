"""Spoils one part of an answer on purpose. No sockets, no HTTP library."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from dicomhaul.origin import faults as f
from dicomhaul.origin.catalog import StoredInstance
from dicomhaul.origin.framing import Part, fixed_part, part_of, read_part

_PAGE: Final = b"<!DOCTYPE html><html><body><h1>Please log in</h1></body></html>\n"


async def spoil(
    fault: f.Part, instances: Sequence[StoredInstance], foreign: StoredInstance | None
) -> list[Part] | None:
    """Return the parts of an answer with one of them spoiled.

    None: nothing is spoiled, since no part has this index, or there is no `foreign` instance to take its place.
    """
    parts = [part_of(instance) for instance in instances]
    if not -len(parts) <= fault.index < len(parts):
        return None
    index = fault.index % len(parts)
    whole = parts[index]
    match fault.wrong:
        case "omit":
            del parts[index]
        case "duplicate":
            parts.insert(index, whole)
        case "twin":
            parts.insert(index + 1, fixed_part(_flipped(await read_part(whole)), whole.syntax))
        case "foreign" | "foreign_study":
            if foreign is None:
                return None
            parts[index] = part_of(foreign)
        case "length":
            parts[index] = replace(whole, stated_bytes=whole.size_bytes - 1)
        case "length_over":
            parts[index] = replace(whole, stated_bytes=whole.size_bytes + 1)
        case _:
            parts[index] = fixed_part(_spoilt(fault, await read_part(whole), instances[index].sop), whole.syntax)
    return parts


def _spoilt(fault: f.Part, content: bytes, sop: str) -> bytes:
    match fault.wrong:
        case "text":
            return b"this is no DICOM instance\n" * 20
        case "html":
            return _PAGE
        case "empty":
            return b""
        case "evil_uid":
            return content.replace(sop.encode(), _climbing(len(sop)))
        case "cut":
            return content[: len(content) // 2]
        case _:  # "flip"
            return _flipped(content)


def _flipped(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def _climbing(size: int) -> bytes:
    return (b"../" * size)[: size - 4] + b"evil"
