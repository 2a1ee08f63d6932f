"""What a query names by itself, before any search: its target words and its manifests, read from disk."""

from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from dicomhaul.cohort.manifest import Entry, parse_manifest
from dicomhaul.cohort.target import sort_targets
from dicomhaul.config.words import is_file
from dicomhaul.errors import CohortError, EmptyCohort
from dicomhaul.model import Query

STDIN: Final = "standard input"
_MANIFEST_MAX_BYTES: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the targets name; alternatives, which the query's filters narrow."""

    collections: tuple[str, ...]
    entries: list[Entry]  # from manifests and from UIDs on the command line, each once


def gather(query: Query) -> Wanted:
    """Read the query's targets and manifests. Raises CohortError, naming file and line."""
    targets = sort_targets(query.targets, is_file)
    texts = [(path, _read_file(path)) for path in targets.manifests]
    if query.manifest is not None:
        texts.append((STDIN if targets.stdin else "manifest", query.manifest))
    elif targets.stdin:
        raise EmptyCohort("nothing came by standard input for the target -")
    entries = [Entry(uid=uid) for uid in targets.uids] + [Entry(crdc=uuid) for uuid in targets.crdc]
    for name, text in texts:
        entries += parse_manifest(text, name)
    return Wanted(targets.collections, list(dict.fromkeys(entries)))


def read_manifest(stream: BinaryIO, name: str) -> str:
    """Return the text of a manifest, called `name` in messages. Raises CohortError, naming the line that is no text."""
    try:
        content = stream.read(_MANIFEST_MAX_BYTES + 1)
    except OSError as error:
        raise CohortError(f"cannot read the manifest {name}: {error.strerror}") from None
    if len(content) > _MANIFEST_MAX_BYTES:
        raise CohortError(f"{name}: more than {_MANIFEST_MAX_BYTES:,} bytes; split the manifest")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise CohortError(f"{name}, line {line}: not UTF-8 text; save the manifest as UTF-8") from None


def _read_file(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            return read_manifest(file, path)
    except FileNotFoundError:
        raise CohortError(f"there is no manifest {path}") from None
    except OSError as error:
        raise CohortError(f"cannot read the manifest {path}: {error.strerror}") from None
