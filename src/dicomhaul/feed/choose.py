"""Which feed a source has, by its profile, and which cohorts can be followed by one."""

from collections.abc import AsyncGenerator
from typing import Protocol

from dicomhaul.cohort.search_keys import Level, at, parse_keys
from dicomhaul.config.source import SourceSpec
from dicomhaul.feed import azure, orthanc
from dicomhaul.feed.asking import Asker, above
from dicomhaul.feed.azure import Entries
from dicomhaul.feed.azure_v1 import AzureV1
from dicomhaul.feed.azure_v2 import AzureV2
from dicomhaul.feed.orthanc import OrthancChanges
from dicomhaul.feed.told import Window
from dicomhaul.model import Query
from dicomhaul.net.host import Host
from dicomhaul.ports import Clock


class Feed(Protocol):
    """A feed that can be followed. Requests go through the host that it was opened with."""

    async def begin(self) -> str:
        """Return where the feed is now: what it tells from there on is all that a comparison of now may miss.

        Raises RefusedError where it cannot be followed; TransferError, SourceError.
        """
        ...

    def read(self, position: str) -> AsyncGenerator[Window, None]:
        """Yield what is new since a position, in windows, to where the feed is now; the last may hold nothing.

        Raises LedgerError for a position that is none; otherwise as `begin`.
        """
        ...


def has_feed(source: SourceSpec) -> bool:
    """Say whether a source tells what changes."""
    return source.profile.feed.kind in {"azure", "orthanc"}


def feed_name(source: SourceSpec) -> str:
    """Return the kind of feed and whom it is of, as the ledger's cursors are called."""
    return f"{source.profile.feed.kind} {source.base_url}"


def open_feed(source: SourceSpec, host: Host, *, clock: Clock) -> Feed:
    """Return the feed of a source that has one."""
    profile = source.profile
    if profile.feed.kind == "orthanc":
        return OrthancChanges(Asker(host, above(source.base_url, profile.feed.root.count("..")), orthanc.WHAT))
    place = azure.place_of(source.base_url)
    entries = Entries(host, place, role=profile.auth.role)
    return AzureV1(entries) if place.version == 1 else AzureV2(entries, clock=clock)


def can_follow(query: Query) -> bool:
    """Say whether a cohort can be followed: it is found by searching, as whole series, and is not cut off.

    What is named by UIDs or in a manifest is compared as a whole: that costs no more. Raises CohortError for a search
    that makes no sense.
    """
    named = query.targets or query.manifest is not None or query.instance or query.series or query.study
    if named or query.limit_series is not None:
        return False
    return not at(Level.INSTANCES, parse_keys(query, wildcards=True))
