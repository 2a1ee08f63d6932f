"""What a status means, profile by profile."""

import pytest

from dicomhaul.errors import (
    Forbidden,
    HaulError,
    NotFound,
    QuotaExhausted,
    RefusedError,
    ServerFailed,
    SourceDown,
    Throttled,
    Unauthorized,
    Unsupported,
)
from dicomhaul.net.verdict import error_for_status
from dicomhaul.profile import built_in

NOW_S = 1_445_412_480.0  # 2015-10-21 07:28:00 UTC
MIDNIGHT_S = 1_445_472_000.0  # 2015-10-22 00:00:00 UTC


def verdict(status: int, profile: str = "generic", headers: dict[str, str] | None = None) -> HaulError:
    return error_for_status(status, headers or {}, built_in(profile), now_s=NOW_S, host="pacs")


@pytest.mark.parametrize(
    ("profile", "status", "kind"),
    [
        ("generic", 408, ServerFailed),
        ("generic", 425, ServerFailed),
        ("generic", 429, Throttled),
        ("generic", 500, ServerFailed),
        ("generic", 501, Unsupported),
        ("generic", 503, ServerFailed),
        ("generic", 400, Unsupported),
        ("generic", 401, Unauthorized),
        ("generic", 403, Forbidden),
        ("generic", 404, NotFound),
        ("generic", 406, Unsupported),
        ("generic", 410, NotFound),
        ("generic", 415, Unsupported),
        ("generic", 407, SourceDown),
        ("generic", 302, Unsupported),
        ("generic", 304, Unsupported),
        ("generic", 418, Unsupported),
        ("generic", 999, Unsupported),
        ("idc-proxy", 429, QuotaExhausted),
        ("idc-proxy", 403, Forbidden),
        ("idc-proxy", 500, ServerFailed),
        ("idc-proxy", 408, Unsupported),
        ("google", 403, Forbidden),
        ("google", 429, Throttled),
        ("azure", 424, SourceDown),
        ("orthanc", 400, Unsupported),
        ("dcm4chee", 410, NotFound),
    ],
)
def test_the_class_is_the_verdict(profile: str, status: int, kind: type[HaulError]) -> None:
    error = verdict(status, profile)
    assert type(error) is kind
    if status != 407:
        assert str(error).startswith(f"pacs answers {status}")


def test_idc_s_proxy_shuts_out_with_an_empty_403() -> None:
    """Google's, relayed, has a body, and speaks of one resource."""
    assert type(verdict(403, "idc-proxy", {"Content-Length": "0"})) is Unauthorized
    assert type(verdict(403, "idc-proxy", {"Content-Length": "180"})) is Forbidden
    assert type(verdict(403, "google", {"Content-Length": "0"})) is Forbidden


def test_the_day_s_quota_ends_at_midnight_utc() -> None:
    error = verdict(429, "idc-proxy")
    assert isinstance(error, QuotaExhausted)
    assert error.until_s == MIDNIGHT_S
    assert str(error).endswith("the day's quota is used up until 2015-10-22 00:00 UTC")


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_carried(status: int) -> None:
    error = verdict(status, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:12 GMT"})
    assert isinstance(error, (Throttled, ServerFailed))
    assert error.retry_after_s == 12.0


def test_a_refusal_carries_its_status() -> None:
    error = verdict(406)
    assert isinstance(error, RefusedError)
    assert error.status == 406
