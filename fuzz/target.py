"""What a target is, and where its corpus lies."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CORPUS: Final = Path(__file__).parent / "corpus"

NAMES: Final = (
    "digests",
    "dicom_json",
    "layout",
    "ledger",
    "listing",
    "lock",
    "manifest",
    "media_type",
    "multipart",
    "part10",
)


@dataclass(frozen=True, slots=True)
class Target:
    """One thing to be attacked.

    Attributes:
        name: one of `NAMES`; of its module, and of the folder of its corpus.
        check: takes any bytes; raises, whatever it is, where a promise is broken.
        words: what inputs are made of, for those who make them.
        max_bytes: longer inputs show nothing that shorter ones do not.
    """

    name: str
    check: Callable[[bytes], None]
    words: tuple[bytes, ...]
    max_bytes: int = 4096


def load(name: str) -> Target:
    """Import a target. The package is imported with it, so whoever watches coverage calls this under its watch."""
    found: Target = importlib.import_module(f"fuzz.targets.{name}").TARGET
    return found


def seeds(name: str) -> list[bytes]:
    """Return the corpus of a target, in the order of its names."""
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]
