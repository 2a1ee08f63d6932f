"""What a sync would do, said and not done: no lock is taken, and nothing is made or changed at the destination."""

from pathlib import Path

from dicomhaul.config.options import HaulOptions, SyncOptions
from dicomhaul.config.source import Sources
from dicomhaul.destination import layout_of, naming_of
from dicomhaul.model import Query
from dicomhaul.planner import parent
from dicomhaul.planner.request import Foreseeing, PlanRequest
from dicomhaul.record.departing import Following
from dicomhaul.record.place import place_of
from dicomhaul.record.preview import Preview
from dicomhaul.steps.question import cohort_name, default_layout


async def foresee(
    query: Query, source: Sources, dest: Path, options: HaulOptions, following: SyncOptions, *, most: int
) -> Preview:
    """Compare a cohort as a whole with what is at `dest`; list at most so many steps. Errors as `run.pull`."""
    there = layout_of(dest, options.state_dir, query.shard)
    naming = naming_of(dest, options.state_dir, query.shard, wanted=options.name_by)
    return await parent.foresee(
        PlanRequest(
            query=query,
            source=source.buckets() if naming == "crdc" else source,
            layout=there or options.layout or default_layout(source),
            present=place_of(dest, options.state_dir, query.shard).ledger,
            requests_per_s=options.requests_per_s,
            quota_bytes=options.quota_bytes,
            foreseeing=Foreseeing(cohort_name(query), Following(following.removal, following.keep_withdrawn), most),
        )
    )
