"""Each fault as it is on the wire: read with a bare socket, wrong in just that way and right in every other."""

import asyncio
import gzip
import json
import os
import re
import socket
import ssl
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cache
from io import BytesIO
from urllib.parse import urlsplit

import pytest
from pydicom import dcmread

from dicomhaul.model import Series, SeriesUID, StudyUID
from dicomhaul.origin import (
    STYLES,
    Action,
    BucketOrigin,
    Catalog,
    Certificate,
    Cut,
    Down,
    Expire,
    Flood,
    Front,
    Gzip,
    Holdings,
    Multipart,
    Origin,
    Pages,
    Part,
    Range,
    Raw,
    Redirect,
    Rule,
    Script,
    Slow,
    Stall,
    Status,
    Truncate,
    in_thread,
    make_identity,
    serve,
    serve_bucket,
    stored_holdings,
    synthetic_catalog,
)

SERIES = "/studies/1.2/series/1.2.1"
ONE = "/studies/1.3/series/1.3.1"  # of one instance
COUNT = 4
BOTH_STYLES = pytest.mark.parametrize("style", ["orthanc", "strict"])  # close-delimited, chunked


@cache
def catalog() -> Catalog:
    rows = [
        Series(StudyUID("1.2"), SeriesUID("1.2.1"), modality="MR", expected=COUNT, size_bytes=COUNT * 9_000),
        Series(StudyUID("1.2"), SeriesUID("1.2.2"), modality="MR", expected=1, size_bytes=9_000),
        Series(StudyUID("1.3"), SeriesUID("1.3.1"), modality="CT", expected=1, size_bytes=20_000),
    ]
    return synthetic_catalog(rows)


@cache
def stored(path: str = SERIES) -> list[bytes]:
    async def read() -> list[bytes]:
        _, _, study, _, series = path.split("/")
        return [b"".join([c async for c in one.chunks()]) for one in catalog().select(study, series, None)]

    return asyncio.run(read())


@contextmanager
def origin_with(*actions: Action, style: str = "orthanc") -> Iterator[Origin]:
    """An origin whose n-th request meets the n-th action; those behind meet none."""
    with in_thread(serve(catalog(), style=STYLES[style], faults=script_of(*actions))) as origin:
        yield origin


@contextmanager
def bucket_with(*actions: Action) -> Iterator[tuple[BucketOrigin, list[str]]]:
    holdings: Holdings = stored_holdings(catalog())
    with in_thread(serve_bucket(holdings, faults=script_of(*actions))) as origin:
        yield origin, [f"/idc-open-data/{key}" for key in holdings.keys("idc-open-data", "")]


def script_of(*actions: Action) -> Script:
    return Script([Rule(action=action, times=frozenset({n})) for n, action in enumerate(actions, 1)])


def unchunk(raw: bytes) -> tuple[bytes, bytes, bool]:
    """The content of a chunked body's whole chunks, what follows them, and whether the last of all was there."""
    content = b""
    while True:
        size, mark, more = raw.partition(b"\r\n")
        length = int(size, 16) if mark else -1
        if length < 0 or len(more) < length + 2:
            return content, raw, False
        if length == 0:
            return content, more.removeprefix(b"\r\n"), True
        content, raw = content + more[:length], more[length + 2 :]


@dataclass
class Wire:
    """What came on a connection until it ended."""

    status: int
    headers: dict[str, str]
    raw: bytes  # the body as it came, chunking and all
    was_reset: bool

    @property
    def body(self) -> bytes:
        """The body, which HTTP says is whole."""
        assert not self.was_reset
        if self.headers.get("transfer-encoding") == "chunked":
            content, rest, is_whole = unchunk(self.raw)
            assert (rest, is_whole) == (b"", True)
            return content
        assert int(self.headers.get("content-length", len(self.raw))) == len(self.raw)
        return self.raw


def talk(front: Front, path: str, *lines: str) -> tuple[bytes, bool]:
    """Ask, and return all that came, and whether a RST ended it."""
    parts = urlsplit(front.url)
    head = [f"GET {parts.path}{path} HTTP/1.1", "Host: here", "Accept: */*", "Connection: close", *lines]
    received = b""
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30) as connection:
        connection.sendall("\r\n".join([*head, "", ""]).encode())
        try:
            while chunk := connection.recv(65_536):
                received += chunk
        except ConnectionResetError:
            return received, True
    return received, False


def ask(front: Front, path: str = SERIES, *lines: str) -> Wire:
    received, was_reset = talk(front, path, *lines)
    head, _, raw = received.partition(b"\r\n\r\n")
    status, *fields = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (field.split(": ", 1) for field in fields)}
    return Wire(int(status.split(" ")[1]), headers, raw, was_reset)


def faults_of(front: Front) -> list[str]:
    return [entry.fault for entry in front.requests]


def boundary_of(wire: Wire) -> bytes:
    found = re.search(r'boundary="?([^";]+)', wire.headers["content-type"])
    assert found is not None
    return found[1].encode()


def parts_of(body: bytes, boundary: bytes) -> tuple[bytes, list[tuple[bytes, bytes]], bytes]:
    """Preamble, (headers, content) of the parts, epilogue: of a body that is framed as RFC 2046 wants it."""
    inside, closing, epilogue = (b"\r\n" + body).partition(b"\r\n--" + boundary + b"--")
    assert closing
    preamble, *parts = inside.split(b"\r\n--" + boundary + b"\r\n")
    pairs = []
    for part in parts:
        headers, _, content = (b"\r\n" + part).partition(b"\r\n\r\n")
        pairs.append((headers.removeprefix(b"\r\n"), content))
    return preamble.removeprefix(b"\r\n"), pairs, epilogue


def contents(wire: Wire) -> list[bytes]:
    return [content for _, content in parts_of(wire.body, boundary_of(wire))[1]]


# Instead of an answer.


def test_retry_after() -> None:
    busy = Status(status=429)
    seconds = busy.model_copy(update={"retry_after_s": 7})
    date = busy.model_copy(update={"retry_after_s": 90, "retry_after_as": "date"})
    past = busy.model_copy(update={"retry_after_s": -3600, "retry_after_as": "date"})
    with origin_with(seconds, date, past, busy) as origin:
        now = datetime.now(UTC)
        said = [ask(origin).headers.get("retry-after") for _ in range(4)]
    assert said[0] == "7"
    assert said[3] is None
    later, earlier = (parsedate_to_datetime(each or "") - now for each in said[1:3])
    assert timedelta(seconds=80) < later < timedelta(seconds=150)
    assert timedelta(seconds=-3700) < earlier < timedelta(seconds=-3500)


def test_statuses_with_bodies_of_their_kind() -> None:
    actions = [Status(status=200, body=body) for body in ("<p>log in</p>", '{"Message": "no"}', "busy")]
    with origin_with(*actions, Status(status=500), Status(status=204)) as origin:
        html, error, text, empty, nothing = [ask(origin) for _ in range(5)]
    assert [each.headers["content-type"] for each in (html, error, text)] == [
        "text/html",
        "application/json",
        "text/plain",
    ]
    assert json.loads(error.body) == {"Message": "no"}
    assert (empty.status, empty.body, nothing.status, nothing.raw) == (500, b"", 204, b"")


def test_redirects() -> None:
    away = Redirect(status=301, to="http://other.invalid/dicom")
    chain = Redirect(to="{path}?hop={number}")
    with origin_with(away, Redirect(), chain) as origin:
        answers = [ask(origin, f"{SERIES}?a=b") for _ in range(3)]
        path = urlsplit(origin.url).path + SERIES
    assert [(each.status, each.headers["location"]) for each in answers] == [
        (301, "http://other.invalid/dicom"),
        (302, f"{path}?a=b"),
        (302, f"{path}?hop=3"),
    ]


def test_a_flood() -> None:
    flood = Flood(before='[{"a": ', unit="[", count=200_001, after="end", headers={"X-Is": "flood"})
    with origin_with(flood, Flood(status=503, unit="ab", count=2)) as origin:
        first, second = ask(origin), ask(origin)
        assert origin.requests[0].body_bytes == len(first.body)
    assert first.body == b'[{"a": ' + b"[" * 200_001 + b"end"
    assert (first.headers["content-type"], first.headers["x-is"]) == ("application/json", "flood")
    assert (second.status, second.body) == (503, b"abab")


def test_raw_bytes() -> None:
    begin = "HTTP/1.1 200 OK\r\nX-Long: "
    raw = Raw(before=begin, unit="\xff", count=300_000, after="\r\n\r\n")
    with origin_with(raw, raw.model_copy(update={"end": "reset"})) as origin:
        closed, reset = talk(origin, SERIES), talk(origin, SERIES)
        assert [entry.status for entry in origin.requests] == [0, 0]
    assert closed == (begin.encode() + b"\xff" * 300_000 + b"\r\n\r\n", False)
    assert reset == (closed[0], True)


def test_raw_bytes_that_stall() -> None:
    with origin_with(Raw(before="HTTP/1.1 2", end="stall")) as origin:
        parts = urlsplit(origin.url)
        connection = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30)
        connection.sendall(f"GET {parts.path}{SERIES} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
        assert connection.recv(100) == b"HTTP/1.1 2"
        assert ask(origin, ONE).status == 200
        assert [entry.done for entry in origin.requests] == [False, True]
    assert connection.recv(100) == b""
    connection.close()


def test_a_credential_that_expires() -> None:
    old, new = "Authorization: Bearer old", "Authorization: Bearer new"
    with origin_with(Status(status=503), Expire()) as origin:
        statuses = [ask(origin, SERIES, line).status for line in (old, old, old, new, new, old)]
        statuses += [ask(origin).status]
        assert faults_of(origin) == ["status", "expire", "expire", "", "", "expire", ""]
        assert "old" not in repr(vars(origin))
    assert statuses == [503, 401, 401, 200, 200, 401, 200]


def test_several_credentials_can_be_right() -> None:
    with in_thread(serve(catalog(), authorization=["Bearer a", "Bearer b"])) as origin:
        lines = ["Authorization: Bearer a", "Authorization: Bearer b", "Authorization: Bearer c", "X-Is: nobody"]
        assert [ask(origin, SERIES, line).status for line in lines] == [200, 200, 401, 401]


def test_a_port_that_is_shut_refuses_until_it_opens() -> None:
    with origin_with(Down(for_s=0.2)) as origin:
        parts = urlsplit(origin.url)
        idle = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30)
        assert talk(origin, SERIES) == (b"", True)
        with pytest.raises(ConnectionResetError):
            idle.recv(1)
        idle.close()
        refused = 0
        while True:
            try:
                answer = ask(origin)
                break
            except ConnectionRefusedError:
                refused += 1
        assert refused
        assert answer.status == 200
        assert [(entry.fault, entry.status) for entry in origin.requests] == [("down", 0), ("", 200)]


def test_a_port_that_is_shut_for_good() -> None:
    with origin_with(Down()) as origin:
        assert talk(origin, SERIES) == (b"", True)
        for _ in range(3):
            with pytest.raises(ConnectionRefusedError):
                talk(origin, SERIES)


# A right body, wrongly sent.


@BOTH_STYLES
@pytest.mark.parametrize("reset", [False, True])
def test_a_connection_that_ends_in_the_body(style: str, *, reset: bool) -> None:
    cuts = [Cut(after_bytes=10_001, outer=outer, reset=reset) for outer in ("length", "close", "chunked")]
    with origin_with(*cuts, style=style) as origin:
        length, close, chunked, whole = (ask(origin) for _ in range(4))
        assert faults_of(origin) == ["cut", "cut", "cut", ""]
    assert int(length.headers["content-length"]) == len(whole.body)
    assert len(length.raw) == len(close.raw) == 10_001
    assert {"content-length", "transfer-encoding"}.isdisjoint(close.headers)
    content, rest, is_whole = unchunk(chunked.raw)
    assert (len(content), rest, is_whole) == (10_001, b"", False)
    assert [each.was_reset for each in (length, close, chunked)] == [reset] * 3


def test_a_torn_chunk() -> None:
    with origin_with(Cut(after_bytes=10_001, outer="chunked", torn_chunk=True)) as origin:
        wire = ask(origin)
    content, rest, is_whole = unchunk(wire.raw)
    size, _, begun = rest.partition(b"\r\n")
    assert (int(size, 16), is_whole) == (len(begun) + 1, False)
    assert len(content) + len(begun) == 10_001


def test_places_that_are_drawn_follow_from_the_seed_and_the_path_alone() -> None:
    rule = Rule(action=Cut(within_bytes=1_000_000))

    def places(script: Script, *paths: str) -> list[int | None]:
        struck = [script.strike(path, "series") for path in paths]
        return [each.after_bytes for each in struck if isinstance(each, Cut)]

    first = places(Script([rule], seed=1), "a", "a", "b", "b")
    assert len(set(first)) == 4
    assert all(place is not None and 0 <= place <= 1_000_000 for place in first)
    mixed = places(Script([rule], seed=1), "b", "a", "b", "a")
    assert [mixed[1], mixed[3], mixed[0], mixed[2]] == first
    assert places(Script([rule], seed=2), "a", "a", "b", "b") != first


@pytest.mark.parametrize("path", ["/studies/1.2/series", f"{SERIES}/metadata", "/studies?Bogus=1"])
def test_searches_metadata_and_errors_have_bodies_too(path: str) -> None:
    with origin_with(Cut(after_bytes=7), Truncate(after_bytes=7, outer="length"), Cut(after_bytes=10**9)) as origin:
        cut, short, whole = (ask(origin, path) for _ in range(3))
        assert faults_of(origin) == ["cut", "truncate", ""]
    assert int(cut.headers["content-length"]) == len(whole.body)
    assert cut.raw == short.body == whole.body[:7]
    assert cut.status == whole.status


@BOTH_STYLES
def test_no_closing_delimiter(style: str) -> None:
    with origin_with(Truncate(), Truncate(outer="length"), style=style) as origin:
        open_, stated = ask(origin), ask(origin)
        one, alone = ask(origin, ONE), contents(ask(origin))
    assert one.body.rstrip(b"\r\n").endswith(b"--" + boundary_of(one) + b"--")
    for wire in (open_, stated):
        closed = wire.body + b"--" + boundary_of(wire) + b"--"
        assert [content for _, content in parts_of(closed, boundary_of(wire))[1]] == stored() == alone
    assert "content-length" in stated.headers


def test_a_body_that_drips(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    async def sleep(delay_s: float) -> None:
        waited.append(delay_s)

    monkeypatch.setattr("dicomhaul.origin.outlet.sleep", sleep)
    path = "/studies/1.3/series"
    with origin_with(Slow(), Slow(bytes_per_s=1_000, after_bytes=100), Slow(after_bytes=10**6)) as origin:
        every, later, never = (ask(origin, path).body for _ in range(3))
        assert faults_of(origin) == ["slow", "slow", ""]
    assert every == later == never
    assert waited[: len(every)] == [1.0] * len(every)
    assert waited[len(every) :] == [0.1] * -(-(len(every) - 100) // 100)


def test_compressed_bodies() -> None:
    kinds = ("unasked", "unstated", "stated", "cut")
    with origin_with(*[Gzip.model_validate({"wrong": wrong}) for wrong in kinds], style="strict") as origin:
        answers = dict(zip(kinds, [ask(origin, "/studies/1.3/series") for _ in kinds], strict=True))
        plain = ask(origin, "/studies/1.3/series").body
    assert {wrong: wire.headers.get("content-encoding") for wrong, wire in answers.items()} == {
        "unasked": "gzip",
        "unstated": None,
        "stated": "gzip",
        "cut": "gzip",
    }
    assert gzip.decompress(answers["unasked"].body) == gzip.decompress(answers["unstated"].body) == plain
    assert answers["stated"].body == plain
    with pytest.raises(EOFError):
        gzip.decompress(answers["cut"].body)
    assert plain.startswith(zlib.decompressobj(wbits=31).decompress(answers["cut"].body))


def test_a_compressed_multipart_and_a_bomb() -> None:
    with origin_with(Gzip(), Gzip(pad_bytes=5_000_001)) as origin:
        packed, bomb = ask(origin), ask(origin, "/studies/1.3/series")
    body = gzip.decompress(packed.body)
    assert [content for _, content in parts_of(body, boundary_of(packed))[1]] == stored()
    assert len(bomb.body) < 10_000
    inflated = gzip.decompress(bomb.body)
    assert inflated[:5_000_001].isspace()
    assert inflated[5_000_001:6_000_000].startswith(b"[")
    assert len(json.loads(inflated)) == 1


def test_a_range_that_nobody_asked_for() -> None:
    with origin_with(Range(), Range(wrong="short")) as origin:
        half, whole = ask(origin, "/studies/1.3/series"), ask(origin, "/studies/1.3/series")
        assert faults_of(origin) == ["range", ""]
    size = len(whole.body)
    assert (half.status, half.headers["content-range"]) == (206, f"bytes 0-{size // 2 - 1}/{size}")
    assert half.body == whole.body[: size // 2]


def test_other_ranges_than_were_asked_for() -> None:
    kinds = ("ignored", "shifted", "mislabelled", "short", "unasked")
    with bucket_with(*[Range.model_validate({"wrong": wrong}) for wrong in kinds]) as (origin, keys):
        answers = [ask(origin, keys[0], "Range: bytes=100-199") for _ in kinds]
        content = ask(origin, keys[0]).body
        assert faults_of(origin) == ["range"] * 4 + ["", ""]
    expected = [
        (200, None, content),
        (206, f"bytes 101-200/{len(content)}", content[101:201]),
        (206, f"bytes 100-199/{len(content)}", content[101:201]),
        (206, f"bytes 100-149/{len(content)}", content[100:150]),
        (206, f"bytes 100-199/{len(content)}", content[100:200]),
    ]
    assert [(each.status, each.headers.get("content-range"), each.body) for each in answers] == expected


def test_a_shifted_range_at_the_end_goes_back() -> None:
    with bucket_with(Range(wrong="shifted")) as (origin, keys):
        moved, last = ask(origin, keys[0], "Range: bytes=-10"), ask(origin, keys[0], "Range: bytes=-11")
    assert moved.body == last.body[:-1]


# Wrong content, rightly sent.


@BOTH_STYLES
def test_spoiled_parts(style: str) -> None:
    wrongs = [Part(wrong=wrong, index=1) for wrong in ("twin", "foreign_study", "html", "empty", "flip")]
    with origin_with(*wrongs, Part(wrong="omit", index=9), style=style) as origin:
        twin, foreign, html, empty, flip, none = (contents(ask(origin)) for _ in range(6))
        assert faults_of(origin) == ["part"] * 5 + [""]
        assert [entry.parts for entry in origin.requests] == [5, 4, 4, 4, 4, 4]
    good = stored()
    assert twin == [good[0], good[1], twin[2], *good[2:]]
    assert flip == [good[0], twin[2], *good[2:]]
    assert twin[2] != good[1]
    assert dcmread(BytesIO(twin[2])).SOPInstanceUID == dcmread(BytesIO(good[1])).SOPInstanceUID
    assert foreign == [good[0], stored(ONE)[0], *good[2:]]
    assert html[1].startswith(b"<!DOCTYPE html>")
    assert empty == [good[0], b"", *good[2:]]
    assert none == good


@BOTH_STYLES
def test_part_lengths_are_stated_wrong_in_every_style(style: str) -> None:
    with origin_with(Part(wrong="length", index=2), Part(wrong="length_over", index=2), style=style) as origin:
        answers = [ask(origin), ask(origin)]
    for wire, off_by in zip(answers, (-1, 1), strict=True):
        heads = [head for head, _ in parts_of(wire.body, boundary_of(wire))[1]]
        stated = [re.search(rb"Content-Length: (\d+)", head) for head in heads]
        assert stated[2] is not None
        assert int(stated[2][1]) == len(stored()[2]) + off_by
        others = [each and int(each[1]) for n, each in enumerate(stated) if n != 2]
        assert others == ([len(stored()[n]) for n in (0, 1, 3)] if style == "orthanc" else [None] * 3)
        assert contents(wire) == stored()


@BOTH_STYLES
def test_too_few_parts(style: str) -> None:
    faults = [Multipart(wrong="closed_early", count=count) for count in (0, 2, 9)]
    with origin_with(*faults, Multipart(wrong="closed_within", count=2), style=style) as origin:
        none, two, all_, within = (ask(origin) for _ in range(4))
        assert faults_of(origin) == ["multipart", "multipart", "", "multipart"]
    assert none.body.rstrip(b"\r\n") == b"--" + boundary_of(none) + b"--"
    assert contents(two) == stored()[:2]
    assert contents(all_) == stored()
    boundary = boundary_of(within)
    _, before, after = parts_of(within.body, boundary)
    assert [content for _, content in before] == stored()[:2]
    _, behind, _ = parts_of(after.removeprefix(b"\r\n"), boundary)
    assert [content for _, content in behind] == stored()[2:]


@pytest.mark.parametrize("style", STYLES)
def test_a_boundary_that_is_another_or_none(style: str) -> None:
    with origin_with(Multipart(wrong="boundary_wrong"), Multipart(wrong="boundary_absent"), style=style) as origin:
        other, absent = ask(origin), ask(origin)
    used = re.match(rb"--(\w+)\r\n", other.body)
    assert used is not None
    assert boundary_of(other) not in other.body
    assert len(boundary_of(other)) == len(used[1])
    assert [content for _, content in parts_of(other.body, used[1])[1]] == stored()
    assert "boundary" not in absent.headers["content-type"]
    assert absent.headers["content-type"].startswith("multipart/related")


@BOTH_STYLES
def test_a_boundary_in_the_payload(style: str) -> None:
    faults = [Multipart(wrong="boundary_inside", count=1), Multipart(wrong="boundary_near", count=1)]
    with origin_with(*faults, style=style) as origin:
        inside, near = ask(origin), ask(origin)
    assert len(contents(inside)) == COUNT + 1
    delimiter = b"\r\n--" + boundary_of(inside) + b"\r\n"
    good, before = stored()[1], contents(inside)[1]
    at = (len(good) - len(delimiter)) // 2
    assert before == good[:at]
    assert before + delimiter + good[at + len(delimiter) :] in inside.body
    spoilt = contents(near)
    assert [spoilt[0], *spoilt[2:]] == [stored()[0], *stored()[2:]]
    assert len(spoilt[1]) == len(good)
    assert b" --" + boundary_of(near) + b"\r\n" in spoilt[1]
    assert b"\r\n--" + boundary_of(near)[:-1] + b"\0" in spoilt[1]
    assert len(dcmread(BytesIO(spoilt[1])).PixelData) == len(dcmread(BytesIO(good)).PixelData)


@BOTH_STYLES
def test_line_feeds_alone(style: str) -> None:
    with origin_with(Multipart(wrong="lf"), style=style) as origin:
        wire = ask(origin)
    boundary = boundary_of(wire)
    first, *parts = (b"\n" + wire.body).split(b"\n--" + boundary)
    assert (first, parts[-1]) == (b"", b"--\n")
    heads, bodies = zip(*(part.split(b"\n\n", 1) for part in parts[:-1]), strict=True)
    assert list(bodies) == stored()
    assert b"\r" not in b"".join(heads)
    assert all(head.startswith(b"\nContent-Type: application/dicom") for head in heads)


@BOTH_STYLES
def test_parts_without_headers(style: str) -> None:
    with origin_with(Multipart(wrong="no_headers"), style=style) as origin:
        wire = ask(origin)
    assert parts_of(wire.body, boundary_of(wire)) == (b"", [(b"", each) for each in stored()], b"\r\n")


@pytest.mark.parametrize("size_bytes", [16, 999, 1_000, 1_001, 1_013, 1_014, 65_536, 100_000])
def test_part_headers_without_an_end(size_bytes: int) -> None:
    many = Multipart(wrong="huge_headers", count=1, size_bytes=size_bytes)
    with origin_with(many, many.model_copy(update={"wrong": "huge_header"})) as origin:
        answers = ask(origin), ask(origin), ask(origin)
        parts = [parts_of(wire.body, boundary_of(wire))[1] for wire in answers]
    plain = parts[2][1][0]
    added = [parts[n][1][0].removeprefix(plain + b"\r\n") + b"\r\n" for n in (0, 1)]
    assert [len(each) for each in added] == [size_bytes] * 2
    assert added[1].count(b"\r\n") == 1
    assert max(map(len, added[0].splitlines(keepends=True))) <= 1_013
    assert all(line.startswith(b"X-Padding: x") for line in added[0].splitlines())
    for each in parts:
        assert [content for _, content in each] == stored()
        assert [head for n, (head, _) in enumerate(each) if n != 1] == [
            head for n, (head, _) in enumerate(parts[2]) if n != 1
        ]


@BOTH_STYLES
def test_junk_before_and_behind(style: str) -> None:
    faults = [Multipart(wrong="preamble", size_bytes=70_001), Multipart(wrong="epilogue", size_bytes=70_001)]
    with origin_with(*faults, style=style) as origin:
        before, behind = ask(origin), ask(origin)
    preamble, parts, _ = parts_of(before.body, boundary_of(before))
    assert (len(preamble), [content for _, content in parts]) == (70_001, stored())
    nothing, parts, epilogue = parts_of(behind.body, boundary_of(behind))
    assert (nothing, [content for _, content in parts], epilogue[:2]) == (b"", stored(), b"\r\n")
    assert len(epilogue) == 70_001 + 2
    assert boundary_of(before) not in preamble


def test_parts_of_nothing() -> None:
    with origin_with(Multipart(wrong="empty_parts", count=5_000)) as origin:
        wire = ask(origin)
    _, parts, _ = parts_of(wire.body, boundary_of(wire))
    assert parts[:5_000] == [(b"", b"")] * 5_000
    assert [content for _, content in parts[5_000:]] == stored()


def test_one_instance_instead_of_multipart() -> None:
    with origin_with(Multipart(wrong="single", count=2), Multipart(wrong="single", count=4)) as origin:
        single, many = ask(origin), ask(origin)
        assert faults_of(origin) == ["multipart", ""]
    assert single.headers["content-type"] == "application/dicom; transfer-syntax=1.2.840.10008.1.2.1"
    assert single.body == stored()[2]
    assert contents(many) == stored()


def test_a_stated_length_is_that_of_the_wrong_framing() -> None:
    faults = [Multipart(wrong="preamble"), Multipart(wrong="huge_headers"), Multipart(wrong="no_headers")]
    with origin_with(*faults) as origin:
        for _ in faults:
            wire = ask(origin, ONE)
            assert int(wire.headers["content-length"]) == len(wire.raw)
            assert contents(wire) == stored(ONE)


def uids(wire: Wire) -> list[str]:
    return [one["00080018"]["Value"][0] for one in json.loads(wire.body)]


def test_pages_of_a_search() -> None:
    path = f"{SERIES}/instances?limit=3&offset=1"
    kinds: list[Action] = [Pages(wrong="cap", most=2), Pages(wrong="shift"), Pages(wrong="skip")]
    with origin_with(*kinds, Pages(wrong="repeat"), Pages(wrong="endless")) as origin:
        answers = [uids(ask(origin, path)) for _ in range(6)]
        assert faults_of(origin) == ["pages"] * 5 + [""]
    *_, endless, honest = answers
    every = [str(dcmread(BytesIO(each)).SOPInstanceUID) for each in stored()]
    assert answers[:4] == [every[1:3], every[:3], every[2:], every[:3]]
    assert honest == every[1:]
    assert len(set(endless)) == 3
    assert not set(endless) & set(every)


def test_a_search_that_never_ends() -> None:
    for wrong, fresh in (("repeat", False), ("endless", True)):
        rule = Rule(action=Pages.model_validate({"wrong": wrong}))
        with in_thread(serve(catalog(), faults=Script([rule]))) as origin:
            pages = [uids(ask(origin, f"{SERIES}/instances?limit=50&offset={50 * n}")) for n in range(3)]
            default = uids(ask(origin, f"{SERIES}/instances"))
        assert [len(page) for page in pages] == [50] * 3
        assert len({uid for page in pages for uid in page}) == (150 if fresh else COUNT)
        assert len(default) == (100 if fresh else COUNT)


def test_pages_cannot_spoil_what_is_no_page() -> None:
    with origin_with(Pages(wrong="cap"), Pages(wrong="shift"), Multipart(wrong="lf"), Part(wrong="omit")) as origin:
        assert contents(ask(origin)) == stored()
        for _ in range(3):
            assert len(json.loads(ask(origin, f"{SERIES}/instances").body)) == COUNT
        assert faults_of(origin) == [""] * 4


# Buckets.


def keys_of(wire: Wire) -> list[str]:
    return re.findall(r"<Key>(.*?)</Key>", wire.body.decode())


def test_pages_of_a_listing() -> None:
    kinds: list[Action] = [Pages(wrong="cap", most=1), Pages(wrong="shift"), Pages(wrong="skip"), Pages(wrong="repeat")]
    with bucket_with(*kinds, Pages(wrong="endless")) as (origin, paths):
        keys = [path.removeprefix("/idc-open-data/") for path in paths]
        listing = f"/idc-open-data/?list-type=2&max-keys=3&start-after={keys[1]}"
        answers = [ask(origin, listing) for _ in range(6)]
        assert faults_of(origin) == ["pages"] * 5 + [""]
        found = [keys_of(each) for each in answers]
    assert found[:4] == [keys[2:3], keys[1:4], keys[3:6], keys[:3]]
    assert found[5] == keys[2:5]
    assert len(set(found[4]) - set(keys)) == 3
    assert [b"<IsTruncated>true" in each.body for each in answers] == [True, True, False, True, True, True]


def test_an_endless_listing_has_ever_new_keys() -> None:
    with bucket_with(Pages(wrong="endless"), Pages(wrong="endless")) as (origin, _):
        first = ask(origin, "/idc-open-data/?list-type=2&max-keys=2&prefix=some/")
        token = re.search(r"<NextContinuationToken>(.*?)<", first.body.decode())
        assert token is not None
        second = ask(origin, f"/idc-open-data/?list-type=2&max-keys=2&prefix=some/&continuation-token={token[1]}")
    found = keys_of(first) + keys_of(second)
    assert found == sorted(set(found))
    assert all(key.startswith("some/") for key in found)


def test_spoiled_objects_and_lengths() -> None:
    actions: list[Action] = [Part(wrong=wrong) for wrong in ("twin", "html", "empty", "length", "length_over")]
    with bucket_with(*actions, Cut(after_bytes=99, outer="chunked"), Multipart(wrong="lf")) as (origin, keys):
        twin, html, empty, short, over, cut, whole = (ask(origin, keys[0]) for _ in range(7))
        assert faults_of(origin) == ["part"] * 5 + ["cut", ""]
    size = len(whole.body)
    assert len(twin.body) == size
    assert twin.body[:-1] == whole.body[:-1]
    assert twin.body[-1] != whole.body[-1]
    assert html.body.startswith(b"<!DOCTYPE")
    assert empty.body == b""
    assert short.body == whole.body[:-1]
    assert (int(over.headers["content-length"]), over.raw) == (size + 1, whole.body)
    assert unchunk(cut.raw) == (whole.body[:99], b"", False)


# TLS.


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        ("good", None),
        ("expired", "certificate has expired"),
        ("not_yet", "certificate is not yet valid"),
        ("other_name", "IP address mismatch"),
        ("untrusted", "unable to get local issuer|self.signed|signature failure"),
    ],
)
def test_certificates(kind: Certificate, complaint: str | None) -> None:
    identity = make_identity(kind)
    client = ssl.create_default_context(cadata=identity.authority_pem)
    with in_thread(serve(catalog(), tls=identity.context)) as origin:
        parts = urlsplit(origin.url)
        assert parts.scheme == "https"
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30) as bare:
            if complaint is None:
                with client.wrap_socket(bare, server_hostname=parts.hostname) as connection:
                    assert connection.version() is not None
            else:
                with pytest.raises(ssl.SSLCertVerificationError, match=complaint):
                    client.wrap_socket(bare, server_hostname=parts.hostname)
        assert origin.requests == []


def test_a_reset_over_tls() -> None:
    identity = make_identity()
    client = ssl.create_default_context(cadata=identity.authority_pem)
    rules = [Rule(action=Cut(after_bytes=10_000, reset=True))]
    with in_thread(serve(catalog(), tls=identity.context, faults=Script(rules))) as origin:
        parts = urlsplit(origin.url)
        with (
            socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30) as bare,
            client.wrap_socket(bare, server_hostname=parts.hostname) as connection,
        ):
            connection.sendall(f"GET {parts.path}{SERIES} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
            # Below TLS, which says of a RST that the connection has ended too early.
            os.set_blocking(connection.fileno(), True)
            size_bytes = 0
            with pytest.raises(ConnectionResetError):  # noqa: PT012 - what came before it counts
                while chunk := os.read(connection.fileno(), 65_536):
                    size_bytes += len(chunk)
    assert 10_000 < size_bytes < 13_000


def test_a_stalled_answer_states_its_length() -> None:
    with origin_with(Stall(after_bytes=500, outer="length")) as origin:
        parts = urlsplit(origin.url)
        connection = socket.create_connection((parts.hostname or "", parts.port or 0), timeout=30)
        connection.sendall(f"GET {parts.path}{SERIES} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
        received = b""
        while len(received.partition(b"\r\n\r\n")[2]) < 500:
            received += connection.recv(65_536)
        head, _, body = received.partition(b"\r\n\r\n")
        stated = re.search(rb"Content-Length: (\d+)", head)
        assert stated is not None
        assert int(stated[1]) > sum(map(len, stored()))
        assert len(body) == 500
        assert origin.requests[0].fault == "stall"
    connection.close()
