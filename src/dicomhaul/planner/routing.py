"""The routes of a cohort's series, one after the other, while today's quotas last.

What one series depends on is decided by `plan.route`. What depends on those before it is added here: a source with a
quota comes first for as many series as fit into what is left of it today, by their stated or average sizes; for those
that do not fit it comes last. A source that nobody else could stand in for is not counted: it is asked in any case.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence

from dicomhaul.model import Routing, Series
from dicomhaul.plan.route import Offer, Traits, route, traits_of

# The choices for series of one kind, from the first on, each with the source whose quota it needs.
_Ladder = list[tuple[Routing, str | None]]


class Router:
    """Chooses routes.

    Args:
        offers: the sources, as the user prefers them.
        left: says how many bytes a source with a quota still gives today; None: nobody knows. Asked when it first
            matters.

    Attributes:
        size_bounds, instance_bounds: bytes of a series, and of its average instance; series that lie between the same
            bounds, and agree in the rest of their traits, have the same routes as long as quotas last.
        overran: whether a series has found a quota used up.
    """

    def __init__(self, offers: Sequence[Offer], left: Callable[[str], int | None]) -> None:
        self._offers = tuple(offers)
        self._metered = {offer.name for offer in offers if offer.metered}
        self._ask_left = left
        self._left: dict[str, int | None] = {}
        self._ladders: dict[tuple[object, ...], _Ladder] = {}
        self.size_bounds = _bounds(offer.whole_bytes for offer in offers if offer.kind == "dicomweb")
        self.instance_bounds = _bounds(offer.response_bytes for offer in offers)
        self.overran = False

    def routing(self, row: Series) -> Routing:
        """Return the routes of a series."""
        traits = traits_of(row)
        return self.choose(traits, row.size_bytes or (row.expected or 0) * (traits.instance_bytes or 0))

    def choose(self, traits: Traits, need_bytes: int) -> Routing:
        """Return the routes of series with these traits, which are expected to weigh `need_bytes` together."""
        bucket, whole, prior, size, average = traits
        key = (
            bucket,
            whole,
            prior,
            bisect_left(self.size_bounds, size or 0),
            bisect_left(self.instance_bounds, average or 0),
        )
        ladder = self._ladders.get(key)
        if ladder is None:
            ladder = self._ladders[key] = self._ladder(traits)
        for routing, metered in ladder:
            if metered is None or self._take(metered, need_bytes):
                return routing
        raise AssertionError("the last choice needs no quota")

    def _ladder(self, traits: Traits) -> _Ladder:
        ladder: _Ladder = []
        used_up: set[str] = set()
        while True:
            routing = route(self._offers, traits, used_up=used_up)
            if len(routing.routes) < 2 or routing.routes[0] not in self._metered - used_up:
                return [*ladder, (routing, None)]
            ladder.append((routing, routing.routes[0]))
            used_up.add(routing.routes[0])

    def _take(self, name: str, need_bytes: int) -> bool:
        if name not in self._left:
            self._left[name] = self._ask_left(name)
        left = self._left[name]
        if left is None:
            return True
        if need_bytes > left:
            self.overran = True
            return False
        self._left[name] = left - need_bytes
        return True

    def start_again(self) -> None:
        """Forget what was taken of the quotas, for another count of the same cohort."""
        self.overran = False
        self._left.clear()


def _bounds(sizes: Iterable[int | None]) -> tuple[int, ...]:
    return tuple(sorted({size for size in sizes if size is not None}))
