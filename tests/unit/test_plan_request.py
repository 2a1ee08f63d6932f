"""What the planning child is asked for a destination."""

from pathlib import Path

from dicomhaul.config.options import HaulOptions
from dicomhaul.config.source import resolve_sources
from dicomhaul.destination import open_destination
from dicomhaul.model import Query, Shard
from dicomhaul.steps.question import plan_request


def test_a_new_revision_of_a_shard_lands_in_a_folder_of_that_shard(tmp_path: Path) -> None:
    query, source = Query(everything=True, shard=Shard(1, 2)), resolve_sources("http://127.0.0.1:1")
    with open_destination(tmp_path, None, query.shard) as at:
        mark, request = plan_request(at, query, source, options=HaulOptions(), planned_at="2026-01-01T00:00:00+00:00")
    assert request.load is not None
    assert request.load.fingerprint == mark
    assert request.load.beside == ".dicomhaul/shard-1-of-2/beside/"
