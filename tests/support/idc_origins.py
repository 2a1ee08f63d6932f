"""All of IDC's origins beside a test, in a thread; profiles with which a command asks them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dicomhaul.cohort.idc import open_idc
from dicomhaul.model import Query, Series
from dicomhaul.origin import Catalog, Holdings, IdcOrigins, Rule, Script, Settings, in_thread, profile_toml, serve_idc
from dicomhaul.origin.idc import TOKEN, IdcName
from support.destination import expected_tree

# What the store on Google wants: pass it to `run_command(environ=...)`.
TOKEN_ENVIRON = {"DICOMHAUL_TOKEN": TOKEN}


@contextmanager
def idc_thread(
    holdings: Holdings,
    *,
    rules: Mapping[IdcName, Sequence[Rule]] | None = None,
    **settings: Any,
) -> Iterator[IdcOrigins]:
    """Serve from a thread with a loop of its own; `settings` as `Settings`. The test may read journals."""
    faults = {name: Script(list(each)) for name, each in (rules or {}).items()}
    with in_thread(serve_idc(holdings, Settings(**settings), faults=faults), name="idc") as origins:
        yield origins


@dataclass(frozen=True, slots=True)
class IdcProfiles:
    """Files that describe the origins; the sources are called `local-bucket`, `local-gcs`, ..."""

    folder: Path

    def source(self, *names: IdcName) -> str:
        """Return SOURCE: the profile of one, or of several with commas between."""
        return ",".join(str(self.folder / f"local-{name}.toml") for name in names)


def idc_rows(bucket: str, count: int, *, where: str = "") -> list[Series]:
    """Return small series that IDC's index has in a bucket, always the same for one release."""
    small = "instanceCount BETWEEN 4 AND 8 AND series_size_MB BETWEEN 1 AND 5"
    return list(_found(f"aws_bucket = '{bucket}' AND {where or small}", count))


@cache
def _found(condition: str, count: int) -> tuple[Series, ...]:
    with open_idc(Query(where=condition, limit_series=count)) as cohort:
        return tuple(row for batch in cohort.iter_rows() for row, _ in batch)


def idc_tree(holdings: Holdings, rows: Sequence[Series]) -> dict[str, bytes]:
    """Return the tree that these rows make in IDC's layout."""
    tree: dict[str, bytes] = {}
    for row in rows:
        held = [each.series for each in holdings.revisions if each.uuid == row.revision]
        tree |= expected_tree(Catalog(held), f"{row.collection}/{row.patient}/{{study}}/{row.modality}_{{series}}")
    return tree


def idc_manifest(whole: Sequence[Series], single: Mapping[str, Sequence[str]] | None = None) -> str:
    """Return a CSV manifest with whole series, and with single instances: Series Instance UID -> SOP Instance UIDs."""
    lines = [f"{row.series}," for row in whole]
    lines += [f"{series},{sop}" for series, sops in (single or {}).items() for sop in sops]
    return "\n".join(["SeriesInstanceUID,SOPInstanceUID", *lines, ""])


def write_profiles(folder: Path, origins: IdcOrigins, more: Mapping[IdcName, str] | None = None) -> IdcProfiles:
    """Write a profile for each origin into `folder`; `more` is TOML that is added to one of them."""
    for name, origin in origins.by_name().items():
        text = profile_toml(name, origin.url, (more or {}).get(name, ""))
        (folder / f"local-{name}.toml").write_text(text, encoding="utf-8")
    return IdcProfiles(folder)
