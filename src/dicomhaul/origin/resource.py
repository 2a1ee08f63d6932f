"""What a path below the base URL names (PS3.18 tables 10.4.1-1 and 10.6.1-1). Pure."""

from dataclasses import dataclass

from dicomhaul.origin.faults import Level
from dicomhaul.origin.qido import Depth

_DEPTHS: dict[str, Depth] = {"studies": "study", "series": "series", "instances": "instance"}
_ORDER = ("studies", "series", "instances")


@dataclass(frozen=True, slots=True)
class Resource:
    """A search, a retrieve or the metadata of something.

    Attributes:
        level: for the fault script.
        depth: of what is found or retrieved.
        template: the path with names for UIDs, as in `Style.searches`.
    """

    level: Level
    depth: Depth
    template: str
    study: str | None = None
    series: str | None = None
    sop: str | None = None


def parse_resource(path: str) -> Resource | None:
    """Return what `path` (`/studies/1.2/series`) names; None where DICOMweb knows no such path.

    UIDs are not checked: an impossible one names nothing that the catalog has.
    """
    words = path.removeprefix("/").split("/")
    is_metadata = words[-1] == "metadata" and len(words) > 2
    if is_metadata:
        words.pop()
    is_search = len(words) % 2 == 1
    names = words[::2]
    uids = dict(zip(names, words[1::2], strict=False))
    if not names or names[-1] not in _DEPTHS or "" in uids.values():
        return None
    if names != [name for name in _ORDER if name in names] or (is_search and is_metadata):
        return None
    if not is_search and names != list(_ORDER[: len(names)]):
        return None
    depth = _DEPTHS[names[-1]]
    template = "".join(f"/{name}" + (f"/{{{_DEPTHS[name]}}}" if name in uids else "") for name in names)
    level: Level = "search" if is_search else "metadata" if is_metadata else depth
    return Resource(level, depth, template, uids.get("studies"), uids.get("series"), uids.get("instances"))
