"""By which routes a series may come, and why. Pure.

| the series | routes, in this order |
|---|---|
| whole, of the present release | those that hold it, as the user lists them |
| whole, a prior revision | buckets alone: every other store has only the newest |
| single instances | those that can name one first (DICOMweb), then buckets, where each object must be looked into |
| an instance of it is larger than a route's largest answer | as above, without that route |

A route that holds none of the series' bucket is left out. What is left of the list may be empty: then nobody of those
chosen can give the series, and the reason says why.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from dicomhaul.model import Routing, Work


class Offer(NamedTuple):
    """One source, as far as the choice of routes depends on it."""

    name: str
    kind: Literal["dicomweb", "bucket"] = "dicomweb"
    holds: frozenset[str] | None = None  # buckets of the index whose series it has; None: all
    response_bytes: int | None = None  # the largest answer
    metered: bool = False  # it has a quota


class Traits(NamedTuple):
    """What of a series the choice depends on; series with the same traits have the same routes."""

    bucket: str | None = None
    whole: bool = True
    prior: bool = False
    size_bytes: int | None = None  # of the series, where somebody states it
    instance_bytes: int | None = None  # on average, likewise


def route(offers: Sequence[Offer], traits: Traits) -> Routing:
    """Return the routes of a series with these traits."""
    return Routing(tuple(offer.name for offer in offers), "")


def traits_of(work: Work) -> Traits:
    """Return the traits of a series as a ledger has it."""
    known = work.whole and bool(work.size_bytes) and bool(work.expected)
    return Traits(
        bucket=work.bucket,
        whole=work.whole,
        prior=work.prior,
        size_bytes=work.size_bytes,
        instance_bytes=(work.size_bytes or 0) // (work.expected or 1) if known else None,
    )
