"""What changed between two releases: on small made-up indexes against a model, and on the real one."""

import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomhaul.cohort.delta import KINDS, Change, Delta, open_delta
from dicomhaul.cohort.idc import open_idc
from dicomhaul.cohort.tables import Shelf
from dicomhaul.errors import CohortError
from dicomhaul.model import Query

NEWEST = 5
EVERYTHING = Query(everything=True)


class Revision(NamedTuple):
    """One revision of a series, and the releases that served it."""

    series: int
    first: int
    last: int
    collection: str = "ours"
    number: int = 0

    @property
    def uid(self) -> str:
        return f"1.2.{self.series}"

    @property
    def uuid(self) -> str:
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{self.series} {self.first}"))


@st.composite
def histories(draw: st.DrawFn) -> list[Revision]:
    """Series that come, are revised, leave, and come again, over the releases 1 to NEWEST."""
    found: list[Revision] = []
    for series in range(draw(st.integers(1, 6))):
        states = draw(st.lists(st.sampled_from("-=n"), min_size=NEWEST, max_size=NEWEST))
        collection = draw(st.sampled_from(["ours", "theirs"]))
        open_at: int | None = None
        for release, state in enumerate(states, start=1):
            if open_at is not None and state != "=":
                found.append(Revision(series, open_at, release - 1, collection))
                open_at = None
            if state != "-" and open_at is None:
                open_at = release
        if open_at is not None:
            found.append(Revision(series, open_at, NEWEST, collection))
    if not any(each.last == NEWEST for each in found):
        found.append(Revision(99, 1, NEWEST))
    return found


def made_up_shelf(folder: Path, revisions: Sequence[Revision]) -> Shelf:
    """Return a shelf whose index says of these revisions what IDC's would."""
    shelf = Shelf(folder=folder / "tables", base_url="http://127.0.0.1:9")
    shelf.idc_version = NEWEST
    init = {each.series: min(one.first for one in revisions if one.series == each.series) for each in revisions}
    present, prior = [], []
    for each in revisions:
        common = f"'{each.collection}', 'p', '1.1', '{each.uid}', '{each.uuid}', 'CT', 0.001::DOUBLE, 'idc', 's3'"
        if each.last == NEWEST:
            present.append(f"({common}, 3, 'CC', '2020-01-01', {init[each.series]}, {each.first})")
        else:
            prior.append(f"({common}, 'gcs', {each.first}, {each.last})")
    names = (
        "collection_id, PatientID, StudyInstanceUID, SeriesInstanceUID, crdc_series_uuid, Modality, series_size_MB, "
        "aws_bucket, series_aws_url"
    )
    later = "'c', 'p', '1.1', '1.9', 'u', 'CT', 0.001::DOUBLE, 'idc', 's3'"
    for name, columns, rows, none in (
        (
            "index",
            "instanceCount, license_short_name, StudyDate, series_init_idc_version, series_revised_idc_version",
            present,
            f"({later}, 1, 'CC', '', 1, 1)",
        ),
        ("prior_versions_index", "gcs_bucket, min_idc_version, max_idc_version", prior, f"({later}, 'gcs', 1, 1)"),
    ):
        path = folder / f"{name}.parquet"
        with duckdb.connect() as db:
            values = ", ".join(rows or [none])
            limit = "" if rows else " LIMIT 0"
            db.execute(
                f"COPY (SELECT * FROM (VALUES {values}) t({names}, {columns}){limit}) TO '{path}' (FORMAT parquet)"
            )
        shelf.bundled[name] = path
    return shelf


def served(revisions: Sequence[Revision], release: int, collection: str | None = None) -> dict[str, str]:
    """What the model has at a release: Series Instance UID -> crdc_series_uuid."""
    return {
        each.uid: each.uuid
        for each in revisions
        if each.first <= release <= each.last and collection in {None, each.collection}
    }


def changes_of(delta: Delta) -> list[Change]:
    return [change for batch in delta.iter_changes() for change in batch]


def applied(changes: Sequence[Change], cohort: dict[str, str]) -> dict[str, str]:
    """What a mirror holds after these changes; each has to fit to what it held."""
    held = dict(cohort)
    for change in changes:
        assert held.get(change.series) == change.old, change
        assert (change.change != "added") or change.old is None, change
        assert (change.change == "withdrawn") is (change.new is None), change
        if change.new is None:
            del held[change.series]
        else:
            held[change.series] = change.new
    return held


@settings(max_examples=15)
@given(revisions=histories(), before=st.integers(1, NEWEST), after=st.integers(1, NEWEST), whole=st.booleans())
def test_what_changed_makes_one_release_of_the_other(
    *, tmp_path_factory: pytest.TempPathFactory, revisions: list[Revision], before: int, after: int, whole: bool
) -> None:
    if before == after:
        return
    shelf = made_up_shelf(tmp_path_factory.mktemp("index"), revisions)
    collection = None if whole else revisions[0].collection
    query = EVERYTHING if collection is None else Query(collection=(collection,))
    was, now = served(revisions, before, collection), served(revisions, after, collection)
    if not was and not now:
        with pytest.raises(CohortError):
            _ = _changes(query, before, after, shelf)
        return
    changes = _changes(query, before, after, shelf)
    assert len({change.series for change in changes}) == len(changes)
    assert applied(changes, was) == now
    came = {each.uid: each.first for each in reversed(revisions)}
    for change in changes:
        if change.change == "revised" and change.old is None:  # it had left, or nobody names what it was
            assert came[change.series] <= before < after


def _changes(query: Query, before: int, after: int, shelf: Shelf) -> list[Change]:
    with open_delta(query, before, after, shelf=shelf) as delta:
        changes = changes_of(delta)
        counted = dict.fromkeys(KINDS, 0)
        for sums in delta.collections().values():
            for kind in KINDS:
                counted[kind] += sums.of(kind).series
    for kind, count in counted.items():
        assert count == sum(change.change == kind for change in changes)
    return changes


def test_a_collection_that_is_new_is_all_added_and_one_that_left_all_withdrawn(tmp_path: Path) -> None:
    old, new = Revision(1, 1, 3, "old"), Revision(2, 4, NEWEST, "new")
    shelf = made_up_shelf(tmp_path, [old, new])
    for query in (
        Query(targets=("new",)),
        Query(collection=("new",)),
        Query(targets=(new.uid,)),
        Query(series=(new.uid,)),
    ):
        ((change),) = _changes(query, 2, 5, shelf)
        assert change[:6] == ("added", "new", "1.1", new.uid, None, new.uuid)
        assert (change.instances, change.size_bytes) == (3, 1000)
    for query in (Query(targets=("old",)), Query(where="collection_id = 'old'")):
        ((change),) = _changes(query, 2, 5, shelf)
        assert change[:6] == ("withdrawn", "old", "1.1", old.uid, old.uuid, None)
        assert (change.instances, change.size_bytes) == (None, 1000)


def test_what_neither_release_has_is_told(tmp_path: Path) -> None:
    shelf = made_up_shelf(tmp_path, [Revision(1, 1, 3, "old"), Revision(2, 4, NEWEST, "new")])
    with pytest.raises(CohortError, match="IDC v5: there is no collection 'oldest'; there are: new"):
        _changes(Query(collection=("new", "oldest")), 2, 5, shelf)
    with pytest.raises(CohortError, match="has nothing of what is named"):
        _changes(Query(targets=("1.2.77",)), 2, 5, shelf)
    with pytest.raises(CohortError, match="nothing matches in IDC v2, nor in IDC v5"):
        _changes(Query(where="Modality = 'MR'"), 2, 5, shelf)
    with open_delta(Query(series=("1.2.2", "1.2.77")), 2, 5, shelf=shelf) as delta:
        assert delta.notes[-1] == "1 of those named are in neither release: series 1.2.77"


def test_a_series_whose_old_revision_nobody_names_was_revised_and_not_added(tmp_path: Path) -> None:
    hidden, kept = Revision(1, 2, 3), Revision(1, 4, NEWEST)
    other = Revision(2, 1, NEWEST)
    shelf = made_up_shelf(tmp_path, [hidden, kept, other])
    with duckdb.connect() as db:
        db.execute(
            f"COPY (SELECT * FROM '{shelf.bundled['prior_versions_index']}' LIMIT 0) "
            f"TO '{tmp_path / 'empty.parquet'}' (FORMAT parquet)"
        )
    shelf.bundled["prior_versions_index"] = tmp_path / "empty.parquet"
    (change,) = _changes(EVERYTHING, 2, 5, shelf)
    assert (change.change, change.old, change.new) == ("revised", None, kept.uuid)
    (change,) = _changes(EVERYTHING, 1, 5, shelf)
    assert (change.change, change.old) == ("added", None)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [(6, 5, "--from 6: the installed index"), (5, 6, "--to 6: the installed index"), (3, 3, "both say 3")],
)
def test_releases_that_cannot_be_compared_are_told(tmp_path: Path, before: int, after: int, message: str) -> None:
    shelf = made_up_shelf(tmp_path, [Revision(1, 1, NEWEST)])
    with pytest.raises(CohortError, match=message):
        _changes(EVERYTHING, before, after, shelf)


def test_sql_of_the_user_is_sandboxed_and_asks_each_release(tmp_path: Path) -> None:
    shelf = made_up_shelf(tmp_path, [Revision(1, 1, 3), Revision(1, 4, NEWEST), Revision(2, 4, NEWEST)])
    found = _changes(Query(sql="SELECT SeriesInstanceUID FROM index"), 3, 4, shelf)
    assert sorted((change.series, change.change) for change in found) == [("1.2.1", "revised"), ("1.2.2", "added")]
    (tmp_path / "secret.csv").write_text("SeriesInstanceUID\n1.2.1\n")
    with pytest.raises(CohortError, match="cannot be used here"):
        _changes(Query(sql=f"SELECT SeriesInstanceUID FROM read_csv('{tmp_path / 'secret.csv'}')"), 3, 4, shelf)


def test_on_the_real_index_the_difference_adds_up(tmp_path: Path) -> None:
    shelf = Shelf(folder=tmp_path / "tables", base_url="http://127.0.0.1:9")
    counts = []
    for release in (17, 23):
        with open_idc(Query(collection=("acrin_nsclc_fdg_pet",), idc_version=release), shelf=shelf) as cohort:
            counts.append(sum(group.series for group in cohort.groups()))
    with open_delta(Query(collection=("acrin_nsclc_fdg_pet",)), 17, 23, shelf=shelf) as delta:
        (sums,) = delta.collections().values()
    assert counts[1] == counts[0] + sums.added.series - sums.withdrawn.series
    assert sums.withdrawn.series > 0
