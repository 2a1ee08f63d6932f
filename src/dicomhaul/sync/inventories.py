"""What a comparison by counts does not see: as many instances of a series went as came. Asked for by --inventories.

A search of series states how many instances each has, and not which. So the list of each complete series is asked for,
one request and more for each, and held against what is here; a series that differs is opened again.
"""

from typing import TYPE_CHECKING, Final

from dicomhaul.cohort.ask import each
from dicomhaul.record.changes import CompleteSeries, complete_series, open_again

if TYPE_CHECKING:
    from dicomhaul.net.host import Host
    from dicomhaul.profile import Profile
    from dicomhaul.record.ledger import Ledger

_BATCH: Final = 256  # series whose lists are in memory


async def compare_inventories(host: "Host", profile: "Profile", ledger: "Ledger", cohort_id: int, *, keep: bool) -> int:
    """Open again what differs from its list; return how many series that are.

    `keep`: what the source has no more stays, and is no difference. Raises TransferError, SourceError, LedgerError.
    """
    from dicomhaul.cohort.search import search_instances  # noqa: PLC0415 - as in follow

    async def differs(one: CompleteSeries) -> bool:
        listed = await search_instances(host, profile, one.study, one.series, stated=len(one.sops))
        if listed is None:
            return False
        there = {ref.sop for ref in listed}
        return bool(there - one.sops) or (not keep and bool(one.sops - there))

    found, after = 0, 0
    while batch := complete_series(ledger, cohort_id, after=after, most=_BATCH):
        after = batch[-1].id
        answers = await each(batch, differs)
        different = [one.id for one, answer in zip(batch, answers, strict=True) if answer]
        open_again(ledger, different)
        found += len(different)
    return found
