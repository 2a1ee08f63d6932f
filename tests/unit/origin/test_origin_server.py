"""The origin over HTTP: each style's framing byte by byte, what it refuses, and each fault as a client meets it."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from io import BytesIO
from urllib.parse import urlsplit

import aiohttp
import pytest
import trustme
from pydicom import dcmread

from dicomhaul.model import Series, SeriesUID, StudyUID
from dicomhaul.origin import MIXED, STYLES, Catalog, Origin, Rule, Script, Style, serve, synthetic_catalog
from dicomhaul.origin.faults import Action, Cut, Part, Stall, Status, Truncate
from dicomhaul.origin.style import AZURE, DCM4CHEE, GOOGLE, ORTHANC, STRICT
from support.origin_process import fetch_journal, origin_thread

pytestmark = pytest.mark.anyio
STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
SERIES = "/studies/1.2/series/1.2.1"
ALL_STYLES = pytest.mark.parametrize("style", STYLES.values(), ids=STYLES)


def make_catalog(syntaxes: tuple[str, ...] = MIXED) -> Catalog:
    rows = [
        Series(StudyUID("1.2"), SeriesUID("1.2.1"), modality="MR", expected=5, size_bytes=45_000),
        Series(StudyUID("1.2"), SeriesUID("1.2.2"), modality="SR", expected=1),
        Series(StudyUID("1.3"), SeriesUID("1.3.1"), modality="CT", expected=2, size_bytes=600_000),
    ]
    return synthetic_catalog(rows, syntaxes=syntaxes)


@dataclass
class Answer:
    """A raw HTTP answer, its body as it came on the wire, up to the end of the connection."""

    status: int
    headers: dict[str, str]
    body: bytes


@asynccontextmanager
async def running(style: Style = ORTHANC, *actions: Action, catalog: Catalog | None = None) -> AsyncIterator[Origin]:
    script = Script([Rule(action=action, most=1) for action in actions])
    async with serve(catalog or make_catalog(), style=style, faults=script) as origin:
        yield origin


async def ask(
    origin: Origin, path: str, accept: str = STORED, method: str = "GET", extra: str = "Connection: close\r\n"
) -> Answer:
    """Ask with a connection of our own and read to its end."""
    parts = urlsplit(origin.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    head = f"{method} {parts.path}{path} HTTP/1.1\r\nHost: here\r\nAccept: {accept}\r\n{extra}\r\n"
    writer.write(head.encode())
    try:
        whole = await reader.read()
    finally:
        writer.close()
    lines, _, body = whole.partition(b"\r\n\r\n")
    status, *fields = lines.decode().split("\r\n")
    headers = dict(field.split(": ", 1) for field in fields)
    return Answer(int(status.split(" ")[1]), headers, body)


def unchunk(body: bytes) -> tuple[bytes, bool]:
    """Return the content of a chunked body, and whether its last chunk came."""
    content = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        if int(size, 16) == 0:
            return content, True
        content, body = content + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return content, False


def content_of(answer: Answer) -> tuple[bytes, bool]:
    """Return the body and whether HTTP says that it is whole; a close-delimited one always is."""
    if answer.headers.get("Transfer-Encoding") == "chunked":
        return unchunk(answer.body)
    return answer.body, int(answer.headers.get("Content-Length", len(answer.body))) == len(answer.body)


def split(answer: Answer) -> tuple[list[tuple[str, bytes]], bytes]:
    """Cut a multipart body into (headers, content) and what follows the closing delimiter."""
    body, _ = content_of(answer)
    found = re.search(r'boundary="?([^";]+)', answer.headers["Content-Type"])
    assert found is not None
    delimiter = f"--{found[1]}".encode()
    first, *parts = body.split(delimiter)
    assert first == b""
    assert parts[-1].startswith(b"--")
    pairs = []
    for part in parts[:-1]:
        headers, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        assert content.endswith(b"\r\n")
        pairs.append((headers.decode(), content[:-2]))
    return pairs, parts[-1]


async def stored(origin: Origin, path: str = SERIES) -> list[bytes]:
    _, study, *rest = path.strip("/").split("/")
    series, sop = (rest + [""] * 4)[1::2][:2]
    found = origin.catalog.select(study, series or None, sop or None)
    return [b"".join([chunk async for chunk in one.chunks()]) for one in found]


@ALL_STYLES
@pytest.mark.parametrize("path", ["/studies/1.2", SERIES, "/studies/1.2/series/1.2.2", "/studies/1.3"])
async def test_every_style_sends_the_stored_bytes(style: Style, path: str) -> None:
    async with running(style) as origin:
        answer = await ask(origin, path)
        parts, end = split(answer)
        assert [content for _, content in parts] == await stored(origin, path)
        assert content_of(answer)[1]
        assert end == b"--" + style.closing
        entry = origin.requests[0]
        assert (entry.path, entry.level, entry.status, entry.parts) == (
            path,
            "study" if path.count("/") == 2 else "series",
            200,
            len(parts),
        )
        assert entry.done
        assert entry.body_bytes == len(content_of(answer)[0])


async def test_orthanc_ends_with_the_connection_unless_there_is_only_one_part() -> None:
    async with running(ORTHANC) as origin:
        many, one = await ask(origin, SERIES, extra=""), await ask(origin, "/studies/1.2/series/1.2.2")
    assert {"Content-Length", "Transfer-Encoding"}.isdisjoint(many.headers)
    assert many.headers["Connection"] == "close"
    assert re.fullmatch(
        r'multipart/related; type="application/dicom"; boundary=[0-9a-f]{70}', many.headers["Content-Type"]
    )
    headers, content = split(many)[0][0]
    assert headers.split("\r\n") == [
        "Content-Type: application/dicom",
        f"Content-Length: {len(content)}",
        "MIME-Version: 1.0",
    ]
    assert int(one.headers["Content-Length"]) == len(one.body)


@pytest.mark.parametrize(
    ("style", "content_type", "part_headers"),
    [
        (AZURE, r"multipart/related; boundary=\w{32}", r"Content-Type: application/dicom; transfer-syntax=[\d.]+"),
        (
            DCM4CHEE,
            (
                r'multipart/related;start="<\w+@resteasy-multipart>";transfer-syntax=1\.2\.840\.10008\.1\.2\.1;'
                r'type="application/dicom"; boundary=\w{32}'
            ),
            r"Content-ID: <0@resteasy-multipart>\r\nContent-Type: application/dicom;transfer-syntax=[\d.]+",
        ),
        (
            GOOGLE,
            r'multipart/related; boundary=\w{60}; transfer-syntax=\*; type="application/dicom"',
            r"Content-Type: application/dicom; transfer-syntax=[\d.]+",
        ),
        (
            STRICT,
            r'multipart/related; type="application/dicom"; boundary="\w{32}"',
            r"Content-Type: application/dicom",
        ),
    ],
)
async def test_the_others_chunk_and_state_no_part_length(style: Style, content_type: str, part_headers: str) -> None:
    async with running(style) as origin:
        answer = await ask(origin, SERIES)
    assert answer.headers["Transfer-Encoding"] == "chunked"
    assert "Content-Length" not in answer.headers
    assert re.fullmatch(content_type, answer.headers["Content-Type"])
    parts, end = split(answer)
    assert re.fullmatch(part_headers, parts[0][0])
    assert end == (b"--" if style is DCM4CHEE else b"--\r\n")


async def test_one_instance_comes_alone_where_the_style_has_that() -> None:
    async with running(AZURE) as origin:
        sop = next(iter(origin.catalog.select("1.2", "1.2.1", None))).sop
        answer = await ask(origin, f"{SERIES}/instances/{sop}", "application/dicom; transfer-syntax=*")
        assert [content_of(answer)[0]] == await stored(origin, f"{SERIES}/instances/{sop}")
    assert answer.headers["Content-Type"].startswith("application/dicom; transfer-syntax=1.2.840.")


@ALL_STYLES
async def test_what_every_server_refuses(style: Style) -> None:
    async with running(style) as origin:
        statuses = [
            (await ask(origin, path, accept, method)).status
            for path, accept, method in (
                ("/studies/9", STORED, "GET"),
                ("/studies/1.2/series/1.3.1", STORED, "GET"),
                ("/studies/1.2/metadata/9", STORED, "GET"),
                ("/studies/9/metadata", "*/*", "GET"),
                ("/nothing", STORED, "GET"),
                ("/studies?Bogus=1", "*/*", "GET"),
                ("/studies", "*/*", "DELETE"),
                (SERIES, "text/html", "GET"),
                (SERIES, 'multipart/related; type="application/dicom"', "GET"),  # some are stored in other syntaxes
            )
        ]
        gone = style.missing
        assert statuses == [gone, gone, 404, gone, 404, 400, 405, style.refused, style.refused]
        assert [entry.status for entry in origin.requests] == statuses


@ALL_STYLES
async def test_searches(style: Style) -> None:
    async with running(style) as origin, aiohttp.ClientSession() as session:
        async with session.get(f"{origin.url}/studies/1.2/series") as response:
            assert response.content_type == "application/dicom+json"
            found = await response.json(content_type=None)
        assert [one["0020000E"]["Value"] for one in found] == [["1.2.1"], ["1.2.2"]]
        assert ("00201209" in found[0]) == style.counts
        async with session.get(f"{origin.url}/studies", params={"PatientID": "nobody"}) as response:
            assert (response.status, await response.read()) == (style.empty, b"[]" if style.empty == 200 else b"")
        async with session.get(f"{origin.url}/series") as response:
            assert response.status == (404 if style is STRICT else 200)
        async with session.get(f"{origin.url}{SERIES}/instances") as response:
            assert len(await response.json(content_type=None)) == 5
        assert origin.requests[1].query == "PatientID=nobody"


async def test_a_page_that_is_not_the_last_is_announced_by_dcm4chee_alone() -> None:
    for style, expected in ((DCM4CHEE, "There are 3 additional results"), (ORTHANC, "")):
        async with running(replace(style, page_max=2)) as origin:
            answer = await ask(origin, f"{SERIES}/instances", "application/dicom+json")
        assert expected in answer.headers.get("Warning", "")


async def test_shifting_pages_overlap() -> None:
    async with running(replace(ORTHANC, paging="shifting")) as origin, aiohttp.ClientSession() as session:
        pages = []
        for offset in (0, 2):
            async with session.get(f"{origin.url}{SERIES}/instances?limit=2&offset={offset}") as response:
                pages.append([one["00080018"]["Value"][0] for one in await response.json(content_type=None)])
    assert pages[1][0] == pages[0][1]


async def test_metadata_of_a_series() -> None:
    async with running() as origin, aiohttp.ClientSession() as session:
        async with session.get(f"{origin.url}{SERIES}/metadata") as response:
            metadata = await response.json(content_type=None)
        expected = [one.sop for one in origin.catalog.select("1.2", "1.2.1", None)]
    assert [one["00080018"]["Value"][0] for one in metadata] == expected


async def test_a_credential_can_be_demanded_and_is_not_kept() -> None:
    close = "Connection: close\r\n"
    async with serve(make_catalog(), authorization="Bearer right") as origin:
        answers = [
            await ask(origin, SERIES, extra=extra) for extra in (close, close + "Authorization: Bearer right\r\n")
        ]
    assert [answer.status for answer in answers] == [401, 200]
    assert answers[0].headers["WWW-Authenticate"].startswith("Basic")
    assert [entry.authorized for entry in origin.requests] == [False, True]
    assert "right" not in repr(origin.requests)


async def test_tls() -> None:
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    async with serve(make_catalog(), tls=server) as origin, aiohttp.ClientSession() as session:
        assert origin.url.startswith("https://127.0.0.1:")
        async with session.get(f"{origin.url}/studies", ssl=client) as response:
            assert response.status == 200


async def test_a_status_with_headers_and_a_page_for_people() -> None:
    busy = Status(status=429, headers={"Retry-After": "7"}, body="slower")
    portal = Status(status=200, body="<html>please log in</html>")
    async with running(ORTHANC, busy, portal) as origin:
        first, second, third = [await ask(origin, SERIES) for _ in range(3)]
    assert (first.status, first.headers["Retry-After"], first.body) == (429, "7", b"slower")
    assert (second.status, second.headers["Content-Type"]) == (200, "text/html")
    assert third.status == 200
    assert [entry.fault for entry in origin.requests] == ["status", "status", ""]


@pytest.mark.parametrize("style", [ORTHANC, STRICT], ids=["orthanc", "strict"])
@pytest.mark.parametrize("after_bytes", [0, 1, 9_999, 30_000])
async def test_a_cut_connection(style: Style, after_bytes: int) -> None:
    async with running(style, Cut(after_bytes=after_bytes)) as origin:
        answer = await ask(origin, SERIES)
        body, is_whole = content_of(answer)
        assert (answer.status, len(body)) == (200, after_bytes)
        assert is_whole == (style is ORTHANC)  # a close-delimited answer hides that it was cut
        assert origin.requests[0].body_bytes == after_bytes
        assert len(split(await ask(origin, SERIES))[0]) == 5


async def test_a_fault_beyond_the_end_of_an_answer_is_none() -> None:
    single = "application/dicom; transfer-syntax=*"
    beyond = Cut(after_bytes=10_000_000)
    async with running(STRICT, beyond, beyond, Cut(after_bytes=1_000)) as origin:
        sop = next(iter(origin.catalog.select("1.2", "1.2.1", None))).sop
        assert content_of(await ask(origin, SERIES))[1]
        assert content_of(await ask(origin, f"{SERIES}/instances/{sop}", single))[1]
        await ask(origin, SERIES)
    assert [entry.fault for entry in origin.requests] == ["", "", "cut"]


async def test_a_reset_and_a_connection_that_ends_before_its_answer() -> None:
    async with running(ORTHANC, Cut(after_bytes=30_000, reset=True), Cut(), Cut(reset=True)) as origin:
        with pytest.raises(ConnectionResetError):
            await ask(origin, SERIES)
        async with aiohttp.ClientSession() as session:
            for _ in range(2):
                # A POST, because aiohttp asks again by itself where that is harmless.
                with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
                    await session.post(origin.url + SERIES)
        assert [entry.fault for entry in origin.requests] == ["cut", "cut", "cut"]


@pytest.mark.parametrize("after_bytes", [None, 9_999])
async def test_a_stalled_answer_ends_when_its_client_leaves_or_the_origin_stops(after_bytes: int | None) -> None:
    async with running(ORTHANC, Stall(after_bytes=after_bytes)) as origin:
        parts = urlsplit(origin.url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        writer.write(f"GET {parts.path}{SERIES} HTTP/1.1\r\nHost: here\r\nAccept: {STORED}\r\n\r\n".encode())
        if after_bytes is not None:
            await reader.readuntil(b"\r\n\r\n")
            assert len(await reader.readexactly(after_bytes)) == after_bytes
        assert (await ask(origin, SERIES)).status == 200
        assert [entry.done for entry in origin.requests] == [False, True]
    assert await reader.read() == b""
    writer.close()


@ALL_STYLES
@pytest.mark.parametrize("after_bytes", [None, 20_000])
async def test_a_truncated_answer_is_whole_for_http(style: Style, after_bytes: int | None) -> None:
    async with running(style, Truncate(after_bytes=after_bytes)) as origin:
        cut, whole = await ask(origin, SERIES), await ask(origin, SERIES)
    body, is_whole = content_of(cut)
    assert is_whole
    if after_bytes is None:
        assert body.endswith(b"\r\n")
        assert b"--\r\n" not in body[-80:]
        assert len(body) == len(content_of(whole)[0]) - style.boundary_chars - 4 - len(style.closing)
    else:
        assert len(body) == after_bytes


async def test_spoiled_parts() -> None:
    wrongs: list[Part] = [
        Part(wrong="omit", index=1),
        Part(wrong="duplicate", index=1),
        Part(wrong="foreign", index=1),
        Part(wrong="text", index=1),
        Part(wrong="evil_uid", index=1),
        Part(wrong="cut", index=1),
        Part(wrong="length", index=-1),
        Part(wrong="length_over", index=-1),
        Part(wrong="omit", index=99),
    ]
    catalog = make_catalog(syntaxes=("1.2.840.10008.1.2.1",))
    async with running(ORTHANC, *wrongs, catalog=catalog) as origin:
        good = await stored(origin)
        answers = [split(await ask(origin, SERIES))[0] for _ in wrongs]
        foreign = (await stored(origin, "/studies/1.2/series/1.2.2"))[0]
    contents = [[content for _, content in parts] for parts in answers]
    assert contents[0] == [good[0], *good[2:]]
    assert contents[1] == [good[0], good[1], *good[1:]]
    assert contents[2] == [good[0], foreign, *good[2:]]
    assert b"DICM" not in contents[3][1]
    with pytest.warns(UserWarning, match="Invalid value for VR UI"):
        assert str(dcmread(BytesIO(contents[4][1])).SOPInstanceUID).startswith("../")
    assert contents[5] == [good[0], good[1][: len(good[1]) // 2], *good[2:]]
    for number, wrong_by in ((6, -1), (7, 1)):
        assert contents[number] == good
        assert f"Content-Length: {len(good[-1]) + wrong_by}" in answers[number][-1][0]
    assert contents[8] == good


async def test_an_answer_without_any_part() -> None:
    async with running(ORTHANC, Part(wrong="omit")) as origin:
        answer = await ask(origin, "/studies/1.2/series/1.2.2")
    assert split(answer)[0] == []
    assert int(answer.headers["Content-Length"]) == len(answer.body)


def test_an_origin_in_a_thread_tells_its_journal_over_http() -> None:
    with origin_thread(make_catalog(), style="strict", rules=[Rule(action=Status(status=503))]) as origin:
        assert fetch_journal(origin.url) == []
        assert asyncio.run(ask(origin, SERIES)).status == 503
        (entry,) = fetch_journal(origin.url)
    assert (entry["path"], entry["status"], entry["fault"], entry["accept"]) == (SERIES, 503, "status", STORED)


def test_a_thread_that_cannot_start_says_why() -> None:
    with pytest.raises(KeyError, match="nobody"), origin_thread(make_catalog(), style="nobody"):
        pass
