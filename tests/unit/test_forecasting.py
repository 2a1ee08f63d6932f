"""What is known of the routes of a plan, from its sources, the user, and a measurement."""

from datetime import datetime

import pytest

from dicomhaul.config.options import HaulOptions
from dicomhaul.config.rates import parse_timetable
from dicomhaul.config.source import resolve_sources
from dicomhaul.forecasting import Measured, predict
from dicomhaul.plan.estimate import Amount, Summary
from dicomhaul.plan.forecast import Forecast
from dicomhaul.plan.timeline import Quota

MB = 1_000_000
SUMMARY = Summary(
    total=Amount(12, 1_100, 1_100 * MB),
    routes={"idc-bucket": Amount(10, 1_000, 1_000 * MB), "idc-proxy": Amount(2, 100, 100 * MB)},
)
SOURCES = resolve_sources("idc")
NOON_S = 86_400 * 20_000 + 43_200.0


def told(
    summary: Summary = SUMMARY,
    *,
    options: HaulOptions | None = None,
    bytes_per_s: int | None = None,
    measured: Measured | None = None,
    now_s: float = NOON_S,
    utc_offset_s: int = 0,
) -> Forecast:
    return predict(
        summary,
        SOURCES,
        options or HaulOptions(),
        now_s=now_s,
        utc_offset_s=utc_offset_s,
        bytes_per_s=bytes_per_s,
        measured=measured,
    )


def test_a_quota_that_nobody_states_is_named() -> None:
    forecast = told(bytes_per_s=10 * MB)
    assert (forecast.seconds, forecast.quota_days) == (110, 0)
    assert "idc-proxy has a quota that nobody stated: --quota says one, and here it is left out" in forecast.assumptions
    assert "the line carries 10,000,000 bytes a second, as --rate says" in forecast.assumptions


def test_the_user_s_quota_holds_for_the_proxy_alone() -> None:
    forecast = told(options=HaulOptions(quota_bytes=60 * MB), bytes_per_s=10 * MB)
    assert (forecast.seconds, forecast.quota_days) == (43_200 + 4, 2)
    assert len([each for each in forecast.assumptions if "a day (UTC)" in each]) == 1


@pytest.mark.parametrize("by", ["plan", "probe"])
def test_what_the_source_says_of_its_quota_goes_first(by: str) -> None:
    summary, measured = SUMMARY, Measured(rates={"idc-bucket": 10.0 * MB, "idc-proxy": 10.0 * MB}, basis=["measured"])
    if by == "plan":
        summary = Summary(total=SUMMARY.total, routes=SUMMARY.routes, quotas={"idc-proxy": (80 * MB, 30 * MB)})
    else:
        measured.quotas["idc-proxy"] = Quota(80 * MB, 30 * MB)
    forecast = told(summary, options=HaulOptions(quota_bytes=60 * MB), measured=measured)
    assert (forecast.seconds, forecast.quota_days) == (43_200 + 5, 2)
    assert any("80,000,000 bytes a day (UTC), 30,000,000 of them" in each for each in forecast.assumptions)


def test_what_was_measured_of_each_route() -> None:
    measured = Measured(rates={"idc-bucket": 100.0 * MB, "idc-proxy": 10.0 * MB}, basis=["measured"])
    assert told(measured=measured).seconds == 20
    assert told(measured=measured).assumptions[0] == "measured"
    assert told(measured=measured, bytes_per_s=10 * MB).seconds == 110  # the user knows better
    assert told(measured=Measured(rates={"idc-bucket": 100.0 * MB})).seconds is None


def test_sizes_that_nobody_states_are_those_that_were_measured() -> None:
    summary = Summary(total=Amount(2, 10, None), routes={"idc-bucket": Amount(2, 10, None)})
    measured = Measured(rates={"idc-bucket": 100.0}, instance_bytes={"idc-bucket": 50.0})
    forecast = told(summary, measured=measured)
    assert (forecast.seconds, forecast.files) == (5, 10)
    assert any("50 bytes on average" in each for each in forecast.assumptions)
    assert told(summary).seconds is None


def test_what_the_user_limits() -> None:
    slow = HaulOptions(bandwidth=parse_timetable("1Mi"), requests_per_s=0.5)
    assert told(options=slow, bytes_per_s=100 * MB).seconds == pytest.approx(2 * (1_000 + 10 + 2))
    assert told(options=HaulOptions(bandwidth=parse_timetable("1Mi"))).seconds == pytest.approx(1_100 * MB / (1 << 20))


@pytest.mark.parametrize(
    ("clock", "utc_offset_s", "seconds"),
    [
        pytest.param("2026-11-22T14:51", 0, 1_100, id="a Sunday at 14:51 in UTC"),
        pytest.param("2026-11-22T14:51", 5 * 3_600, 11, id="which is an evening elsewhere"),
        pytest.param("2026-11-22T20:00", -5 * 3_600, 1_100, id="or a day"),
        pytest.param("2026-11-23T00:30", -5 * 3_600, 11, id="or Sunday still"),
    ],
)
def test_a_timetable_goes_by_the_clock_on_the_wall(clock: str, utc_offset_s: int, seconds: float) -> None:
    slots = HaulOptions(bandwidth=parse_timetable("Sun-08:00,1MB Sun-19:00,off Mon-00:00,2MB"))
    now_s = datetime.fromisoformat(f"{clock}+00:00").timestamp()
    forecast = told(options=slots, bytes_per_s=100 * MB, now_s=now_s, utc_offset_s=utc_offset_s)
    assert forecast.seconds == pytest.approx(seconds)
