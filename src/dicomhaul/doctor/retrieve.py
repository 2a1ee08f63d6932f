"""What WADO-RS gives here (PS3.18 section 10.4): which forms, in what framing, in which transfer syntax.

An answer is read whole, within a bound, and then taken apart by the parser that a download uses (`wire`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from dicomhaul.doctor.ask import Answer, Asker
from dicomhaul.doctor.finding import Finding, fail, ok, unknown, warn
from dicomhaul.doctor.search import Place
from dicomhaul.errors import DamagedError
from dicomhaul.profile import MULTIPART_STORED, Profile
from dicomhaul.wire.framing import framing_for
from dicomhaul.wire.media_type import parse_media_type
from dicomhaul.wire.multipart import MultipartParser
from dicomhaul.wire.part10 import Skimmer
from dicomhaul.wire.uri import instance_path, series_path

MULTIPART_PLAIN: Final = 'multipart/related; type="application/dicom"'
SINGLE_STORED: Final = "application/dicom; transfer-syntax=*"
ANYTHING: Final = "*/*"
EXPLICIT_LITTLE: Final = "1.2.840.10008.1.2.1"
_BODY_BYTES: Final = 16 << 20
_OTHER_BYTES: Final = 4 << 20
_SYNTAXES: Final = {
    "1.2.840.10008.1.2": "Implicit VR Little Endian",
    EXPLICIT_LITTLE: "Explicit VR Little Endian",
    "1.2.840.10008.1.2.2": "Explicit VR Big Endian",
    "1.2.840.10008.1.2.4.50": "JPEG Baseline",
    "1.2.840.10008.1.2.4.70": "JPEG Lossless",
    "1.2.840.10008.1.2.4.80": "JPEG-LS Lossless",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 Lossless",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
    "1.2.840.10008.1.2.5": "RLE Lossless",
}


@dataclass(frozen=True, slots=True)
class Look:
    """One answer to a retrieve, taken apart.

    Attributes:
        status: of HTTP.
        kind: how it is framed; "cut": too large to be read to its end, so that nothing else is known.
        parts: instances that came whole.
        syntaxes: their transfer syntaxes, as their own file meta information says.
        size_bytes: of the body.
        problem: what is wrong with it; '' for nothing.
        part_headers: names of the headers of the first part, in lower case.
        quoted: whether the boundary is in quotes; None: not multipart.
        newline_after: whether a line break follows the closing delimiter; None: likewise.
        outer: how HTTP ends the body.
        media_type: what the answer calls itself, without parameters.
    """

    status: int
    kind: str = ""  # multipart, single, cut, other
    parts: int = 0
    syntaxes: tuple[str, ...] = ()
    size_bytes: int = 0
    problem: str = ""
    part_headers: tuple[str, ...] = ()
    quoted: bool | None = None
    newline_after: bool | None = None
    outer: str = ""  # length, chunked, close
    media_type: str = ""

    @property
    def works(self) -> bool:
        """Instances came, and whole."""
        return self.status == 200 and self.parts > 0 and not self.problem


class _Parts:
    """Takes the parts of an answer. Implements `wire.multipart.PartHandler`."""

    def __init__(self) -> None:
        self.syntaxes: list[str] = []
        self.headers: tuple[str, ...] | None = None
        self._skimmer = Skimmer()

    def begin(self, headers: Mapping[str, str]) -> None:
        self._skimmer = Skimmer()
        if self.headers is None:
            self.headers = tuple(name[:40] for name in list(headers)[:8])

    def data(self, view: memoryview) -> None:
        self._skimmer.feed(view)

    def end(self) -> None:
        self.syntaxes.append(self._skimmer.finish().transfer_syntax)


def look_at(answer: Answer) -> Look:
    """Take an answer apart. Never raises: what is wrong with it is a finding."""
    content_type = answer.headers.get("Content-Type")
    media = parse_media_type(content_type)
    outer = outer_framing(answer.headers)
    if not answer.ok or answer.status == 204:
        return Look(answer.status, media_type=media.type[:60], outer=outer)
    if not answer.whole and not answer.broken:
        return Look(answer.status, "cut", size_bytes=len(answer.body), outer=outer, media_type=media.type[:60])
    parts = _Parts()
    problem = answer.broken
    kind = "other"
    quoted = newline_after = None
    try:
        framing = framing_for(content_type, parts)
        kind = "multipart" if isinstance(framing, MultipartParser) else "single"
        framing.feed(answer.body)
        framing.close()
    except DamagedError as error:
        problem = problem or str(error)
    if kind == "multipart":
        quoted = 'boundary="' in (content_type or "").lower().replace(" ", "")
        newline_after = answer.body.endswith(b"\n")
    return Look(
        status=answer.status,
        kind=kind,
        parts=len(parts.syntaxes),
        syntaxes=tuple(dict.fromkeys(syntax[:64] for syntax in parts.syntaxes)),
        size_bytes=len(answer.body),
        problem=problem,
        part_headers=parts.headers or (),
        quoted=quoted,
        newline_after=newline_after,
        outer=outer,
        media_type=media.type[:60],
    )


def outer_framing(headers: Mapping[str, str]) -> str:
    """Say how HTTP ends the body: `chunked`, `length`, or `close` of the connection."""
    if "chunked" in headers.get("Transfer-Encoding", "").lower():
        return "chunked"
    return "length" if "Content-Length" in headers else "close"


@dataclass(slots=True)
class Retrieved:
    """What was seen, as far as it was asked for.

    Attributes:
        instance, series: the Accept header -> what came.
        stored, plain: what came of one instance with `transfer-syntax=*` and without, where that tells most.
        range_status: the answer to a request for a range; None: not asked.
        small: path and Accept header of an instance that came whole; `small_bytes`: the size of that answer.
    """

    instance: dict[str, Look] = field(default_factory=dict)
    series: dict[str, Look] = field(default_factory=dict)
    stored: Look | None = None
    plain: Look | None = None
    range_status: int | None = None
    small: tuple[str, str] | None = None
    small_bytes: int = 0

    @property
    def largest_bytes(self) -> int:
        """The largest answer that came whole."""
        return max(
            (look.size_bytes for look in (*self.instance.values(), *self.series.values()) if look.works), default=0
        )


async def try_forms(asker: Asker, profile: Profile, places: list[Place], seen: Retrieved) -> None:
    """Ask for one instance, and its series, in every form."""
    place = next((place for place in places if place.sops), None)
    if place is None:
        return
    path = instance_path(place.study, place.series, place.sops[0])
    for accept in dict.fromkeys([*profile.accept.instance, MULTIPART_STORED, MULTIPART_PLAIN, SINGLE_STORED, ANYTHING]):
        look = await _look(asker, path, accept)
        seen.instance[accept] = look
        if look.works and (seen.small is None or look.kind == "single"):
            seen.small, seen.small_bytes = (path, accept), look.size_bytes
    several = next((place for place in places if len(place.sops) > 1), place)
    for accept in dict.fromkeys([*profile.accept.series, MULTIPART_STORED]):
        seen.series[accept] = await _look(asker, series_path(several.study, several.series), accept)


async def try_syntaxes(asker: Asker, places: list[Place], seen: Retrieved) -> None:
    """Compare what comes with `transfer-syntax=*` and without, of an instance that is not stored as the default."""
    seen.stored, seen.plain = _of(seen.instance, MULTIPART_STORED), _of(seen.instance, MULTIPART_PLAIN)
    for place in places[1:]:
        if seen.stored is None or not seen.stored.works or seen.stored.syntaxes != (EXPLICIT_LITTLE,):
            return
        if not place.sops:
            continue
        path = instance_path(place.study, place.series, place.sops[0])
        stored = await _look(asker, path, MULTIPART_STORED, _OTHER_BYTES)
        if stored.works and stored.syntaxes != (EXPLICIT_LITTLE,):
            seen.stored, seen.plain = stored, await _look(asker, path, MULTIPART_PLAIN, _OTHER_BYTES)


async def try_range(asker: Asker, seen: Retrieved) -> None:
    """Ask for the first bytes of an instance."""
    if seen.small is not None:
        path, accept = seen.small
        answer = await asker.get(path, accept=accept, headers={"Range": "bytes=0-99"}, limit_bytes=_BODY_BYTES)
        seen.range_status = answer.status


async def _look(asker: Asker, path: str, accept: str, limit_bytes: int = _BODY_BYTES) -> Look:
    return look_at(await asker.get(path, accept=accept, limit_bytes=min(limit_bytes, asker.budget.bytes_left)))


def _of(looks: Mapping[str, Look], accept: str) -> Look | None:
    return looks.get(accept) or looks.get(accept.replace("; ", ";"))


def working_rungs(looks: Mapping[str, Look]) -> list[str]:
    """Return the Accept headers that brought instances, in the order in which they were tried."""
    return [accept for accept, look in looks.items() if look.works]


def judge_retrieve(seen: Retrieved, profile: Profile) -> list[Finding]:
    """Say what a download will meet."""
    if not seen.instance:
        todo = "try again once the server holds an instance that can be found"
        return [unknown("retrieve", "no instance was found to ask for", todo)]
    return [
        *_judge_forms(seen, profile),
        _judge_ladder(seen, profile),
        _judge_syntax(seen),
        _judge_framing(seen),
        _judge_range(seen),
        _judge_limit(seen, profile),
    ]


def _judge_forms(seen: Retrieved, profile: Profile) -> list[Finding]:
    multipart = [look for look in seen.instance.values() if look.kind == "multipart"]
    single = [look for accept, look in seen.instance.items() if accept == SINGLE_STORED]
    if not any(look.works for look in seen.instance.values()):
        looks = list(seen.instance.values())
        if all(look.kind == "cut" for look in looks if look.status == 200) and any(
            look.kind == "cut" for look in looks
        ):
            return [unknown("retrieve", "the instance that was found is too large to be read here")]
        first = looks[0]
        problem = f": {first.problem}" if first.problem else ""
        statuses = ", ".join(str(status) for status in dict.fromkeys(look.status for look in looks))
        role = f"; if it is a matter of rights, the account needs {profile.auth.role}" if profile.auth.role else ""
        todo = f"see the server's log{role}"
        return [fail("retrieve", f"the instance that it lists cannot be had in any form ({statuses}{problem})", todo)]
    found = [
        ok("multipart", "instances come as multipart/related")
        if any(look.works for look in multipart)
        else warn("multipart", "instances do not come as multipart/related", "single-part answers are used")
    ]
    for look in single:
        if look.works and look.kind == "single":
            found.append(ok("single-part", "an instance comes as application/dicom, too"))
        elif look.works:
            found.append(ok("single-part", "asked for application/dicom, it answers multipart; that is accepted"))
        else:
            found.append(
                ok("single-part", f"an instance does not come as application/dicom ({_status(look)}); not needed")
            )
    whole = [look for look in seen.series.values() if look.works]
    if not seen.series:
        found.append(unknown("series", "not asked"))
    elif whole:
        found.append(ok("series", f"a series of {whole[0].parts} instances comes in one answer"))
    else:
        looks = list(seen.series.values())
        cut = any(look.kind == "cut" for look in looks)
        found.append(
            unknown("series", "the series that was found is too large to be read here")
            if cut
            else warn(
                "series", f"a whole series does not come in one answer ({_status(looks[0])})", "instances come singly"
            )
        )
    return found


def _judge_ladder(seen: Retrieved, profile: Profile) -> Finding:
    for name, ladder, looks in (
        ("instance", profile.accept.instance, seen.instance),
        ("series", profile.accept.series, seen.series),
    ):
        working = [number for number, accept in enumerate(ladder, 1) if accept in looks and looks[accept].works]
        tried = [looks[accept] for accept in ladder if accept in looks]
        if not working and (not looks or any(look.kind == "cut" for look in tried)):
            continue
        if not working:
            return fail("accept", f"no rung of accept.{name} in the profile works", "use the proposed profile")
        above = [look.status for look in tried[: working[0] - 1]]
        if any(status not in profile.accept.refused for status in above):
            sentence = f"the first rungs of accept.{name} are refused with {above[0]}, which accept.refused lacks"
            return fail("accept", sentence, "use the proposed profile")
        if working[0] > 1:
            sentence = f"rung {working[0]} of accept.{name} is the first that works"
            return warn("accept", sentence, "the proposed profile saves the refused requests")
    return ok("accept", "the first rungs of the profile's Accept ladders work")


def _judge_syntax(seen: Retrieved) -> Finding:
    stored, plain = seen.stored, seen.plain
    if stored is None or plain is None or not (stored.works or plain.works):
        return unknown("transfer syntax", "not tried, or no multipart answer came")
    if not stored.works:
        return warn(
            "transfer syntax",
            f"transfer-syntax=* is not taken ({_status(stored)}); without it instances come as {_named(plain)}",
            "instances may not be what is stored, but transcoded",
        )
    if not plain.works:
        return ok("transfer syntax", f"transfer-syntax=* brings {_named(stored)}; without it: {_status(plain)}")
    if stored.syntaxes != plain.syntaxes:
        return ok("transfer syntax", f"transfer-syntax=* is honoured: {_named(stored)}; without it {_named(plain)}")
    if stored.syntaxes == (EXPLICIT_LITTLE,):
        return unknown(
            "transfer syntax",
            f"all that was tried comes as {_named(stored)}, with transfer-syntax=* and without, so it cannot be told "
            "whether anything is transcoded",
        )
    return ok("transfer syntax", f"instances come as {_named(stored)}, with transfer-syntax=* and without")


def _judge_framing(seen: Retrieved) -> Finding:
    looks = [
        look for look in (*seen.series.values(), *seen.instance.values()) if look.kind == "multipart" and look.parts
    ]
    if not looks:
        return unknown("framing", "no multipart answer came")
    look = looks[0]
    damaged = [each.problem for each in looks if each.problem]
    said = describe_framing(look)
    if damaged:
        return warn("framing", f"{said}; but: {damaged[0]}", "a download asks such answers for again")
    if look.outer == "close":
        todo = "nothing to do: HTTP would not show a cut, so the closing delimiter is looked for"
        return warn("framing", said, todo)
    return ok("framing", said)


def describe_framing(look: Look) -> str:
    """Say in words how the parts of an answer are framed."""
    has = ", ".join(name.title() for name in look.part_headers) or "no headers"
    ends = {
        "chunked": "the body is chunked",
        "length": "the body has a Content-Length",
        "close": "the body ends when the connection closes",
    }[look.outer]
    counted = "" if "content-length" in look.part_headers else " (no length: delimiters are searched for)"
    quotes = "in quotes" if look.quoted else "without quotes"
    after = "a line break" if look.newline_after else "nothing"
    return f"parts have {has}{counted}; boundary {quotes}; {after} after the closing delimiter; {ends}"


def _judge_range(seen: Retrieved) -> Finding:
    if seen.range_status is None:
        return unknown("ranges", "not asked")
    if seen.range_status == 206:
        return ok("ranges", "a range of an instance can be had (206), which few servers offer")
    if seen.range_status == 200:
        return ok(
            "ranges", "ranges are ignored, as nearly everywhere: an instance that breaks off comes from its beginning"
        )
    return ok("ranges", f"ranges are refused ({seen.range_status}); they are not needed")


def _judge_limit(seen: Retrieved, profile: Profile) -> Finding:
    limit = profile.limits.response_bytes
    tried = f"the largest that was tried here had {seen.largest_bytes:,} bytes"
    if limit is None:
        return unknown("response limit", f"the profile knows of none; {tried}")
    return ok("response limit", f"the profile cuts what is larger than {limit:,} bytes; {tried}")


def _status(look: Look) -> str:
    if look.status != 200:
        return str(look.status)
    return look.problem or f"200 with {look.media_type or 'no type'}"


def _named(look: Look) -> str:
    return ", ".join(_SYNTAXES.get(syntax, syntax or "no transfer syntax") for syntax in look.syntaxes) or "nothing"
