"""How a run goes about it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from dicomhaul.config.accepted import Accepted
from dicomhaul.config.rates import Timetable
from dicomhaul.model import Query
from dicomhaul.plan.removal import RemovalLimits

NameBy = Literal["sop", "crdc"]


@dataclass(frozen=True, slots=True)
class HaulOptions:
    """Choices that change how a run works, never what it brings.

    Attributes:
        transfers: the most exchanges at once; None: what the profile allows.
        processes: how many haul, on one machine and as one run; more than one pay where a processor core is the limit.
        requests_per_s: the most requests a second; None: what the profile allows.
        layout: template of the folders; None: IDC's or the plain one, see `land.layout`.
        state_dir: where the ledger lives instead of `DEST/.dicomhaul`.
        audit_log: tell this file, outside the destination, of all that is done, see `trail`.
        force: go on although the plan does not fit the free space.
        recheck: look for landed files that are gone, and want them again.
        name_by: what names a file: its SOP Instance UID, or as idc-index does the object's name (buckets only); None:
            as the destination has it, SOP Instance UIDs at first.
        checksum: hold what landed against the digest that the source states, or record XXH3-128 alone.
        bandwidth: the most bytes a second, by the time of day; None: no limit.
        quota_bytes: the most bytes that a DICOMweb server may give a day (UTC); buckets have no quota. Each shard
            counts for itself.
        max_transfer_bytes: stop, resumable, once so many bytes came.
        max_duration_s: stop, resumable, after so many seconds.
        wait: sleep until a used-up quota opens again, instead of stopping.
        lock: write a lock of the cohort there at the end, see `cohort.lock`.
        accepted: failures that are known: a run in which nothing else fails is complete.
    """

    transfers: int | None = None
    processes: int = 1
    requests_per_s: float | None = None
    layout: str | None = None
    state_dir: Path | None = None
    audit_log: Path | None = None
    force: bool = False
    recheck: bool = False
    name_by: NameBy | None = None
    checksum: Literal["stated", "xxh3"] = "stated"
    bandwidth: Timetable | None = None
    quota_bytes: int | None = None
    max_transfer_bytes: int | None = None
    max_duration_s: float | None = None
    wait: bool = False
    lock: Path | None = None
    accepted: Accepted = Accepted()  # noqa: RUF009 - frozen


@dataclass(frozen=True, slots=True)
class SyncOptions:
    """What `sync` does besides what a pull does.

    Attributes:
        trash_days: what leaves the tree is kept so many days in `DEST/.dicomhaul/trash`; 0: not at all.
        keep_withdrawn: what the source has no more stays in the tree.
        removal: a sync that would remove more is refused.
        reconcile_s: seconds after which a source that is followed by a feed, or by study dates, is compared whole
            again; 0: each time.
        lookback_days: without a feed, studies of so many days are searched again each time.
        inventories: a comparison of the whole asks a server for the list of each series, not for its count alone; None:
            where no feed tells of changes.
    """

    trash_days: int = 30
    keep_withdrawn: bool = False
    removal: RemovalLimits = RemovalLimits()  # noqa: RUF009 - frozen
    reconcile_s: float = 7 * 86_400.0
    lookback_days: int = 30
    inventories: bool | None = None


QUERY_JSON = TypeAdapter(Query)  # a query as the ledger and the planning child read it
