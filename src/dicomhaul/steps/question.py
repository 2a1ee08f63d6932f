"""What is asked of the planning child: the question's name, what tells its plan from another, and the layout."""

import hashlib
import json
from pathlib import Path

from dicomhaul.cohort.lock import is_lock, lock_mark
from dicomhaul.config.options import QUERY_JSON, HaulOptions
from dicomhaul.config.source import Sources, idc_release
from dicomhaul.destination import Destination
from dicomhaul.land.folder import beside_folder
from dicomhaul.land.layout import IDC_LAYOUT, PLAIN_LAYOUT, parse_layout
from dicomhaul.model import Query
from dicomhaul.planner.request import Load, PlanRequest
from dicomhaul.record.departing import Following
from dicomhaul.record.place import shard_folder


def default_layout(source: Sources) -> str:
    """IDC's users know idc-index's tree; elsewhere no patient data stands in paths."""
    return IDC_LAYOUT if source.index == "idc" else PLAIN_LAYOUT


def searches(source: Sources) -> bool:
    """Say whether the cohort is looked up at the server, whose answer may be another one tomorrow."""
    return source.index is None


def fingerprint(query: Query, source: Sources, layout: str) -> str:
    """Return what tells one plan from another: the query, its manifests' text, the index, the source, the layout."""
    manifests = [_digest(word) for word in query.targets]
    index = idc_release() if source.index == "idc" else ""
    said = [QUERY_JSON.dump_python(query, mode="json"), manifests, index, list(source.base_urls), layout]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _digest(word: str) -> str:
    try:
        if is_lock(Path(word)):
            return lock_mark(Path(word))
        with Path(word).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):  # no manifest; or one that cannot be read, of which planning tells
        return ""


def cohort_name(query: Query) -> str:
    """Return a short name for the reader: the first things that were asked for."""
    words = [
        *query.targets,
        *query.collection,
        *query.study,
        *query.series,
        *query.instance,
        *query.crdc,
        *query.search,
        *query.modality,
    ]
    if query.everything:
        words.insert(0, "everything")
    return " ".join(words[:3])[:120] or "cohort"


def plan_request(
    at: Destination,
    query: Query,
    source: Sources,
    *,
    options: HaulOptions,
    planned_at: str,
    following: Following | None = None,
) -> tuple[str, PlanRequest]:
    """Return what asks the planning child to write a cohort into a destination's ledger, and its fingerprint.

    Raises ConfigError for a layout that is none, or not the destination's.
    """
    if options.layout is not None:
        parse_layout(options.layout)
    layout = at.layout(options.layout, default_layout(source))
    mark = fingerprint(query, source, layout)
    load = Load(
        at.place.ledger,
        at.place.wal,
        cohort_name(query),
        mark,
        planned_at,
        beside_folder(shard_folder(at.shard)),
        following,
        audited=options.audit_log is not None,
    )
    return mark, PlanRequest(
        query=query,
        source=source,
        layout=layout,
        load=load,
        requests_per_s=options.requests_per_s,
        quota_bytes=options.quota_bytes,
    )
