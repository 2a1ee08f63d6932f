"""What is left of a source's daily quota, for a plan that would ask it: the same count as the run's.

The source's usage page is asked where it has one, which costs nothing of the quota; what a destination's ledger has
recorded of today counts, too. A plan needs no network: where nothing can be read in time, that is a note, and the plan
is made as if there were no quota.
"""

from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import anyio

from dicomhaul.config.source import Sources, SourceSpec
from dicomhaul.errors import HaulError, QuotaExhausted
from dicomhaul.events import Event, Noticed, Tally
from dicomhaul.net.clock import SystemClock
from dicomhaul.plan.estimate import Amount
from dicomhaul.record.ledger import Ledger

_ASK_S: Final = 5.0  # who plans is waiting


class Budgets:
    """The quotas of today, asked when they are needed, each once.

    Args:
        sources: all that were chosen.
        quota_bytes: what the user lets a source with a quota give a day.
        ledger: of the destination, if there is one.
        environ: proxies and credentials.
        notice: told what could not be read.
    """

    def __init__(
        self,
        sources: Sources,
        *,
        quota_bytes: int | None,
        ledger: Path | None,
        environ: Mapping[str, str],
        notice: Callable[[str], None],
    ) -> None:
        self._specs = {spec.name: spec for spec in sources.specs}
        self._quota_bytes = quota_bytes
        self._today = datetime.fromtimestamp(SystemClock().now(), UTC).date().isoformat()
        # Now: while rows are written, a ledger on a network filesystem can be locked for readers.
        self._metered = {spec.name for spec in sources.specs if spec.profile.is_metered(quota_bytes)}
        self._used = _used(self._metered, ledger, self._today)
        self._environ = environ
        self._notice = notice
        self._known: dict[str, int | None] = {}
        self.quotas: dict[str, tuple[int, int]] = {}  # source -> bytes a day, and of them used, where it was asked

    def left(self, name: str) -> int | None:
        """Return how many bytes a source still gives today; None: nobody knows."""
        if name not in self._known:
            self._known[name] = anyio.run(self._ask, self._specs[name])
        return self._known[name]

    def ask_for(self, routes: Mapping[str, Amount]) -> None:
        """Ask, if nobody has, each source with a quota that a plan gives something to: forecasts go by it."""
        for name, amount in routes.items():
            if name in self._metered and amount.size_bytes != 0:
                self.left(name)

    async def _ask(self, spec: SourceSpec) -> int | None:
        from dicomhaul import build  # noqa: PLC0415 - aiohttp, which few plans need

        heard: list[str] = []

        def hear(event: Event) -> None:
            if isinstance(event, Noticed):
                heard.append(event.message)

        async with build.open_source_host(
            spec,
            environ=self._environ,
            clock=SystemClock(),
            observer=hear,
            tally=Tally(),
            quota_bytes=self._quota_bytes,
        ) as host:
            quota = host.quota
            if quota is None:
                return None
            with quota.kept("plan", load=lambda day: self._used_on(day, spec.name), save=lambda _, __: None):
                try:
                    with anyio.move_on_after(_ASK_S) as scope:
                        await host.attempt(_nothing, label="quota")  # which reads the usage page first
                except QuotaExhausted:
                    return 0
                except HaulError as error:
                    heard.append(f"the quota of {spec.name} cannot be read: {error}")
                finally:
                    if quota.limit_bytes is not None:
                        self.quotas[spec.name] = (quota.limit_bytes, quota.used_bytes)
                left = quota.left_bytes
        if scope.cancelled_caught:
            heard.append(f"the quota of {spec.name} cannot be read: no answer within {_ASK_S:g} s")
        if heard:
            assumed = "" if left is not None else "; planned as if there were none"
            self._notice(f"{heard[0]}{assumed}")
        return left

    def _used_on(self, day: str, name: str) -> int:
        return self._used.get(name, 0) if day == self._today else 0


def _used(names: Collection[str], ledger: Path | None, day: str) -> dict[str, int]:
    if not names or ledger is None or not Ledger.is_there(ledger):
        return {}
    with closing(Ledger.open(ledger, read_only=True)) as there:
        return {name: there.quota_used(name, day) for name in names}


async def _nothing(_: int) -> None:
    """The call of an attempt that only wants to be admitted."""
