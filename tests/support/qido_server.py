"""A small QIDO-RS server whose bad habits can be chosen. It stands on loopback, on a free port."""

import copy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from dicomhaul.events import Tally
from dicomhaul.net.auth.fixed import NoCredentials
from dicomhaul.net.clock import SystemClock
from dicomhaul.net.endpoint import Endpoint
from dicomhaul.net.host import Host, open_host
from dicomhaul.profile import Profile, built_in

Row = dict[str, Any]

TAGS = {
    "StudyInstanceUID": "0020000D",
    "SeriesInstanceUID": "0020000E",
    "SOPInstanceUID": "00080018",
    "PatientID": "00100020",
    "PatientName": "00100010",
    "StudyDate": "00080020",
    "ModalitiesInStudy": "00080061",
    "NumberOfStudyRelatedSeries": "00201206",
    "NumberOfSeriesRelatedInstances": "00201209",
    "Modality": "00080060",
    "SeriesDescription": "0008103E",
    "BodyPartExamined": "00180015",
    "InstanceNumber": "00200013",
}


def row(**attributes: Any) -> Row:
    """DICOM JSON of attributes by keyword; a list stands for several values, None for an empty attribute."""
    return {
        TAGS[keyword]: {"vr": "UN"}
        | ({} if value is None else {"Value": value if isinstance(value, list) else [value]})
        for keyword, value in attributes.items()
    }


@dataclass(frozen=True)
class Instance:
    """One instance of the archive."""

    study: str
    series: str
    sop: str
    patient: str = "P1"
    date: str = "20200101"
    modality: str = "CT"
    number: int = 1


def archive(studies: int, series: int = 2, instances: int = 3) -> list[Instance]:
    """An archive with `studies` x `series` x `instances`; odd series are MR, patients have two studies each."""
    return [
        Instance(
            study=f"1.{s}",
            series=f"1.{s}.{e}",
            sop=f"1.{s}.{e}.{i}",
            patient=f"P{s // 2}",
            date=f"2020{1 + s % 12:02}15",
            modality="MR" if e % 2 else "CT",
            number=i,
        )
        for s in range(1, studies + 1)
        for e in range(1, series + 1)
        for i in range(1, instances + 1)
    ]


@dataclass
class Habits:
    """How the server departs from what a client might hope for."""

    cap: int | None = None  # rows that a page has at most, whatever was asked for
    max_limit: int | None = None  # a larger limit is a 400 (Azure)
    max_offset: int | None = None  # a larger offset is a 400 (dcm4chee)
    empty_is_204: bool = True
    blank_200: int = 0  # answers at an offset that are 200 and have no body, before the first that is as it should be
    lone_object: bool = False
    ignores_offset: bool = False
    shift: int = 0  # rows by which each page comes too early, as when rows were added at the front
    warns: bool = False  # Warning: 299 ... additional results
    announces_too_many: int = 0
    doubles_rows: bool = False
    top_level: bool = True  # /series and /instances
    counts: bool = True
    ignored: frozenset[str] = frozenset()  # keys that do not filter
    hidden: frozenset[str] = frozenset()  # attributes that answers lack
    refused: frozenset[str] = frozenset()  # keys that are a 400
    html: bool = False
    extra: dict[str, list[Row]] = field(default_factory=dict)  # path -> rows put in front of the true ones


@dataclass
class QidoServer:
    """The running server; `asked` holds path and query of each request in order."""

    url: str
    habits: Habits
    instances: list[Instance]
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def paths(self) -> list[str]:
        """The paths that were asked for, in order."""
        return [path for path, _ in self.asked]

    async def answer(self, request: web.Request) -> web.Response:
        """Answer one search."""
        path = request.path.removeprefix("/rs/")
        query = dict(request.query)
        self.asked.append((path, query))
        habits = self.habits
        if habits.html:
            return web.Response(text="<html>Log in</html>", content_type="text/html")
        limit, offset = int(query.pop("limit")), int(query.pop("offset"))
        query.pop("includefield", None)
        too_far = habits.max_offset is not None and offset > habits.max_offset
        too_many = habits.max_limit is not None and limit > habits.max_limit
        if too_far or too_many or habits.refused & query.keys():
            return web.Response(status=400, text="no")
        if path in {"series", "instances"} and not habits.top_level:
            return web.Response(status=404)
        rows = [*habits.extra.get(path, []), *self._rows(path, query)]
        if habits.doubles_rows:
            rows = [twin for one in rows for twin in (one, one)]
        if habits.ignores_offset:
            offset = 0
        start = max(0, offset - habits.shift) if offset else 0
        size = min(limit, habits.cap or limit)
        page = rows[start : start + size]
        if offset and habits.blank_200:
            habits.blank_200 -= 1
            return web.Response(status=200, content_type="application/dicom+json")
        headers = {}
        remaining = len(rows) - start - len(page) + habits.announces_too_many
        if habits.warns and page and remaining > 0:
            headers["Warning"] = f"299 here: There are {remaining} additional results that can be requested"
        if not page:
            return web.Response(status=204) if habits.empty_is_204 else web.json_response([])
        body: Any = page[0] if habits.lone_object and len(page) == 1 else page
        return web.json_response(body, headers=headers, content_type="application/dicom+json")

    def _rows(self, path: str, query: dict[str, str]) -> list[Row]:
        parts = path.split("/")
        level = parts[-1]
        within = dict(zip(parts[:-1:2], parts[1:-1:2], strict=True))
        found: dict[tuple[str, ...], Row] = {}
        for one in self.instances:
            if within.get("studies", one.study) != one.study or within.get("series", one.series) != one.series:
                continue
            made = self._row(one, level)
            keys = {"studies": (one.study,), "series": (one.study, one.series)}.get(level, (one.study, one.sop))
            if keys not in found and self._passes(made, query):
                found[keys] = made
        shown = [
            {tag: value for tag, value in made.items() if tag not in {TAGS[name] for name in self.habits.hidden}}
            for made in found.values()
        ]
        return copy.deepcopy(shown)

    def _row(self, one: Instance, level: str) -> Row:
        study = [other for other in self.instances if other.study == one.study]
        attributes: dict[str, Any] = {"StudyInstanceUID": one.study}
        if level == "studies":
            attributes |= {"PatientID": one.patient, "PatientName": {"Alphabetic": "Doe^J"}, "StudyDate": one.date}
            attributes["ModalitiesInStudy"] = sorted({other.modality for other in study})
            if self.habits.counts:
                attributes["NumberOfStudyRelatedSeries"] = len({other.series for other in study})
            return row(**attributes)
        attributes |= {"SeriesInstanceUID": one.series, "Modality": one.modality}
        if level == "series":
            attributes["SeriesDescription"] = f"series {one.series}"
            if self.habits.counts:
                same = [other for other in study if other.series == one.series]
                attributes["NumberOfSeriesRelatedInstances"] = len(same)
            return row(**attributes)
        return row(**attributes, SOPInstanceUID=one.sop, InstanceNumber=one.number)

    def _passes(self, made: Row, query: dict[str, str]) -> bool:
        for name, wanted in query.items():
            if name in self.habits.ignored:
                continue
            found = [str(value) for value in made[TAGS[name]].get("Value", [])]
            first, dash, last = wanted.partition("-")
            if name == "StudyDate" and dash:
                if not (first or "0") <= found[0] <= (last or "9"):
                    return False
            elif wanted.endswith("*"):
                if not any(value.startswith(wanted[:-1]) for value in found):
                    return False
            elif wanted not in found:
                return False
        return True


@asynccontextmanager
async def serve_qido(instances: list[Instance], habits: Habits | None = None) -> AsyncIterator[QidoServer]:
    """Serve `instances` until the block is left."""
    server = QidoServer("", habits or Habits(), instances)
    app = web.Application()
    app.router.add_get("/rs/{path:.*}", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        server.url = f"http://{host}:{port}/rs"
        yield server
    finally:
        await runner.cleanup()


def profile(
    *,
    page: int = 100,
    max_offset: int | None = None,
    available: bool = True,
    wildcards: bool = True,
    attempts: int | None = None,
) -> Profile:
    """A generic profile with these ways of searching."""
    made = built_in("generic").model_dump()
    made["search"] |= {
        "page": {"studies": page, "series": page, "instances": page},
        "max_offset": max_offset,
        "available": available,
        "wildcards": wildcards,
    }
    if attempts is not None:
        made["limits"]["attempts"] = attempts
    return Profile.model_validate(made)


@asynccontextmanager
async def open_search_host(url: str, searched: Profile) -> AsyncIterator[Host]:
    """A real host for `url`, as the planner opens one."""
    endpoint = Endpoint(url, searched, max_connections=8)
    async with open_host(
        endpoint, NoCredentials(), clock=SystemClock(), observer=lambda _: None, tally=Tally()
    ) as host:
        yield host
