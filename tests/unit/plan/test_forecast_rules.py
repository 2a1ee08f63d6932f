"""What a forecast says of amounts, rates, quotas and limits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomhaul.plan.estimate import Amount
from dicomhaul.plan.forecast import Forecast, Supply, forecast
from dicomhaul.plan.timeline import Quota

MB = 1_000_000
HOUR, DAY = 3_600, 86_400
BUCKET, PROXY = Amount(10, 1_000, 1_000 * MB), Amount(2, 100, 100 * MB)


def predict(routes: dict[str, Amount], supplies: dict[str, Supply], **more: object) -> Forecast:
    return forecast(routes, supplies, **{"day_left_s": 6 * HOUR, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("used", "quota", "days", "seconds"),
    [
        pytest.param(0, 200 * MB, 1, 10, id="it fits into today"),
        pytest.param(0, 100 * MB, 1, 10, id="to the byte"),
        pytest.param(0, 99 * MB, 2, 6 * HOUR + 0.1, id="a little comes tomorrow"),
        pytest.param(50 * MB, 50 * MB, 3, 6 * HOUR + DAY + 5, id="today's is used up"),
        pytest.param(90 * MB, 50 * MB, 3, 6 * HOUR + DAY + 5, id="and more than that"),
        pytest.param(0, 30 * MB, 4, 6 * HOUR + 2 * DAY + 1, id="several days"),
        pytest.param(20 * MB, 30 * MB, 4, 6 * HOUR + 2 * DAY + 3, id="the last one in full"),
    ],
)
def test_a_quota_spreads_over_days(used: int, quota: int, days: int, seconds: float) -> None:
    told = predict({"proxy": PROXY}, {"proxy": Supply(10 * MB, Quota(quota, used))})
    assert told.quota_days == days
    assert told.seconds == pytest.approx(seconds)
    assert any(f"{quota:,} bytes a day" in each and f"{used:,} of them" in each for each in told.assumptions)
    assert any("--wait" in each for each in told.assumptions) is (days > 1)


def test_routes_take_turns_on_one_line() -> None:
    told = predict({"bucket": BUCKET, "proxy": PROXY}, {"bucket": Supply(100 * MB), "proxy": Supply(10 * MB)})
    assert (told.seconds, told.quota_days, told.files) == (20, 0, 1_100)
    assert told.disk_bytes == 1_100 * MB + 1_100 * 4_096
    assert told.rate_bytes_per_s == pytest.approx(55 * MB)
    assert any("add up" in each for each in told.assumptions)


def test_the_longest_of_line_and_quota() -> None:
    told = predict({"bucket": BUCKET, "proxy": PROXY}, {"bucket": Supply(10_000), "proxy": Supply(MB, Quota(60 * MB))})
    assert told.seconds == pytest.approx(1_000 * MB / 10_000 + 100)


@pytest.mark.parametrize(
    ("routes", "supplies", "seconds", "files", "said"),
    [
        pytest.param({"a": BUCKET}, {}, None, 1_000, "--probe measures", id="no rate"),
        pytest.param({"a": BUCKET, "b": PROXY}, {"a": Supply(MB)}, None, 1_100, "--probe measures", id="one has none"),
        pytest.param({"a": Amount(1, 5, None)}, {"a": Supply(MB)}, None, 5, "no size", id="no size"),
        pytest.param({"a": Amount(1, None, 5 * MB)}, {"a": Supply(MB)}, 5, None, "nothing fails", id="no number"),
        pytest.param({}, {}, 0, 0, "", id="nothing to come"),
        pytest.param({"a": Amount()}, {}, 0, 0, "", id="nothing by that route"),
    ],
)  # fmt: skip
def test_what_cannot_be_told(
    routes: dict[str, Amount], supplies: dict[str, Supply], seconds: float | None, files: int | None, said: str
) -> None:
    told = predict(routes, supplies)
    assert (told.seconds, told.files) == (seconds, files)
    assert said in " ".join(told.assumptions)
    assert (told.disk_bytes is None) is any(None in (each.instances, each.size_bytes) for each in routes.values())


def test_requests_take_their_time() -> None:
    supplies = {"bucket": Supply(1_000 * MB, requests=1_010), "proxy": Supply(1_000 * MB, requests=2)}
    told = predict({"bucket": BUCKET, "proxy": PROXY}, supplies, requests_per_s=2.0)
    assert told.seconds == 506
    assert "at most 2 requests a second" in told.assumptions


def test_a_limit_alone_is_a_rate_at_best() -> None:
    told = predict({"a": BUCKET}, {}, limits=[(0, 10 * MB)])
    assert told.seconds == pytest.approx(100)
    assert any("--bwlimit" in each for each in told.assumptions)
    assert predict({"a": BUCKET}, {}, limits=[(0, 10 * MB), (60, None)]).seconds is None


def test_a_day_and_a_rate_both_limit_what_a_day_brings() -> None:
    told = predict({"a": Amount(1, 1, 6_000 * MB)}, {"a": Supply(100_000, Quota(5_000 * MB))}, day_left_s=1)
    assert (told.seconds, told.quota_days) == (1 + DAY + 9_999, 3)
    assert told.rate_bytes_per_s == pytest.approx(100_000)


def test_the_quota_of_a_route_that_nobody_knows_the_rate_of() -> None:
    told = predict({"a": PROXY}, {"a": Supply(None, Quota(30 * MB))})
    assert (told.seconds, told.quota_days) == (None, 4)


def test_what_is_printed() -> None:
    told = predict({"a": Amount(1, 3, 10)}, {"a": Supply(3.0)}, basis=["as it was"])
    assert told.as_json() == {
        "seconds": 3.3,
        "quota_days": 0,
        "files": 3,
        "disk_bytes": 10 + 3 * 4_096,
        "rate_bytes_per_s": 3,
        "assumptions": ["as it was", "nothing fails, and each byte comes once"],
    }


amounts = st.builds(Amount, st.integers(0, 9), st.integers(0, 99), st.integers(0, 10**12))
quotas = st.builds(Quota, st.integers(1, 10**10), st.integers(0, 10**10))


@given(amount=amounts, quota=quotas, rate=st.floats(1, 1e9), day_left=st.floats(0, DAY))
def test_a_quota_never_makes_it_faster_nor_gives_more(
    amount: Amount, quota: Quota, rate: float, day_left: float
) -> None:
    free = predict({"a": amount}, {"a": Supply(rate)}, day_left_s=day_left)
    told = predict({"a": amount}, {"a": Supply(rate, quota)}, day_left_s=day_left)
    assert told.seconds is not None
    assert free.seconds is not None
    assert told.quota_days is not None
    assert told.seconds >= free.seconds * (1 - 1e-9)
    left = max(0, quota.bytes_per_day - quota.used_bytes)
    assert left + max(0, told.quota_days - 1) * quota.bytes_per_day >= (amount.size_bytes or 0) or not told.quota_days
    more = predict(
        {"a": amount}, {"a": Supply(rate, quota._replace(used_bytes=quota.used_bytes + 1))}, day_left_s=day_left
    )
    assert (more.quota_days or 0) >= told.quota_days
