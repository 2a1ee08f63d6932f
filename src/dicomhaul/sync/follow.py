"""A cohort that is followed by what its source tells of changes, instead of being compared as a whole each time.

read the feed from the cursor on, window by window                                     [feed]
  the last word on each instance                                                       [plan.changes]
  a series that is new, or of which nothing is left: does the cohort have it?          [cohort.search]
  what they mean, and the position that covers them, in one transaction                [record.changes]

A server without a feed is searched for recent studies instead, which adds and never removes.

A search that finds none of what a feed says has come, or nothing recent, may be that of a sick server: where the cohort
as a whole is empty too, and something of it is here, everything is compared, which refuses such an answer.

Compared as a whole is what was never compared, what was compared longer ago than --reconcile, and what cannot be
followed: what is named by UIDs or a manifest, and a source whose feed refuses us, which is said. The feed is read first
all the same, since a comparison does not see what was stored anew under its UID, and its position is taken before the
comparison, so what changes meanwhile is told afterwards.
"""

import json
from collections.abc import Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from dicomhaul.config.options import HaulOptions, SyncOptions
from dicomhaul.config.source import Sources, SourceSpec
from dicomhaul.destination import Destination
from dicomhaul.errors import LedgerError, RefusedError
from dicomhaul.events import Noticed
from dicomhaul.feed.choose import Feed, can_follow, feed_name, has_feed, open_feed
from dicomhaul.feed.window import UNSEEN, UNSEEN_BY_COUNTS, WARNING, narrowed
from dicomhaul.land.folder import beside_folder
from dicomhaul.land.layout import parse_layout
from dicomhaul.model import Query, Series
from dicomhaul.plan.changes import Change, Instance, last_words
from dicomhaul.plan.difference import Difference
from dicomhaul.planner.routing import Router
from dicomhaul.planner.server import of_shard, placed
from dicomhaul.record.changes import (
    Cursor,
    Name,
    add_found,
    apply_changes,
    cursor_name,
    holds,
    note_cursor,
    read_cursor,
    to_ask_for,
)
from dicomhaul.record.departing import Following
from dicomhaul.record.place import shard_folder
from dicomhaul.run import Surroundings
from dicomhaul.steps.question import default_layout, fingerprint
from dicomhaul.sync.inventories import compare_inventories

if TYPE_CHECKING:
    from dicomhaul.net.host import Host

_DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Position:
    """What a cursor holds.

    Attributes:
        compared_s: when the whole was last compared, in seconds since the epoch.
        kept: what was withdrawn stayed, so some of it may still be there.
        at: the feed's own position; None: it could not be read, or the source has none.
    """

    compared_s: float
    kept: bool
    at: str | None

    def to_json(self) -> str:
        """Write it."""
        return json.dumps({"compared_s": self.compared_s, "kept": self.kept, "at": self.at})

    @classmethod
    def from_json(cls, text: str) -> "Position":
        """Read it. Raises LedgerError."""
        try:
            stored: Any = json.loads(text)
            compared_s, kept, at = float(stored["compared_s"]), bool(stored["kept"]), stored["at"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise LedgerError("the cursor of a feed is damaged: sync with --reconcile 0 to begin anew") from None
        return cls(compared_s, kept, at if isinstance(at, str) else None)


class Follower:
    """Follows one cohort of one source.

    Args:
        destination: where it is mirrored.
        query: the cohort.
        source: where it comes from.
        world: what the run has of it.
        following: of the sync.
        options: of the run.

    Attributes:
        difference: series that were added, and that went.
    """

    def __init__(
        self,
        destination: Destination,
        query: Query,
        source: Sources,
        world: Surroundings,
        *,
        following: SyncOptions,
        options: HaulOptions,
    ) -> None:
        self._at = destination
        self._query = query
        self._source = source
        self._spec: SourceSpec = source.specs[0]
        self._options = options
        self._sync = following
        self._world = world
        self._can = source.index is None and self._spec.profile.search.available and can_follow(query)
        if self._can:
            layout = destination.layout(options.layout, default_layout(source))
            self._layout = parse_layout(layout)
            self._fingerprint = fingerprint(query, source, layout)
            self._key = cursor_name(feed_name(self._spec), self._fingerprint)
        self._begun: str | None = None
        self._refused = False
        self._warned = False
        self._lists = False
        self.difference = Difference()

    async def follow(self) -> int | None:
        """Apply what has changed since the last time; return the cohort's id, or None where it must be compared.

        Raises SyncRefused where more would leave than may; TransferError, SourceError where the server fails;
        LedgerError.
        """
        cohort_id = self._known() if self._can else None
        if cohort_id is None:
            return None
        position = self._stored()
        if position is None:
            return None
        is_due = self._sync.reconcile_s <= 0 or self._is_due(position)
        if not has_feed(self._spec):
            return cohort_id if not is_due and await self._search_recent(cohort_id, position) else None
        if position.at is None:
            return None
        try:
            followed = await self._read(cohort_id, position, position.at)
        except RefusedError as error:
            self._tell_refused(error)
            return None
        return cohort_id if followed and not is_due else None

    def _stored(self) -> Position | None:
        text = read_cursor(self._at.ledger, self._key)
        try:
            return None if text is None else Position.from_json(text)
        except LedgerError:
            if self._sync.reconcile_s <= 0:  # which begins anew
                return None
            raise

    async def begin(self) -> None:
        """Take the feed's position, before everything is compared."""
        if not self._can:
            return
        if not has_feed(self._spec):
            self._warn()
            return
        try:
            self._begun = await (await self._feed()).begin()
        except RefusedError as error:
            self._tell_refused(error)

    async def compare_inventories(self, cohort_id: int) -> None:
        """Hold each series against the server's list of it, where no feed tells or as asked. Errors as `follow`."""
        if not self._compares_lists or self._source.index is not None or not self._spec.profile.search.available:
            return
        keep = self._sync.keep_withdrawn
        unlisted = await compare_inventories(
            await self._host(), self._spec.profile, self._at.ledger, cohort_id, keep=keep
        )
        if unlisted:
            message = f"of {unlisted} series the server gives no list: they are compared by their counts alone"
            self._world.observer(Noticed(message))

    @property
    def _compares_lists(self) -> bool:
        follows = self._can and has_feed(self._spec) and not self._refused and self._sync.reconcile_s > 0
        return not follows if self._sync.inventories is None else self._sync.inventories

    def compared(self) -> None:
        """Everything was compared, and what came of it is recorded: the feed is followed from where it was before."""
        if self._can:
            self._move(self._position(self._world.clock.now(), self._begun))

    def _known(self) -> int | None:
        cohorts = self._at.ledger.cohorts()
        return next((cohort.id for cohort in cohorts if cohort.fingerprint == self._fingerprint), None)

    def _is_due(self, position: Position) -> bool:
        """Whether everything is to be compared: it is long ago, or something stays that would leave now."""
        ago_s = self._world.clock.now() - position.compared_s
        keeps = not self._sync.keep_withdrawn and (position.kept or self._at.ledger.keeps())
        return keeps or not 0 <= ago_s < self._sync.reconcile_s

    def _position(self, compared_s: float, at: str | None) -> Position:
        return Position(compared_s, self._sync.keep_withdrawn, at)

    def _move(self, position: Position) -> None:
        note_cursor(self._at.ledger, Cursor(self._key, position.to_json()), self._world.clock.now())

    async def _feed(self) -> Feed:
        return open_feed(self._spec, await self._host(), clock=self._world.clock)

    async def _host(self) -> "Host":
        return await self._world.open_host(self._spec)

    async def _read(self, cohort_id: int, position: Position, at: str) -> bool:
        """Follow the feed to its end; False: what it says has come cannot be asked for, see `_is_silent`."""
        ledger = self._at.ledger
        following = Following(self._sync.removal, self._sync.keep_withdrawn)
        async with aclosing((await self._feed()).read(at)) as windows:
            async for window in windows:
                words = last_words(window.changes)
                asked = to_ask_for(ledger, cohort_id, words, keep=self._sync.keep_withdrawn)
                rows = await self._found_among(asked)
                if not rows and _has_come(words, asked) and await self._is_silent(cohort_id):
                    return False
                applied = apply_changes(
                    ledger,
                    cohort_id,
                    words,
                    asked=asked,
                    rows=rows,
                    following=following,
                    beside=self._beside,
                    cursor=Cursor(self._key, self._position(position.compared_s, window.position).to_json()),
                    now_s=self._world.clock.now(),
                )
                self._add(applied.difference)
        return True

    async def _is_silent(self, cohort_id: int) -> bool:
        """Whether the source lists nothing at all of a cohort of which something is here."""
        if self._lists or not holds(self._at.ledger, cohort_id):
            return False
        rows = [row async for row in self._search(replace(self._query, limit_series=1, shard=None))]
        self._lists = bool(rows)
        return not rows

    async def _found_among(self, names: list[Name]) -> list[Series]:
        """Ask which of these series the cohort has: its own search, narrowed to them."""
        if not names:
            return []
        lines = ["StudyInstanceUID,SeriesInstanceUID", *(f"{study},{series}" for study, series in names)]
        query = replace(self._query, manifest="\n".join(lines) + "\n")
        wanted = set(names)
        return [row async for row in self._search(query) if (row.study, row.series) in wanted]

    async def _search(self, query: Query) -> Any:
        from dicomhaul.cohort.search import search  # noqa: PLC0415 - aiohttp, which few commands need

        host = await self._host()
        router = Router(self._source.offers(self._options.quota_bytes), lambda _: None)

        def notice(message: str) -> None:
            self._world.observer(Noticed(message))

        found = search(host, self._spec.profile, query, notice=notice, may_be_empty=True)
        async with aclosing(found) as batches:
            async for batch in batches:
                for row in placed(self._layout, of_shard(query, batch)):
                    yield row._replace(routing=router.routing(row))

    async def _search_recent(self, cohort_id: int, position: Position) -> bool:
        """Add what is recent; False: it cannot be asked for, see `_is_silent`."""
        self._warn()
        today = datetime.fromtimestamp(self._world.clock.now(), UTC).date()
        query = narrowed(self._query, today, self._sync.lookback_days)
        rows = [] if query is None else [row async for row in self._search(query)]
        if query is not None and not rows and await self._is_silent(cohort_id):
            return False
        if rows:
            found = add_found(self._at.ledger, cohort_id, rows, following_removals=True, beside=self._beside)
            self._add(found)
        self._move(self._position(position.compared_s, None))
        return True

    @property
    def _beside(self) -> str:
        return beside_folder(shard_folder(self._at.shard))

    def _add(self, found: Difference) -> None:
        ours = self.difference
        self.difference = Difference(
            ours.added + found.added, ours.revised + found.revised, ours.withdrawn + found.withdrawn
        )

    def _warn(self) -> None:
        if not self._warned and self._sync.reconcile_s > 0:
            self._warned = True
            reconcile = f"{self._sync.reconcile_s / _DAY_S:g} days"
            unseen = UNSEEN if self._compares_lists else UNSEEN_BY_COUNTS
            message = WARNING.format(days=self._sync.lookback_days, reconcile=reconcile, unseen=unseen)
            self._world.observer(Noticed(message))

    def _tell_refused(self, error: RefusedError) -> None:
        """Say it once: the source is compared as a whole instead, which is right and costs more."""
        if not self._refused:
            self._refused = True
            self._world.observer(Noticed(f"{error}; everything is compared instead"))


def _has_come(words: Mapping[Instance, Change], asked: Collection[Name]) -> bool:
    """Whether something of these series is there now, as the feed says."""
    names = set(asked)
    return any((at.study, at.series) in names and word.standing == "current" for at, word in words.items())
