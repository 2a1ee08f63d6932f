"""Orthanc's `/changes`: what came, numbered. It forgets: entries of what was deleted are gone with it.

A change names Orthanc's own identifier of an instance; its UIDs are asked for, with as few requests as may be: one
instance tells its series, the series tells all of its instances at once. What is gone meanwhile is left out: the next
comparison of the whole finds it missing.

A number that is lower than the one it was read to means that this is another database now.
"""

import json
import re
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

from dicomhaul.errors import NotFound
from dicomhaul.feed.asking import MOST_PAGES, Asker
from dicomhaul.feed.numbers import number_of
from dicomhaul.feed.stored import read_position
from dicomhaul.feed.told import Window
from dicomhaul.plan.changes import Change, Instance

WHAT: Final = "list of changes"
LIMIT: Final = 1_000
_CHUNK: Final = 5_000
_EXPANDED: Final = 20_000  # instances of a series whose tags are asked for at once: 20 MB
_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{8}){4}\Z")
_NEW: Final = "NewInstance"


class OrthancChanges:
    """The changes of one Orthanc. See `feed.choose.Feed`."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker

    async def begin(self) -> str:
        """See `feed.choose.Feed`."""
        answer = await self._asker.get("changes", [("last", "")])
        return _written(self._asker.number(self._table(answer).get("Last")))

    async def read(self, position: str) -> AsyncGenerator[Window, None]:
        """See `feed.choose.Feed`."""
        since = read_position(position, lambda stored: number_of(stored["number"]))
        newest: dict[str, int] = {}  # Orthanc's identifier -> the number of its last change
        for _ in range(MOST_PAGES):
            answer = self._table(await self._asker.get("changes", [("since", str(since)), ("limit", str(LIMIT))]))
            last = self._asker.number(answer.get("Last"))
            if last < since:
                raise self._asker.senseless("it ends before where it was read to: it is another one now")
            highest = self._take(answer.get("Changes"), newest)
            done = answer.get("Done") is not False or highest is None
            if not done and (highest or 0) <= since:
                raise self._asker.senseless("it repeats itself for ever")
            since = max(since, highest or last)
            if done or len(newest) >= _CHUNK:
                yield Window(tuple(await self._resolve(newest)), _written(since))
                newest = {}
            if done:
                return
        raise self._asker.senseless("it does not end")

    def _table(self, answer: Any) -> Mapping[str, Any]:
        if not isinstance(answer, dict):
            raise self._asker.senseless("it answers with something else than an object")
        return answer

    def _take(self, changes: Any, newest: dict[str, int]) -> int | None:
        """Note the instances that a page tells of; return its highest number."""
        highest: int | None = None
        for row in self._asker.rows(changes):
            number = self._asker.number(row.get("Seq"))
            highest = number if highest is None else max(highest, number)
            if row.get("ChangeType") == _NEW:
                key = self._identifier(row.get("ID"))
                newest[key] = max(number, newest.get(key, 0))
        return highest

    def _identifier(self, value: Any) -> str:
        if not isinstance(value, str) or _ID.match(value) is None:
            raise self._asker.senseless("an entry has no identifier of Orthanc where one belongs")
        return value

    async def _resolve(self, newest: Mapping[str, int]) -> list[Change]:
        left = dict(newest)
        changes: list[Change] = []
        studies: dict[str, str | None] = {}  # Orthanc's identifier -> Study Instance UID; None: it is gone
        while left:
            key = next(iter(left))
            found = await self._of_one(key, left)
            for instance, its in found.items():
                number = left.pop(instance, None)
                if number is None:
                    continue
                series, parent, sop = its
                if parent not in studies:
                    studies[parent] = await self._study(parent)
                study = studies[parent]
                if study is not None:
                    changes.append(Change(Instance(study, series, sop), number, "current"))
            left.pop(key, None)  # gone, or somebody else's by now
        return changes

    async def _of_one(self, key: str, wanted: Mapping[str, int]) -> dict[str, tuple[str, str, str]]:
        """Return identifier -> (Series UID, study's identifier, SOP UID) of one instance and its wanted neighbours."""
        one = await self._there(f"instances/{key}")
        if one is None:
            return {}
        parent = self._identifier(one.get("ParentSeries"))
        series = await self._there(f"series/{parent}")
        if series is None:
            return {}
        uid, study = self._uid(series, "SeriesInstanceUID"), self._identifier(series.get("ParentStudy"))
        found = {key: (uid, study, self._uid(one, "SOPInstanceUID"))}
        members = series.get("Instances")
        if not isinstance(members, list) or len(members) > _EXPANDED:
            return found
        if any(member != key and member in wanted for member in members if isinstance(member, str)):
            for row in self._asker.rows(await self._there(f"series/{parent}/instances")):
                found[self._identifier(row.get("ID"))] = (uid, study, self._uid(row, "SOPInstanceUID"))
        return found

    async def _study(self, key: str) -> str | None:
        study = await self._there(f"studies/{key}")
        return None if study is None else self._uid(study, "StudyInstanceUID")

    async def _there(self, path: str) -> Any:
        """Return what is at `path`; None where it is gone."""
        try:
            answer = await self._asker.get(path)
        except NotFound:
            return None
        if answer is not None and not isinstance(answer, (dict, list)):
            raise self._asker.senseless("it answers with something else than an object")
        return answer

    def _uid(self, row: Mapping[str, Any], name: str) -> str:
        tags = row.get("MainDicomTags")
        return self._asker.identifier(tags.get(name) if isinstance(tags, dict) else None)


def _written(number: int) -> str:
    return json.dumps({"number": number})
