"""By which routes a series may come, and why. Pure.

| the series | routes, in this order |
|---|---|
| whole, of the present release | those that hold it, as the user lists them |
| an earlier revision | buckets alone: every other store has only the newest |
| single instances | those that can name one first (DICOMweb), then buckets, where each object must be looked into |
| single instances that may be larger than a route's largest answer | as above, with that route last |
| whole, and its instances are larger than a route's largest answer | as above, without that route |
| what is left of a route's quota today is planned for others | as above, with that route last |

A route that holds none of the series' bucket is left out. What is left of the list may be empty: then nobody of those
chosen can give the series, and the reason says why.

A reason names limits and buckets, never what is one series' own: series with the same fate have the same reason.
"""

from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple

from dicomhaul.model import Routing, Series, Work


class Offer(NamedTuple):
    """One source, as far as the choice of routes depends on it."""

    name: str
    kind: Literal["dicomweb", "bucket"] = "dicomweb"
    holds: frozenset[str] | None = None  # buckets of the index whose series it has; None: all
    response_bytes: int | None = None  # the largest answer
    metered: bool = False  # it has a quota
    whole_bytes: int | None = None  # a series above this is asked for instance by instance


class Traits(NamedTuple):
    """What of a series the choice depends on; series with the same traits have the same routes."""

    bucket: str | None = None
    whole: bool = True
    prior: bool = False
    size_bytes: int | None = None  # of the series, where somebody states it
    instance_bytes: int | None = None  # on average, likewise


def route(offers: Sequence[Offer], traits: Traits, *, used_up: Collection[str] = ()) -> Routing:
    """Return the routes of a series with these traits.

    Args:
        offers: the sources, as the user prefers them.
        traits: the series.
        used_up: sources whose quota of today the plan has given to other series already.
    """
    refusals = [_refusal(offer, traits) for offer in offers]
    can = [offer for offer, why in zip(offers, refusals, strict=True) if why is None]
    if not can:
        return Routing((), "; ".join(dict.fromkeys(filter(None, refusals))))
    hindrances = {offer.name: _hindrance(offer, traits, used_up) for offer in can}

    def rank(offer: Offer) -> tuple[bool, bool]:
        return hindrances[offer.name] is not None, not traits.whole and offer.kind == "bucket"

    ordered = sorted(can, key=rank)  # stable: the user's order where nothing else decides
    first = ordered[0]
    passed = refusals[: offers.index(first)]
    if traits.whole:
        passed += [hindrances[offer.name] for offer in can[: can.index(first)]]
    else:
        passed += hindrances.values()
    passed_by = dict.fromkeys(filter(None, passed))
    return Routing(tuple(offer.name for offer in ordered), "; ".join([_merit(first, can, traits), *passed_by]))


def traits_of(work: Work | Series) -> Traits:
    """Return the traits of a series as a ledger or a cohort has it."""
    whole = work.whole if isinstance(work, Work) else work.instances is None
    average = work.instance_bytes if isinstance(work, Series) else None  # a ledger does not keep it
    if whole and work.size_bytes and work.expected:
        average = work.size_bytes // work.expected
    return Traits(work.bucket, whole, work.prior, work.size_bytes, average)


def _refusal(offer: Offer, traits: Traits) -> str | None:
    """Why this source cannot give the series; None if it can, as far as anybody knows."""
    if offer.kind == "bucket" or offer.holds is not None:
        if traits.bucket is None:
            return f"nobody states its bucket, which {offer.name} needs to know"
        if offer.holds is not None and traits.bucket not in offer.holds:
            return f"{offer.name} does not hold the bucket {traits.bucket}"
    if offer.kind == "dicomweb" and traits.prior:
        return f"an earlier revision: {offer.name} has only the newest"
    if traits.whole and _too_large(offer, traits):
        return f"an instance of it is larger than an answer of {offer.name} ({_size(offer.response_bytes)})"
    return None


def _hindrance(offer: Offer, traits: Traits, used_up: Collection[str]) -> str | None:
    """Why this source comes after the others, though it can give the series."""
    if not traits.whole and _too_large(offer, traits):
        return f"its instances may be larger than an answer of {offer.name} ({_size(offer.response_bytes)})"
    if offer.name in used_up:
        return f"more than what is left of today's quota of {offer.name}"
    return None


def _merit(first: Offer, can: Sequence[Offer], traits: Traits) -> str:
    """What speaks for the route that comes first."""
    if first.kind == "bucket":
        if traits.prior:
            return "an earlier revision: only the buckets still have it"
        if not traits.whole:
            return "single instances: the objects of the series are looked into, since keys do not name them"
        return "the buckets are IDC's own way for bulk: free, and without a quota"
    if not traits.whole:
        buckets = any(offer.kind == "bucket" for offer in can)
        return "single instances" + (": the keys of a bucket do not name them" if buckets else "")
    held = f"{first.name} holds the bucket {traits.bucket}, " if first.holds is not None else ""
    if first.whole_bytes is not None and (traits.size_bytes or 0) > first.whole_bytes:
        return f"{held}instance by instance: more than {_size(first.whole_bytes)}"
    return f"{held}whole series"


def _too_large(offer: Offer, traits: Traits) -> bool:
    return offer.response_bytes is not None and (traits.instance_bytes or 0) > offer.response_bytes


def _size(size_bytes: int | None) -> str:
    return f"{(size_bytes or 0) / 1e6:g} MB"
