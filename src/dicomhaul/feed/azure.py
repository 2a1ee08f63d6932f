"""Entries of Azure's change feed, whichever version tells them (docs/servers.md, "Azure Health Data Services").

Keys come in either case: the service writes `studyInstanceUid`, its documentation `StudyInstanceUid`. `state` is what
the service knows while it answers, so an old entry says `replaced` or `deleted`. The feed tells of all data partitions.
"""

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import unquote, urlsplit

from dicomhaul.feed.asking import Asker, above
from dicomhaul.net.host import Host
from dicomhaul.plan.changes import Change, Instance, Standing

DEFAULT_PARTITION: Final = "Microsoft.Default"
WHAT: Final = "change feed"
_PARTITIONS: Final = "partitions"
_STATES: Final[Mapping[str, Standing]] = {"current": "current", "replaced": "replaced", "deleted": "deleted"}


class Place(NamedTuple):
    """Where a base URL leads."""

    root: str  # the path that the feed is below
    version: int  # of the API, hence of the feed
    partition: str  # whose entries count


class Told(NamedTuple):
    """One entry: when it was made, and what it says; None for an entry of another partition."""

    number: int
    at: dt.datetime
    change: Change | None


def place_of(base_url: str) -> Place:
    """Take a base URL apart: `/v2`, or `/v2/partitions/NAME`, below which no feed is."""
    parts = [part for part in urlsplit(base_url).path.split("/") if part]
    partition, left_out = DEFAULT_PARTITION, 0
    if len(parts) > 1 and parts[-2].lower() == _PARTITIONS:
        partition, left_out = unquote(parts[-1]), 2
    root = above(base_url, left_out)
    return Place(root, 1 if root.rpartition("/")[2].lower() == "v1" else 2, partition)


class Entries:
    """Asks for the entries of one partition.

    Args:
        host: the service.
        place: where its feed is.
        role: what an account needs, for people.
    """

    def __init__(self, host: Host, place: Place, *, role: str) -> None:
        self._asker = Asker(host, place.root, WHAT, role=role)
        self._partition = place.partition
        self.senseless = self._asker.senseless

    async def latest(self) -> Told | None:
        """Return the newest entry of all; None where there is none. Errors as `Asker.get`."""
        answer = await self._asker.get("changefeed/latest", [("includemetadata", "false")])
        if not answer:
            return None
        if not isinstance(answer, dict):
            raise self.senseless("its latest entry is none")
        return self._told(answer)

    async def page(self, params: list[tuple[str, str]]) -> list[Told]:
        """Return a page, in the service's order. Errors as `Asker.get`."""
        answer = await self._asker.get("changefeed", [*params, ("includemetadata", "false")])
        return [self._told(row) for row in self._asker.rows(answer)]

    def _told(self, row: Mapping[str, Any]) -> Told:
        entry = {key.lower(): value for key, value in row.items()}
        number, at = self._asker.number(entry.get("sequence")), self._time(entry.get("timestamp"))
        partition = entry.get("partitionname") or DEFAULT_PARTITION
        if partition != self._partition:
            return Told(number, at, None)
        state = entry.get("state")
        standing = _STATES.get(state.lower()) if isinstance(state, str) else None
        if standing is None:
            raise self.senseless("an entry has no state that is known")
        study, series, sop = (
            self._asker.identifier(entry.get(key))
            for key in ("studyinstanceuid", "seriesinstanceuid", "sopinstanceuid")
        )
        return Told(number, at, Change(Instance(study, series, sop), number, standing))

    def _time(self, value: Any) -> dt.datetime:
        at = parse_time(value)
        if at is None:
            raise self.senseless("an entry has no time")
        return at


def parse_time(value: Any) -> dt.datetime | None:
    """Read a time of RFC 3339, of at most 40 characters; without a zone it is UTC. None where it is none."""
    if not isinstance(value, str) or len(value) > 40:
        return None
    try:
        at = dt.datetime.fromisoformat(value)
        return at.replace(tzinfo=dt.UTC) if at.tzinfo is None else at.astimezone(dt.UTC)
    except (ValueError, OverflowError):  # OverflowError: year 1, east of Greenwich
        return None
