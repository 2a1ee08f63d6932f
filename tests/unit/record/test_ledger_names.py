"""How files are named, what their bytes were held against, and which objects they came from."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_128_digest

from dicomhaul.config.options import NameBy
from dicomhaul.destination import open_destination
from dicomhaul.errors import ConfigError
from dicomhaul.land.folder import instance_file
from dicomhaul.model import Check, Receipt, SopUID
from dicomhaul.record.index_parquet import write_index
from dicomhaul.record.keys import pack_stem, unpack_stem
from dicomhaul.record.ledger import Ledger
from dicomhaul.verification import verify
from support.fakes import series_row, write_cohort

UUID = "0a1b2c3d-0000-4000-8000-00000000000"


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with closing(Ledger.open(tmp_path / "ledger.sqlite3")) as opened:
        write_cohort(opened, [series_row("1.1"), series_row("1.2")])
        yield opened


def receipt(sop: str, check: Check, stem: str | None, series_id: int = 1) -> Receipt:
    return Receipt(series_id, SopUID(sop), 10, bytes(16), check, stem)


RECEIPTS = [
    receipt("4.1", Check.MD5, f"{UUID}1"),
    receipt("4.2", Check.CRC32C, "no uuid"),
    receipt("4.3", Check.FRAMING, None),
    receipt("4.4", Check.MD5, f"{UUID}4", series_id=2),
]


@pytest.mark.parametrize("name_by", ["sop", "crdc", None])
def test_each_file_has_its_name_and_its_proof(ledger: Ledger, tmp_path: Path, name_by: str | None) -> None:
    if name_by is not None:
        ledger.set_meta("name_by", name_by)
    with ledger.transaction():
        ledger.add_receipts(RECEIPTS)
    by_stem = [f"{UUID}1.dcm", "no uuid.dcm", "4.3.dcm", f"{UUID}4.dcm"]
    names = by_stem if name_by == "crdc" else ["4.1.dcm", "4.2.dcm", "4.3.dcm", "4.4.dcm"]
    rows = list(ledger.iter_files())
    assert [row.file for row in rows] == names
    assert [row.check for row in rows] == [Check.MD5, Check.CRC32C, Check.FRAMING, Check.MD5]
    assert [row.file for row in ledger.iter_files(2)] == names[3:]
    assert write_index(rows, tmp_path / "index.parquet") == 4
    index = pq.read_table(tmp_path / "index.parquet").to_pylist()
    folders = ["2.25.1/1.1"] * 3 + ["2.25.1/1.2"]
    assert [row["path"] for row in index] == [f"{folder}/{name}" for folder, name in zip(folders, names, strict=True)]
    assert [row["checked"] for row in index] == ["md5", "crc32c", "framing", "md5"]
    assert ledger.known(1).stems == {f"{UUID}1": "4.1", "no uuid": "4.2"}


def test_proofs_are_counted(ledger: Ledger) -> None:
    assert ledger.standing().checks_as_json() == {"md5": 0, "crc32c": 0, "size": 0, "framing": 0}
    mine = write_cohort(ledger, [series_row("1.1")], name="mine")
    with ledger.transaction():
        ledger.add_receipts(RECEIPTS)
        ledger.add_wanted(1, ["4.9", "4.8"])
        ledger.fail_instance(1, "4.9", "gone")
    standing = ledger.standing()
    assert standing.checks_as_json() == {"md5": 2, "crc32c": 1, "size": 0, "framing": 1}
    assert (standing.instances_present, standing.instances_failed, standing.bytes_present) == (4, 1, 40)
    assert ledger.standing(mine).checks_as_json() == {"md5": 1, "crc32c": 1, "size": 0, "framing": 1}
    ledger.plan_again([(1, "4.1")], "damaged")
    assert ledger.standing(mine).checks_as_json() == {"md5": 0, "crc32c": 1, "size": 0, "framing": 1}


def test_an_object_that_is_recognised_is_remembered(ledger: Ledger) -> None:
    with ledger.transaction():
        ledger.add_receipts([receipt("4.3", Check.FRAMING, None)])
        ledger.add_wanted(1, ["4.5"])
        ledger.note_stems(1, {f"{UUID}3": "4.3", f"{UUID}5": "4.5", f"{UUID}9": "4.9"})
    assert ledger.known(1).stems == {f"{UUID}3": "4.3", f"{UUID}5": "4.5"}
    (row,) = ledger.iter_files()
    assert (row.file, row.check) == ("4.3.dcm", Check.FRAMING)


def test_a_file_that_is_there_keeps_its_name(ledger: Ledger) -> None:
    """In a folder of objects' names, one that came by another route has the SOP Instance UID for a name."""
    ledger.set_meta("name_by", "crdc")
    with ledger.transaction():
        ledger.add_receipts([receipt("4.3", Check.FRAMING, None)])
        ledger.add_wanted(1, ["4.5"])
        ledger.note_stems(1, {f"{UUID}3": "4.3", f"{UUID}5": "4.5"})
    assert [row.file for row in ledger.iter_files()] == ["4.3.dcm"]
    assert ledger.known(1).stems == {f"{UUID}5": "4.5"}


@given(st.uuids().map(str) | st.text(max_size=40) | st.uuids().map(lambda uid: str(uid).upper()) | st.none())
def test_a_stem_is_read_as_it_was_written(stem: str | None) -> None:
    packed = pack_stem(stem)
    assert unpack_stem(packed) == stem


def test_a_uuid_takes_sixteen_bytes() -> None:
    packed = pack_stem(f"{UUID}1")
    assert isinstance(packed, bytes)
    assert len(packed) == 16
    assert instance_file("4.1", unpack_stem(packed)) == f"{UUID}1.dcm"


# -- who decides --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("wanted", "chosen"), [(None, "sop"), ("sop", "sop"), ("crdc", "crdc")])
def test_the_first_cohort_decides(tmp_path: Path, wanted: NameBy | None, chosen: NameBy) -> None:
    other: NameBy = "crdc" if chosen == "sop" else "sop"
    with open_destination(tmp_path) as destination:
        assert destination.name_by(other) == other  # whatever it was for, nothing was planned
        assert destination.name_by(wanted) == chosen
        write_cohort(destination.ledger, [series_row("1.1")])
    with open_destination(tmp_path) as destination:
        assert destination.ledger.names_by_stem() == (chosen == "crdc")
        assert destination.name_by(None) == destination.name_by(chosen) == chosen
        with pytest.raises(ConfigError, match=f"--name-by {chosen}"):
            destination.name_by(other)


def test_a_destination_that_never_decided_names_by_the_uid(tmp_path: Path) -> None:
    with open_destination(tmp_path) as destination:
        write_cohort(destination.ledger, [series_row("1.1")])
        with pytest.raises(ConfigError):
            destination.name_by("crdc")
        assert destination.name_by(None) == "sop"


def test_a_tree_of_objects_names_is_verified(tmp_path: Path) -> None:
    content = b"instance"
    with open_destination(tmp_path) as destination:
        destination.name_by("crdc")
        write_cohort(destination.ledger, [series_row("1.1")])
        with destination.ledger.transaction():
            destination.ledger.add_receipts(
                Receipt(1, SopUID(f"4.{n}"), len(content), xxh3_128_digest(content), Check.MD5, f"{UUID}{n}")
                for n in range(3)
            )
        folder = tmp_path / "2.25.1" / "1.1"
        folder.mkdir(parents=True)
        for name in (f"{UUID}0", f"{UUID}1", "4.2"):  # the last one under a name that is not its own
            (folder / f"{name}.dcm").write_bytes(content)
    found = verify(tmp_path)
    assert [(str(finding.problem), finding.path) for finding in found.findings] == [
        ("missing", f"2.25.1/1.1/{UUID}2.dcm"),
        ("foreign", "2.25.1/1.1/4.2.dcm"),
    ]
    deep = verify(tmp_path, deep=True)
    assert sorted(finding.path for finding in deep.findings if finding.problem == "not DICOM") == [
        f"2.25.1/1.1/{UUID}0.dcm",
        f"2.25.1/1.1/{UUID}1.dcm",
    ]
