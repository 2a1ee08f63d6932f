"""IDC's proxy and its store on Google as the origin plays them: what is counted, refused and cut off."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from dicomhaul.config.source import resolve_sources
from dicomhaul.model import Series, SeriesUID, StudyUID
from dicomhaul.origin import Allowance, Front, IdcOrigins, Rule, Script, Settings, serve_idc, synthetic_holdings
from dicomhaul.origin.faults import Cut, Status
from dicomhaul.origin.holdings import BUCKETS
from dicomhaul.origin.idc import TOKEN, IdcName
from support.idc_origins import idc_thread, write_profiles

pytestmark = pytest.mark.anyio

STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
ME = "127.0.0.1"


def make_rows() -> list[Series]:
    return [
        Series(
            StudyUID("1.2"),
            SeriesUID(f"1.2.{number}"),
            modality="CT",
            revision=f"00000000-0000-4000-8000-00000000000{number}",
            bucket=bucket,
            expected=3,
            size_bytes=36_000,
        )
        for number, bucket in enumerate(BUCKETS)
    ]


@dataclass
class Answer:
    status: int
    content_type: str
    headers: Any
    body: bytes


async def ask(origin: Front, path: str, **headers: str) -> Answer:
    async with (
        aiohttp.ClientSession() as session,
        session.get(origin.url + path, headers={"Accept": STORED, **headers}) as response,
    ):
        return Answer(response.status, response.content_type, response.headers, await response.read())


async def usage(origin: Front) -> dict[str, Any]:
    parts = urlsplit(origin.url)
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{parts.scheme}://{parts.netloc}/quota_usage") as response,
    ):
        found: dict[str, Any] = await response.json()
        return found


def series_path(number: int) -> str:
    return f"/studies/1.2/series/1.2.{number}"


@asynccontextmanager
async def running(*, faults: dict[IdcName, Script] | None = None, **settings: Any) -> AsyncIterator[IdcOrigins]:
    async with serve_idc(synthetic_holdings(make_rows()), Settings(**settings), faults=faults) as origins:
        yield origins


async def test_a_request_that_begins_under_the_limit_completes_and_the_next_is_refused() -> None:
    async with running(allowance=Allowance(50_000)) as origins:
        proxy = origins.proxy
        first = await ask(proxy, series_path(0))
        assert first.status == 200
        assert len(first.body) > 30_000
        before = await usage(proxy)
        assert before == {
            "ip": ME,
            "bytes_used": len(first.body),
            "fraction_used": len(first.body) / 50_000,
            "date": before["date"],
        }
        second = await ask(proxy, series_path(1))
        assert (second.status, len(second.body)) == (200, len(first.body))
        refused = await ask(proxy, series_path(2))
        assert (refused.status, refused.content_type) == (429, "text/html")
        assert b"midnight UTC" in refused.body
        assert "Retry-After" not in refused.headers
        assert (await ask(proxy, "/studies")).status == 429
        after = await usage(proxy)
    assert after["bytes_used"] == len(first.body) * 2  # a refusal is not counted
    assert after["fraction_used"] > 1
    assert [entry.charged_bytes for entry in proxy.requests if entry.level == "series"] == [len(first.body)] * 2 + [0]
    assert [entry.level for entry in proxy.requests].count("usage") == 2


async def test_exactly_the_limit_is_not_over_it() -> None:
    async with running(allowance=Allowance(1_000, used={ME: 1_000})) as origins:
        assert (await ask(origins.proxy, series_path(0))).status == 200
    async with running(allowance=Allowance(1_000, used={ME: 1_001})) as origins:
        assert (await ask(origins.proxy, series_path(0))).status == 429


async def test_searches_and_metadata_are_counted_and_what_was_cut_is_counted_as_far_as_it_came() -> None:
    allowance = Allowance(10_000_000)
    faults: dict[IdcName, Script] = {"proxy": Script([Rule(action=Cut(after_bytes=5_000), level="series")])}
    async with running(allowance=allowance, faults=faults) as origins:
        found = await ask(origins.proxy, "/studies")
        metadata = await ask(origins.proxy, series_path(0) + "/metadata")
        assert allowance.used(ME) == len(found.body) + len(metadata.body)
        with pytest.raises(aiohttp.ClientPayloadError):
            await ask(origins.proxy, series_path(0))
        assert allowance.used(ME) == len(found.body) + len(metadata.body) + 5_000


async def test_another_day_begins_at_nothing() -> None:
    day = "2026-01-01"
    allowance = Allowance(1_000, used={ME: 5_000, "10.0.0.1": 7}, today=lambda: day)
    assert (allowance.is_over(ME), allowance.is_over("10.0.0.1"), allowance.used("10.0.0.1")) == (True, False, 7)
    day = "2026-01-02"
    assert (allowance.is_over(ME), allowance.used(ME)) == (False, 0)


async def test_an_answer_over_the_limit_of_app_engine_is_an_empty_500() -> None:
    allowance = Allowance(10_000_000)
    async with running(allowance=allowance, response_bytes=25_000) as origins:
        whole = await ask(origins.proxy, series_path(0))
        assert (whole.status, whole.body) == (500, b"")
        charged = origins.proxy.requests[0].charged_bytes
        assert charged > 30_000  # yielded, and thrown away on the way
        assert allowance.used(ME) == charged
        (sop, *_) = [one.sop for one in origins.proxy.catalog.select("1.2", "1.2.0", None)]
        assert (await ask(origins.proxy, f"{series_path(0)}/instances/{sop}")).status == 200


async def test_googles_own_429_arrives_as_500() -> None:
    faults: dict[IdcName, Script] = {"proxy": Script([Rule(action=Status(status=500), level="series", every=2)])}
    allowance = Allowance(10_000_000)
    async with running(faults=faults, allowance=allowance) as origins:
        answers = [await ask(origins.proxy, series_path(0)) for _ in range(4)]
    assert [(answer.status, not answer.body) for answer in answers] == [(200, False), (500, True)] * 2
    assert allowance.used(ME) == sum(len(answer.body) for answer in answers)


async def test_a_client_on_the_deny_list_and_a_path_without_its_decoration() -> None:
    async with running(allowance=Allowance(1_000, denied=frozenset({ME}))) as origins:
        denied = await ask(origins.proxy, series_path(0))
        assert (denied.status, denied.body) == (403, b"")
        plain = origins.proxy.url.replace("/viewer-only-no-downloads-see-tinyurl-dot-com-slash-3j3d9jyp", "")
        async with aiohttp.ClientSession() as session, session.get(plain + series_path(0)) as response:
            assert response.status == 404
    assert len(origins.proxy.requests) == 1


async def test_the_store_on_google_wants_a_token_and_tells_nobody_what_is_absent() -> None:
    async with running() as origins:
        right = {"Authorization": f"Bearer {TOKEN}"}
        statuses = [
            (await ask(origins.google, path, **headers)).status
            for path, headers in (
                (series_path(0), {}),
                (series_path(0), {"Authorization": "Bearer wrong"}),
                (series_path(0), right),
                (series_path(1), right),  # in another bucket
                (series_path(2), right),
                ("/studies/9", right),
            )
        ]
    assert statuses == [401, 401, 200, 403, 403, 403]


async def test_all_four_give_the_same_instances(tmp_path: Path) -> None:
    async with running() as origins:
        held = {
            name: sum(len(one) for one in catalog.series())
            for name, catalog in (("proxy", origins.proxy.catalog), ("google", origins.google.catalog))
        }
        listed = [
            (await ask(origin, f"/{bucket}/?list-type=2")).body.count(b"<Key>")
            for origin, names in (
                (origins.bucket, BUCKETS),
                (origins.gcs, ("idc-open-data", "idc-open-cr", "idc-open-idc1")),
            )
            for bucket in names
        ]
    assert held == {"proxy": 9, "google": 3}
    assert listed == [3] * 6


def test_profiles_that_a_user_could_have_written(tmp_path: Path) -> None:
    with idc_thread(synthetic_holdings(make_rows())) as origins:
        profiles = write_profiles(tmp_path, origins, {"proxy": "[limits]\nconcurrency_max = 1\nconcurrency_start = 1"})
        sources = resolve_sources(profiles.source("bucket", "gcs", "proxy", "google"))
        urls = [origin.url for origin in origins.by_name().values()]
    assert [spec.name for spec in sources.specs] == ["local-bucket", "local-gcs", "local-proxy", "local-google"]
    assert list(sources.base_urls) == urls
    bucket, gcs, proxy, google = (spec.profile for spec in sources.specs)
    assert (bucket.kind, gcs.kind, gcs.bucket.names["idc-open-data-cr"]) == ("bucket", "bucket", "idc-open-cr")
    assert (proxy.quota.usage_path, proxy.status.quota, proxy.limits.concurrency_max) == ("/quota_usage", [429], 1)
    assert (google.auth.kind, google.holds) == ("bearer", ["idc-open-data"])
    assert json.dumps(sources.index) == '"idc"'
