"""Clients that go away in the middle of an answer: nobody's fault, and nothing to print."""

import asyncio
import logging
from urllib.parse import urlsplit

import pytest

from dicomhaul.model import Series, SeriesUID, StudyUID
from dicomhaul.origin import STYLES, serve, synthetic_catalog

pytestmark = pytest.mark.anyio
SERIES = "/studies/1.2/series/1.2.1"


@pytest.mark.parametrize("style", ["orthanc", "strict"])
async def test_a_client_that_goes_away_is_no_error(style: str, caplog: pytest.LogCaptureFixture) -> None:
    row = Series(StudyUID("1.2"), SeriesUID("1.2.1"), modality="CT", expected=20, size_bytes=20_000_000)
    async with serve(synthetic_catalog([row]), style=STYLES[style]) as origin:
        parts = urlsplit(origin.url)
        accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
        for count in range(30):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            writer.write(f"GET {parts.path}{SERIES} HTTP/1.1\r\nHost: here\r\nAccept: {accept}\r\n\r\n".encode())
            await reader.readexactly(1 + 100_000 * count)
            writer.transport.abort()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
