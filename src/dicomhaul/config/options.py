"""How a run goes about it."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from dicomhaul.model import Query


@dataclass(frozen=True, slots=True)
class HaulOptions:
    """Choices that change how a run works, never what it brings.

    Attributes:
        transfers: the most exchanges at once; None: what the profile allows.
        requests_per_s: the most requests a second; None: what the profile allows.
        layout: template of the folders; None: IDC's or the plain one, see `land.layout`.
        state_dir: where the ledger lives instead of `DEST/.dicomhaul`.
        force: go on although the plan does not fit the free space.
        recheck: look for landed files that are gone, and want them again.
    """

    transfers: int | None = None
    requests_per_s: float | None = None
    layout: str | None = None
    state_dir: Path | None = None
    force: bool = False
    recheck: bool = False


QUERY_JSON = TypeAdapter(Query)  # a query as the ledger and the planning child read it
