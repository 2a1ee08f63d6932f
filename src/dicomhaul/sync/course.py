"""One sync of one destination: one run whose cohort is planned by what its source tells, else as a whole."""

from pathlib import Path

import anyio

from dicomhaul.config.options import HaulOptions, SyncOptions
from dicomhaul.config.source import Sources
from dicomhaul.destination import Destination
from dicomhaul.model import Query
from dicomhaul.report import Report
from dicomhaul.run import Run, Surroundings, bring
from dicomhaul.sync.follow import Follower


async def sync(  # noqa: PLR0917 - as run.pull
    query: Query,
    source: Sources,
    dest: Path,
    options: HaulOptions,
    following: SyncOptions,
    world: Surroundings,
    *,
    stop: anyio.CancelScope,
) -> Report:
    """Make `dest` equal to a cohort as it is now. Cancelling `stop` ends it cleanly; the next one goes on.

    Raises SyncRefused, with nothing changed, where it would remove more than it may; else as `run.pull`.
    """

    async def planned(run: Run, destination: Destination, source: Sources) -> int:
        follower = Follower(destination, query, source, world, following=following, options=options)
        cohort_id = await follower.follow()
        if cohort_id is not None:
            run.changed(follower.difference)
            return cohort_id
        await follower.begin()
        cohort_id = await run.plan(query, source)
        await follower.compare_inventories(cohort_id)
        follower.compared()
        return cohort_id

    return await bring(query, source, dest, options, world, planned, command="sync", following=following, stop=stop)
