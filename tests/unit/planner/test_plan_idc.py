"""Plans on IDC's index: what each route brings and why, the same as groups, as rows, and in the ledger."""

import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import anyio
import duckdb
import pytest

from dicomhaul.cohort.tables import Shelf
from dicomhaul.config.source import resolve_sources
from dicomhaul.errors import CohortError
from dicomhaul.land.layout import IDC_LAYOUT, PLAIN_LAYOUT, parse_layout
from dicomhaul.model import Proof, Query, Routing, Shard
from dicomhaul.plan.estimate import Summary
from dicomhaul.planner.idc import plan_on_idc
from dicomhaul.planner.request import Load, PlanRequest, Progress
from dicomhaul.planner.routing import Router
from dicomhaul.planner.server import plan_on_server
from dicomhaul.planner.sheet import Sheet
from dicomhaul.record.ledger import Ledger
from support.fakes import write_cohort
from support.idc_origins import idc_manifest, idc_rows
from support.made_up import made_up_catalog, made_up_rows, manifest_of
from support.origin_process import origin_thread

PHANTOM = Query(collection=("qin_pet_phantom",))
MIXED = Query(collection=("tcga_acc", "acrin_nsclc_fdg_pet", "mediastinal_lymph_node_seg"))
NO_FILE = Path("/nonexistent/ledger.sqlite3")  # makes a plan go through its rows
BULK = "the buckets are IDC's own way for bulk: free, and without a quota"


def never(name: str) -> int | None:
    raise AssertionError(f"nobody needs to know the quota of {name}")


def sheet_for(request: PlanRequest, left: Callable[[str], int | None] = never) -> Sheet:
    told: list[Progress] = []
    router = Router(request.source.offers(request.quota_bytes), left)
    return Sheet(request, parse_layout(request.layout), router, [], told.append)


def plan(
    query: Query, source: str = "idc", left: Callable[[str], int | None] = never, *, present: Path | None = None,
    load: Path | None = None,
) -> Summary:  # fmt: skip
    loaded = None if load is None else Load(load, True, "name", "mark", "2024-01-01T00:00:00+00:00")
    request = PlanRequest(query, resolve_sources(source), IDC_LAYOUT, loaded, present)
    return plan_on_idc(sheet_for(request, left))


def test_whole_series_come_by_the_buckets() -> None:
    summary = plan(PHANTOM)
    assert (summary.source, summary.notes, summary.skipped) == ("idc-bucket, idc-proxy", (), {})
    assert summary.routes == {"idc-bucket": summary.total}
    assert summary.reasons == {"idc-bucket": {BULK: summary.total}}
    assert summary.total.instances == 2816


def test_gcs_is_another_route() -> None:
    source = resolve_sources("idc", location="gcs")
    summary = plan_on_idc(sheet_for(PlanRequest(PHANTOM, source, IDC_LAYOUT)))
    assert list(summary.routes) == ["idc-bucket-gcs"]


@pytest.fixture(scope="module")
def by_bucket() -> dict[str, int]:
    """Series of all of IDC by their bucket."""
    with duckdb.connect() as db:
        path = Shelf().bundled["index"]
        return dict(db.execute(f"SELECT aws_bucket, count(*) FROM '{path}' GROUP BY 1").fetchall())


def test_what_google_does_not_hold_is_said_before_anything_starts(by_bucket: dict[str, int]) -> None:
    summary = plan(Query(everything=True), "idc-google")
    assert summary.total.series == by_bucket.pop("idc-open-data")
    assert summary.skipped == {f"idc-google does not hold the bucket {name}": n for name, n in by_bucket.items()}
    assert summary.notes == ("IDC's public buckets have all of its series: --source idc-google,idc-bucket",)
    both = plan(Query(everything=True), "idc-google,idc-bucket")
    assert both.skipped == {}
    assert {name: amount.series for name, amount in both.routes.items()} == {
        "idc-google": summary.total.series,
        "idc-bucket": sum(by_bucket.values()),
    }


def test_what_the_proxy_cannot_answer_is_said_before_anything_starts() -> None:
    summary = plan(Query(everything=True), "idc-proxy")
    (reason,) = summary.skipped
    assert reason == "an instance of it is larger than an answer of idc-proxy (32 MB)"
    assert 200_000 < summary.skipped[reason] < 300_000
    assert set(summary.reasons["idc-proxy"]) == {"whole series", "instance by instance: more than 32 MB"}


@pytest.mark.parametrize(
    ("query", "source"),
    [
        (MIXED, "idc-google,idc-proxy,idc-bucket"),
        (replace(MIXED, idc_version=20), "idc-google,idc-proxy,idc-bucket"),
        (replace(MIXED, shard=Shard(2, 3)), "idc-google,idc-proxy,idc-bucket"),
        (replace(MIXED, limit_series=700), "idc-google,idc-proxy,idc-bucket"),
        (MIXED, "idc"),
        (MIXED, "idc-google"),
        (MIXED, "idc-proxy"),
    ],
    ids=["now", "v20", "shard", "limited", "idc", "google", "proxy"],
)
def test_groups_and_rows_say_the_same(query: Query, source: str) -> None:
    unlimited: Callable[[str], int | None] = lambda _: None  # noqa: E731 - a name for the reader
    assert plan(query, source, unlimited) == plan(query, source, unlimited, present=NO_FILE)


def some_instances(count: int, *collections: str) -> Query:
    """Two instances each of the first series of collections, which no table of instances has to know."""
    lines = ["SeriesInstanceUID,SOPInstanceUID"]
    with duckdb.connect() as db:
        path = Shelf().bundled["index"]
        for collection in collections or ("qin_pet_phantom",):
            rows = db.execute(
                f"SELECT SeriesInstanceUID FROM '{path}' WHERE collection_id = ? ORDER BY 1 LIMIT {count}", [collection]
            ).fetchall()
            lines += [f"{uid},1.2.{n}" for (uid,) in rows for n in (1, 2)]
    return Query(manifest="\n".join(lines))


def test_single_instances_come_by_the_proxy() -> None:
    summary = plan(some_instances(5), left=lambda _: None)
    assert list(summary.routes) == ["idc-proxy"]
    assert summary.total.instances == 10
    assert list(summary.reasons["idc-proxy"]) == ["single instances: the keys of a bucket do not name them"]


def test_a_quota_is_planned_for_as_far_as_it_goes(tmp_path: Path) -> None:
    query = some_instances(20)
    left: Callable[[str], int | None] = {"idc-proxy": 1_000_000}.get
    summary = plan(query, left=left)
    series = {name: amount.series for name, amount in summary.routes.items()}
    assert sum(series.values()) == 20
    assert 0 < series["idc-proxy"] < 20
    (reason,) = summary.reasons["idc-bucket"]
    assert reason.endswith("more than what is left of today's quota of idc-proxy")
    assert summary == plan(query, left=left, present=NO_FILE)
    plan(query, left=left, load=tmp_path / "ledger.sqlite3")
    assert in_ledger(tmp_path / "ledger.sqlite3") == series
    assert list(plan(query, left=lambda _: 0).routes) == ["idc-bucket"]


def test_a_count_that_overran_is_made_anew() -> None:
    query = some_instances(6, "qin_pet_phantom", "rider_lung_ct")
    routes = set()
    for size_bytes in (500_000, 1_500_000, 3_000_000):
        left: Callable[[str], int | None] = {"idc-proxy": size_bytes}.get
        by_groups = plan(query, left=left)
        assert by_groups == plan(query, left=left, present=NO_FILE)
        routes.add(tuple(amount.series for amount in by_groups.routes.values()))
    assert len(routes) > 1


def in_ledger(path: Path) -> Counter[str]:
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT first, count(*) FROM series JOIN route ON route.id = series.route GROUP BY 1")
        return Counter(dict(rows.fetchall()))


def test_the_ledger_gets_what_the_plan_says(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    query = replace(MIXED, idc_version=20)
    planned = plan(query, "idc-google")
    loaded = plan(query, "idc-google", load=path)
    assert in_ledger(path) == Counter(
        {"": sum(planned.skipped.values()), "idc-google": planned.routes["idc-google"].series}
    )
    for reason, count in planned.skipped.items():
        assert f"{count:,} series cannot come: {reason}" in loaded.notes
    with closing(sqlite3.connect(path)) as db:
        prior = dict(db.execute("SELECT prior, count(*) FROM series GROUP BY 1").fetchall())
        (unrouted,) = db.execute(
            "SELECT count(*) FROM series s JOIN route r ON r.id = s.route WHERE prior AND first = ''"
        ).fetchone()
    assert prior[1] == unrouted >= planned.skipped["an earlier revision: idc-google has only the newest"] > 0


def test_shards_add_up() -> None:
    whole = plan(PHANTOM).total
    parts = [plan(replace(PHANTOM, shard=Shard(number, 3))) for number in (1, 2, 3)]
    assert sum(part.total.series for part in parts) == whole.series
    assert sum(part.total.size_bytes or 0 for part in parts) == whole.size_bytes
    assert all(part.notes == () for part in parts)


def test_an_empty_shard_is_a_note(tmp_path: Path) -> None:
    few = replace(PHANTOM, limit_series=1)
    empty = [summary for n in (1, 2) if not (summary := plan(replace(few, shard=Shard(n, 2)))).total.series]
    assert len(empty) == 1
    assert empty[0].notes[0].startswith("shard ")
    assert empty[0].notes[0].endswith("/2 of this cohort is empty")


def test_what_is_there_is_left_out_and_single_instances_never(tmp_path: Path) -> None:
    """A ledger says of a whole series that it is there; a damaged instance of it may be what is asked for."""
    (row,) = idc_rows("idc-open-data", 1)
    path = tmp_path / "ledger.sqlite3"
    with closing(Ledger.open(path, wal=False)) as ledger:
        write_cohort(ledger, [row._replace(folder="f", routing=Routing(("idc-bucket",), ""))])
        with ledger.transaction():
            ledger.complete_series(1, Proof.COUNT, 0, "idc-bucket")
    whole = plan(Query(manifest=idc_manifest([row])), present=path)
    assert (whole.total.series, whole.skipped) == (0, {"already there": 1})
    single = plan(Query(manifest=idc_manifest([], {row.series: ["1.2.3"]})), left=lambda _: None, present=path)
    assert (single.total.instances, single.skipped) == (1, {})


# -- servers ------------------------------------------------------------------------------------------------------


def on_server(url: str, query: Query) -> Summary:
    request = PlanRequest(query, resolve_sources(url, profile="generic"), PLAIN_LAYOUT)
    return anyio.run(plan_on_server, sheet_for(request), {})


def test_shards_of_a_server_part_what_it_lists() -> None:
    rows = made_up_rows(1, 2, 3, 4, 5, 6)
    with origin_thread(made_up_catalog(1, 2, 3, 4, 5, 6)) as origin:
        for query in (Query(everything=True), Query(manifest=manifest_of(rows))):
            whole = on_server(origin.url, query).total
            parts = [on_server(origin.url, replace(query, shard=Shard(number, 3))).total for number in (1, 2, 3)]
            assert (whole.series, whole.instances) == (6, 21)
            assert sum(part.series for part in parts) == whole.series
            assert sum(part.instances or 0 for part in parts) == whole.instances
            assert max(part.series for part in parts) < whole.series


def test_the_one_route_of_a_server_has_its_name() -> None:
    summary = on_server("http://127.0.0.1:1", Query(manifest=manifest_of(made_up_rows(2, 3))))
    assert summary.routes == {"generic (127.0.0.1:1)": summary.total}
    assert summary.reasons == {"generic (127.0.0.1:1)": {"whole series": summary.total}}


@pytest.mark.parametrize(
    ("query", "flag"),
    [
        (Query(idc_version=3), "--idc-version"),
        (Query(licenses_allowed=("CC BY 4.0",)), "--license-allow"),
        (Query(where="true"), "--where"),
    ],
)
def test_what_only_the_index_knows_is_refused_on_a_server(query: Query, flag: str) -> None:
    manifest = manifest_of(made_up_rows(2))
    with pytest.raises(CohortError, match=f"{flag} needs IDC's index"):
        on_server("http://127.0.0.1:1", replace(query, manifest=manifest))
