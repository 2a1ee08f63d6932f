"""What a comparison by counts does not see: as many instances of a series went as came.

A search of series states how many instances each has, and not which. So the list of each complete series is asked for,
one request and more for each, and held against what is here; a series that differs is opened again. A list that cannot
be had, or names nothing of a series that the search has just named, says nothing: that series is left as it is.
"""

from typing import TYPE_CHECKING, Final

from dicomhaul.cohort.ask import each
from dicomhaul.errors import TransferError
from dicomhaul.record.changes import CompleteSeries, complete_series, open_again

if TYPE_CHECKING:
    from dicomhaul.net.host import Host
    from dicomhaul.profile import Profile
    from dicomhaul.record.ledger import Ledger

_BATCH: Final = 256  # series whose lists are in memory


async def compare_inventories(host: "Host", profile: "Profile", ledger: "Ledger", cohort_id: int, *, keep: bool) -> int:
    """Open again what differs from its list; return of how many series there is none.

    `keep`: what the source has no more stays, and is no difference. Raises SourceError, LedgerError.
    """
    from dicomhaul.cohort.search import search_instances  # noqa: PLC0415 - as in follow

    async def differs(one: CompleteSeries) -> bool | None:
        try:
            listed = await search_instances(host, profile, one.study, one.series, stated=len(one.sops))
        except TransferError:
            return None
        if not listed:
            return None
        there = {ref.sop for ref in listed}
        return bool(there - one.sops) or (not keep and bool(one.sops - there))

    unlisted, after = 0, 0
    while batch := complete_series(ledger, cohort_id, after=after, most=_BATCH):
        after = batch[-1].id
        answers = await each(batch, differs)
        open_again(ledger, [one.id for one, answer in zip(batch, answers, strict=True) if answer])
        unlisted += answers.count(None)
    return unlisted
