"""One sync of one destination, step by step."""

from pathlib import Path

import anyio

from dicomhaul.cohort.locked import check_lock_option
from dicomhaul.config.options import HaulOptions, SyncOptions
from dicomhaul.config.source import Sources
from dicomhaul.destination import open_destination
from dicomhaul.model import Query
from dicomhaul.report import Report
from dicomhaul.run import Run, Surroundings
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
    with open_destination(dest, options.state_dir, query.shard, audit_log=options.audit_log) as destination:
        run = Run(destination, dest, options, world, stop, command="sync", following=following)
        with run.ends_badly(), stop:
            if options.lock is not None:
                check_lock_option(options.lock, query)
            source = run.named(source)
            await run.tell_asked(source)
            with run.limits(cohorts=1):
                follower = Follower(destination, query, source, world, following=following, options=options)
                cohort_id = await follower.follow()
                if cohort_id is None:
                    await follower.begin()
                    cohort_id = await run.plan(query, source)
                    follower.compared()
                else:
                    run.changed(follower.difference)
                await run.check_lock(cohort_id, query, source)
                await run.recheck()
                await run.haul(cohort_id, source)
            await run.settle()
            await run.index()
            await run.lock(query, source)
        return run.end()
