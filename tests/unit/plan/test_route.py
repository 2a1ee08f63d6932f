"""By which routes a series may come: the table of the module, and what holds for all of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomhaul.config.source import resolve_sources
from dicomhaul.model import Routing, Series, SeriesUID, SopUID, StudyUID, Work
from dicomhaul.plan.route import Offer, Traits, route, traits_of

MB = 1_000_000
BUCKET = Offer("idc-bucket", kind="bucket")
PROXY = Offer("idc-proxy", response_bytes=32 * MB, metered=True, whole_bytes=32 * MB)
GOOGLE = Offer("idc-google", holds=frozenset({"idc-open-data"}), whole_bytes=2000 * MB)
ALL = (BUCKET, PROXY, GOOGLE)

DATA, CR = "idc-open-data", "idc-open-data-cr"
WHOLE = Traits(DATA, size_bytes=100 * MB, instance_bytes=MB // 2)
SINGLE = Traits(DATA, whole=False, instance_bytes=MB // 2)
HUGE = Traits(DATA, size_bytes=4000 * MB, instance_bytes=119 * MB)
PRIOR = Traits(DATA, prior=True, size_bytes=100 * MB)


@pytest.mark.parametrize(
    ("offers", "traits", "names", "reason"),
    [
        ((BUCKET, PROXY), WHOLE, "idc-bucket idc-proxy", "IDC's own way for bulk"),
        ((PROXY, BUCKET), WHOLE, "idc-proxy idc-bucket", "instance by instance: more than 32 MB"),
        ((PROXY, BUCKET), WHOLE._replace(size_bytes=32 * MB), "idc-proxy idc-bucket", "whole series"),
        ((PROXY,), WHOLE._replace(size_bytes=None, instance_bytes=None), "idc-proxy", "whole series"),
        ((BUCKET, PROXY), SINGLE, "idc-proxy idc-bucket", "keys of a bucket do not name them"),
        ((BUCKET,), SINGLE, "idc-bucket", "objects of the series are looked into"),
        ((PROXY,), SINGLE, "idc-proxy", "single instances"),
        ((BUCKET, PROXY), HUGE, "idc-bucket", "IDC's own way for bulk"),
        ((PROXY, BUCKET), HUGE, "idc-bucket", "an instance of it is larger than an answer of idc-proxy (32 MB)"),
        ((PROXY,), HUGE._replace(instance_bytes=32 * MB), "idc-proxy", "instance by instance: more than 32 MB"),
        ((PROXY,), HUGE, "", "an instance of it is larger than an answer of idc-proxy (32 MB)"),
        ((BUCKET, PROXY), HUGE._replace(whole=False), "idc-bucket idc-proxy",
         "its instances may be larger than an answer of idc-proxy (32 MB)"),
        ((PROXY,), HUGE._replace(whole=False), "idc-proxy", "may be larger than an answer of idc-proxy"),
        ((PROXY, GOOGLE), HUGE._replace(whole=False), "idc-google idc-proxy", "may be larger"),
        ((GOOGLE, BUCKET), WHOLE, "idc-google idc-bucket", "idc-google holds the bucket idc-open-data, whole series"),
        ((GOOGLE, BUCKET), HUGE, "idc-google idc-bucket", "instance by instance: more than 2000 MB"),
        ((GOOGLE, BUCKET), WHOLE._replace(bucket=CR), "idc-bucket",
         "idc-google does not hold the bucket idc-open-data-cr"),
        ((GOOGLE,), WHOLE._replace(bucket=CR), "", "idc-google does not hold the bucket idc-open-data-cr"),
        ((GOOGLE,), WHOLE._replace(bucket=None), "", "nobody states its bucket"),
        ((BUCKET, PROXY), WHOLE._replace(bucket=None), "idc-proxy", "nobody states its bucket"),
        (ALL, PRIOR, "idc-bucket", "only the buckets still have it"),
        ((PROXY, BUCKET), PRIOR, "idc-bucket", "an earlier revision: idc-proxy has only the newest"),
        ((PROXY,), PRIOR, "", "an earlier revision: idc-proxy has only the newest"),
        ((BUCKET, PROXY), PRIOR._replace(whole=False), "idc-bucket", "only the buckets still have it"),
        ((Offer("orthanc (127.0.0.1:8042)"),), Traits(), "orthanc (127.0.0.1:8042)", "whole series"),
    ],
)  # fmt: skip
def test_the_table(offers: tuple[Offer, ...], traits: Traits, names: str, reason: str) -> None:
    routing = route(offers, traits)
    wanted = (names,) if len(offers) == 1 and names else tuple(names.split())
    assert routing.routes == wanted
    assert reason in routing.reason


@pytest.mark.parametrize(
    ("offers", "traits", "names"),
    [
        ((BUCKET, PROXY), SINGLE, "idc-bucket idc-proxy"),
        ((BUCKET, PROXY, GOOGLE), SINGLE, "idc-google idc-bucket idc-proxy"),
        ((PROXY, BUCKET), WHOLE, "idc-bucket idc-proxy"),
        ((PROXY,), SINGLE, "idc-proxy"),
    ],
)
def test_a_quota_that_is_planned_away_comes_last(offers: tuple[Offer, ...], traits: Traits, names: str) -> None:
    routing = route(offers, traits, used_up={"idc-proxy"})
    assert routing.routes == tuple(names.split())
    assert "more than what is left of today's quota of idc-proxy" in routing.reason or len(offers) == 1


def test_a_route_that_is_last_anyway_needs_no_excuse() -> None:
    assert "quota of" not in route((BUCKET, PROXY), WHOLE, used_up={"idc-proxy"}).reason


sizes = st.none() | st.integers(0, 200 * MB)
all_traits = st.builds(Traits, st.none() | st.sampled_from([DATA, CR]), st.booleans(), st.booleans(), sizes, sizes)
some_offers = st.lists(st.sampled_from(ALL), unique=True, min_size=1).map(tuple)


@given(some_offers, all_traits, st.sets(st.sampled_from(["idc-proxy"])))
def test_what_holds_for_every_choice(offers: tuple[Offer, ...], traits: Traits, used_up: set[str]) -> None:
    routing = route(offers, traits, used_up=used_up)
    named = {offer.name: offer for offer in offers}
    assert len(set(routing.routes)) == len(routing.routes)
    assert set(routing.routes) <= set(named)
    assert routing.reason
    assert "\n" not in routing.reason
    for name in routing.routes:
        offer = named[name]
        assert offer.holds is None or traits.bucket in offer.holds
        assert offer.kind == "bucket" or not traits.prior
        assert not traits.whole or (traits.instance_bytes or 0) <= (offer.response_bytes or 200 * MB)
    # Another order of the same offers has the same routes; none that can give it is lost.
    assert set(route(tuple(reversed(offers)), traits, used_up=used_up).routes) == set(routing.routes)
    # What is used up changes the order alone.
    assert set(route(offers, traits).routes) == set(routing.routes)


@given(some_offers, all_traits, st.integers(0, 31 * MB), st.integers(0, 31 * MB))
def test_series_with_the_same_fate_share_their_reason(
    offers: tuple[Offer, ...], traits: Traits, one: int, other: int
) -> None:
    first, second = (traits._replace(size_bytes=size, instance_bytes=size) for size in (one, other))
    assert route(offers, first) == route(offers, second)


def test_the_traits_of_a_series() -> None:
    row = Series(StudyUID("1.2"), SeriesUID("1.2.1"), bucket=DATA, expected=4, size_bytes=10, prior=True)
    assert traits_of(row) == Traits(DATA, True, True, 10, 2)
    assert traits_of(row._replace(expected=None)) == Traits(DATA, True, True, 10, None)
    single = row._replace(instances=(SopUID("1"),))
    assert traits_of(single) == Traits(DATA, False, True, 10, None)
    assert traits_of(single._replace(instance_bytes=5)) == Traits(DATA, False, True, 10, 5)
    work = Work(1, StudyUID("1.2"), SeriesUID("1.2.1"), "", 4, 10, True, False, bucket=DATA, prior=True)
    assert traits_of(work) == Traits(DATA, True, True, 10, 2)
    assert traits_of(work._replace(whole=False)) == Traits(DATA, False, True, 10, None)


def test_what_the_built_in_sources_offer() -> None:
    offers = {offer.name: offer for offer in resolve_sources("idc,idc-google").offers(None)}
    assert offers["idc-bucket"].kind == "bucket"
    assert not offers["idc-bucket"].metered
    assert offers["idc-proxy"] == PROXY
    assert offers["idc-google"] == GOOGLE
    assert route(tuple(offers.values()), WHOLE) == Routing(
        ("idc-bucket", "idc-proxy", "idc-google"), "the buckets are IDC's own way for bulk: free, and without a quota"
    )
