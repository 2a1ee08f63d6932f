"""Origins that tell what changed: Azure's change feed, v1 and v2, and Orthanc's `/changes` with its identifiers.

Each answers for a few paths of its host, from a chronicle. Bad habits can be chosen.
"""

import datetime as dt
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from aiohttp import web

from dicomhaul.origin.catalog import Catalog
from dicomhaul.origin.chronicle import Chronicle, Happened, Name


class Teller(Protocol):
    """Answers for some paths of an origin's host."""

    @property
    def roots(self) -> tuple[str, ...]:
        """The paths, each with all that lies below it."""
        ...

    def tell(self, path: str, asked: Mapping[str, str]) -> web.Response:
        """Answer a GET."""
        ...


@dataclass(frozen=True, slots=True)
class AzureFeed:
    """Azure's change feed.

    Attributes:
        chronicle: what it tells.
        version: 1: windows of numbers; 2: windows of time.
        pascal_case: keys as the documentation prints them, instead of as the service sends them.
        ignores_offset: every page is the first.
        newest_first: entries come from the last to the first.
        status: what every request is answered with; None: what it asks for.
    """

    chronicle: Chronicle
    version: int = 2
    pascal_case: bool = False
    ignores_offset: bool = False
    newest_first: bool = False
    status: int | None = None

    @property
    def roots(self) -> tuple[str, ...]:
        """See `Teller`."""
        return (f"/v{self.version}/changefeed",)

    def tell(self, path: str, asked: Mapping[str, str]) -> web.Response:
        """See `Teller`."""
        if self.status is not None:
            return web.Response(status=self.status, text="no")
        told = self.chronicle.told()
        if path.endswith("/latest"):
            newest = max(told, key=lambda entry: entry.number, default=None)
            return web.Response(status=204) if newest is None else _json(self._entry(newest))
        most = 100 if self.version == 1 else 200
        try:
            limit, offset = int(asked.get("limit", most // 2)), int(asked.get("offset", 0))
            times = [dt.datetime.fromisoformat(asked[key]) for key in ("startTime", "endTime") if key in asked]
        except ValueError as error:
            return web.Response(status=400, text=str(error))
        if not 1 <= limit <= most or offset < 0 or any(time.tzinfo is None for time in times):
            return web.Response(status=400, text="limit, offset or time")
        if asked.get("includemetadata") != "false":
            return web.Response(status=400, text="this feed is asked without metadata")
        if self.ignores_offset:
            offset = 0
        if self.newest_first:
            told.reverse()
        if self.version == 1:
            page = [entry for entry in told if offset < entry.number <= offset + limit]
        else:
            page = [entry for entry in told if times[0] <= entry.at < times[1]][offset : offset + limit]
        return _json([self._entry(entry) for entry in page])

    def _entry(self, entry: Happened) -> dict[str, Any]:
        fields = {
            "sequence": entry.number,
            "studyInstanceUid": entry.name.study,
            "seriesInstanceUid": entry.name.series,
            "sopInstanceUid": entry.name.sop,
            "action": entry.action,
            "timestamp": f"{entry.at:%Y-%m-%dT%H:%M:%S.%f}7+00:00",  # the service has a digit more than Python
            "state": self.chronicle.state(entry),
            "partitionName": entry.partition,
        }
        if self.pascal_case:
            return {key[0].upper() + key[1:]: value for key, value in fields.items()}
        return fields


@dataclass(frozen=True, slots=True)
class OrthancRest:
    """Orthanc's REST API, as far as it tells changes. It forgets those of what is gone.

    Attributes:
        chronicle: what it tells.
        catalog: what there is.
        ignores_since: it begins anew each time.
    """

    chronicle: Chronicle
    catalog: Catalog
    ignores_since: bool = False

    @property
    def roots(self) -> tuple[str, ...]:
        """See `Teller`."""
        return ("/changes", "/instances", "/series", "/studies")

    def tell(self, path: str, asked: Mapping[str, str]) -> web.Response:
        """See `Teller`."""
        words = path.strip("/").split("/")
        if words == ["changes"]:
            return self._changes(asked)
        names = {
            "instances": (self._instance, 3),
            "series": (self._series, 2),
            "studies": (self._study, 1),
        }
        show, depth = names[words[0]]
        found = [name for name in self._names() if identifier(*name[:depth]) == words[1]]
        if not found:
            return web.json_response({"HttpStatus": 404, "Message": "Unknown resource"}, status=404)
        if words[2:] == ["instances"]:
            return _json([self._instance(name) for name in found])
        return _json(show(found[0]))

    def _changes(self, asked: Mapping[str, str]) -> web.Response:
        there = set(self._names())
        told = [entry for entry in self.chronicle.told() if entry.action != "delete" and entry.name in there]
        told = [entry for entry in told if self.chronicle.state(entry) == "current"]
        last = len(self.chronicle.entries)
        if "last" in asked:
            return _json({"Changes": [self._change(entry) for entry in told[-1:]], "Done": True, "Last": last})
        since, limit = int(asked.get("since", 0)), int(asked.get("limit", 100))
        left = [entry for entry in told if entry.number > (0 if self.ignores_since else since)]
        page = left[:limit]
        return _json(
            {
                "Changes": [self._change(entry) for entry in page],
                "Done": len(left) <= limit,
                "Last": page[-1].number if page else last,
            }
        )

    def _change(self, entry: Happened) -> dict[str, Any]:
        key = identifier(*entry.name)
        return {
            "ChangeType": "NewInstance",
            "Date": f"{entry.at:%Y%m%dT%H%M%S}",
            "ID": key,
            "Path": f"/instances/{key}",
            "ResourceType": "Instance",
            "Seq": entry.number,
        }

    def _names(self) -> list[Name]:
        return [Name(one.study, one.series, instance.sop) for one in self.catalog.series() for instance in one]

    def _instance(self, name: Name) -> dict[str, Any]:
        tags = {"SOPInstanceUID": name.sop}
        return {"ID": identifier(*name), "ParentSeries": identifier(*name[:2]), "MainDicomTags": tags}

    def _series(self, name: Name) -> dict[str, Any]:
        members = [identifier(*each) for each in self._names() if each[:2] == name[:2]]
        tags = {"SeriesInstanceUID": name.series}
        return {
            "ID": identifier(*name[:2]),
            "ParentStudy": identifier(name.study),
            "Instances": members,
            "MainDicomTags": tags,
        }

    def _study(self, name: Name) -> dict[str, Any]:
        return {"ID": identifier(name.study), "MainDicomTags": {"StudyInstanceUID": name.study}}


def identifier(*uids: str) -> str:
    """Return a name as Orthanc makes one: a digest of the UIDs, in five groups."""
    digits = hashlib.sha1("|".join(uids).encode(), usedforsecurity=False).hexdigest()
    return "-".join(digits[at : at + 8] for at in range(0, 40, 8))


def _json(value: Any) -> web.Response:
    return web.Response(body=json.dumps(value).encode(), content_type="application/json")
