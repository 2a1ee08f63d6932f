"""The routes of a cohort while quotas last."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomhaul.model import Series, SeriesUID, SopUID, StudyUID
from dicomhaul.plan.route import Offer, Traits, route, traits_of
from dicomhaul.planner.routing import Router

MB = 1_000_000
BUCKET = Offer("idc-bucket", kind="bucket")
PROXY = Offer("idc-proxy", response_bytes=32 * MB, metered=True, whole_bytes=32 * MB)
GOOGLE = Offer("idc-google", holds=frozenset({"idc-open-data"}), whole_bytes=2000 * MB)


def never(name: str) -> int | None:
    raise AssertionError(f"nobody needs to know the quota of {name}")


def row(size_bytes: int | None = MB, *, expected: int | None = 10, singles: int = 0, average: int = MB) -> Series:
    whole = Series(
        StudyUID("1.2"), SeriesUID("1.2.1"), bucket="idc-open-data", expected=expected, size_bytes=size_bytes
    )
    if not singles:
        return whole
    sops = tuple(SopUID(f"1.2.1.{n}") for n in range(singles))
    return whole._replace(size_bytes=None, expected=singles, instances=sops, instance_bytes=average)


@pytest.mark.parametrize(
    ("offers", "wanted"),
    [
        ((BUCKET, PROXY), row()),  # the bucket comes first
        ((PROXY,), row()),  # nobody could stand in
        ((PROXY,), row(singles=3)),
        ((PROXY, GOOGLE), row(900 * MB)._replace(bucket="idc-open-data-cr")),  # Google does not hold it
    ],
)
def test_a_quota_that_does_not_matter_is_not_asked_for(offers: tuple[Offer, ...], wanted: Series) -> None:
    router = Router(offers, never)
    assert router.routing(wanted) == route(offers, traits_of(wanted))
    assert not router.overran


def test_single_instances_come_by_the_proxy_as_long_as_they_fit() -> None:
    asked: list[str] = []

    def left(name: str) -> int | None:
        asked.append(name)
        return 10 * MB

    router = Router((BUCKET, PROXY), left)
    routings = [router.routing(row(singles=singles)) for singles in (4, 7, 6, 1)]
    assert [routing.routes[0] for routing in routings] == ["idc-proxy", "idc-bucket", "idc-proxy", "idc-bucket"]
    assert all(set(routing.routes) == {"idc-proxy", "idc-bucket"} for routing in routings)
    assert "more than what is left of today's quota of idc-proxy" in routings[1].reason
    assert asked == ["idc-proxy"]
    assert router.overran
    router.start_again()
    assert not router.overran
    assert router.routing(row(singles=10)).routes[0] == "idc-proxy"


def test_a_quota_that_nobody_knows_is_none() -> None:
    router = Router((BUCKET, PROXY), lambda _: None)
    assert {router.routing(row(singles=10**6)).routes[0] for _ in range(3)} == {"idc-proxy"}
    assert not router.overran


def test_two_quotas_one_after_the_other() -> None:
    other = PROXY._replace(name="other")
    router = Router((PROXY, other), {"idc-proxy": 3 * MB, "other": 2 * MB}.get)
    routes = [router.routing(row(2 * MB)).routes for _ in range(3)]
    assert routes == [("idc-proxy", "other"), ("other", "idc-proxy"), ("idc-proxy", "other")]


sizes = st.none() | st.integers(0, 4000 * MB)
rows = st.builds(row, sizes, expected=st.none() | st.integers(1, 500), singles=st.integers(0, 5),
                 average=st.integers(0, 64 * MB))  # fmt: skip


@given(st.permutations([BUCKET, PROXY, GOOGLE]), st.lists(rows, max_size=20), st.integers(0, 200 * MB))
def test_what_is_planned_for_a_quota_fits_it(offers: list[Offer], cohort: list[Series], left: int) -> None:
    router = Router(offers, lambda _: left)
    planned = 0
    for each in cohort:
        routing = router.routing(each)
        plain = route(offers, traits_of(each))
        assert set(routing.routes) == set(plain.routes)
        if len(routing.routes) > 1 and routing.routes[0] == "idc-proxy":
            planned += each.size_bytes or (each.expected or 0) * (each.instance_bytes or 0)
        if plain.routes and plain.routes[0] != "idc-proxy":
            assert routing == plain
    assert planned <= left


@given(st.permutations([BUCKET, PROXY, GOOGLE]), st.lists(rows, min_size=2, max_size=2))
def test_between_the_same_bounds_series_have_the_same_routes(offers: list[Offer], cohort: list[Series]) -> None:
    router = Router(offers, lambda _: None)

    def side(traits: Traits) -> tuple[object, ...]:
        return (
            *traits[:3],
            [(traits.size_bytes or 0) > bound for bound in router.size_bounds],
            [(traits.instance_bytes or 0) > bound for bound in router.instance_bounds],
        )

    one, other = map(traits_of, cohort)
    if side(one) == side(other):
        assert route(offers, one) == route(offers, other)
