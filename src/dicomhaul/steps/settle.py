"""What leaves a destination goes to its trash, and what has been there for long goes for good."""

from datetime import date

from dicomhaul.config.options import SyncOptions
from dicomhaul.destination import Destination
from dicomhaul.errors import HaulError, LandingError, LedgerError, SyncRefused
from dicomhaul.land.trash import purge
from dicomhaul.plan.removal import RemovalLimits
from dicomhaul.record.removals import Removed, agree, remove_outgoing


def settle(at: Destination, day: date, following: SyncOptions | None) -> tuple[Removed, HaulError | None]:
    """Move to the trash what leaves; return what went there, and the error that kept something from it, if one did.

    Blocks. What was agreed to earlier leaves although a sync refuses the rest.

    Args:
        at: the destination.
        day: the folder of the trash; UTC.
        following: what a sync may remove, and for how long it keeps the trash; None: this is none.
    """
    limits = RemovalLimits() if following is None else following.removal
    refused: SyncRefused | None = None
    removed = Removed()
    try:
        try:
            agree(at.ledger, limits)
        except SyncRefused as error:
            refused = error
        removed = remove_outgoing(at.ledger, at.folder, day)
        if following is not None:
            purge(at.folder, day, following.trash_days)
    except (LandingError, LedgerError) as error:
        return removed, error
    return removed, refused
