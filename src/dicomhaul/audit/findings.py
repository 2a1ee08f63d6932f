"""What verification finds: one value for each thing that is not as the ledger says. Pure."""

import enum
from dataclasses import dataclass
from typing import NamedTuple

from dicomhaul.land.folder import instance_file, instance_path


class Problem(enum.StrEnum):
    """How a file differs from what the ledger says of it."""

    MISSING = "missing"
    SIZE = "size"  # another length
    CONTENT = "content"  # the right length, another XXH3-128
    UNREADABLE = "unreadable"  # it is there and cannot be read
    NOT_A_FILE = "not a file"  # a symbolic link (or a folder that is one), a folder, a device
    FOREIGN = "foreign"  # it is there and the ledger doesn't know it
    NOT_DICOM = "not DICOM"  # deep only: pydicom cannot parse it
    WRONG_UID = "wrong UID"  # deep only: it parses, and says that it is another instance


class Expected(NamedTuple):
    """One landed instance, as the ledger has it."""

    series_id: int
    folder: str  # relative to the destination, '/'-separated; '' is the destination itself
    sop: str
    size_bytes: int
    xxh3: bytes  # XXH3-128, 16 bytes, big endian: what `digest()` returns
    stem: str | None = None  # what its file is named by; None: its SOP Instance UID

    @property
    def file(self) -> str:
        """The name of its file."""
        return instance_file(self.sop, self.stem)

    @property
    def path(self) -> str:
        """Where its file is, relative to the destination, '/'-separated."""
        return instance_path(self.folder, self.file)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. `series_id` and `sop` are None for a foreign file."""

    problem: Problem
    path: str  # relative to the destination, '/'-separated
    series_id: int | None = None
    sop: str | None = None
    detail: str = ""  # numbers or an operating system's reason; never content


@dataclass(slots=True)
class Checked:
    """Running totals of a verification; it adds, whoever shows progress reads."""

    instances: int = 0
    size_bytes: int = 0
    findings: int = 0
