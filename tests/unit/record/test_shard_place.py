"""Where a shard keeps its state, and which shards one destination may have."""

from pathlib import Path

import pytest

from dicomhaul.destination import find_place, hold_at_rest, hold_whole, layout_of, open_destination
from dicomhaul.errors import ConfigError, LedgerError
from dicomhaul.model import Shard
from dicomhaul.record.place import place_of, shards_at
from support.fakes import series_row, write_cohort

ONE, TWO = Shard(1, 2), Shard(2, 2)


def ask_for(dest: Path, shard: Shard | None, state_dir: Path | None = None) -> None:
    with open_destination(dest, state_dir, shard) as destination:
        write_cohort(destination.ledger, [series_row("1.1")], name=str(shard))


def test_each_shard_has_a_ledger_a_lock_and_staging_of_its_own(tmp_path: Path) -> None:
    with open_destination(tmp_path, shard=ONE) as one, open_destination(tmp_path, shard=TWO) as two:
        private = tmp_path / ".dicomhaul"
        assert one.place.folder == private / "shard-1-of-2"
        assert (one.folder.staging, two.folder.staging) == (
            private / "shard-1-of-2" / "staging",
            private / "shard-2-of-2" / "staging",
        )
        assert one.folder.root == two.folder.root
        assert (one.shard, two.shard) == (ONE, TWO)
        (two.folder.staging / "part").write_bytes(b"not finished")
        with pytest.raises(LedgerError, match="another"), open_destination(tmp_path, shard=ONE):
            pass
    with open_destination(tmp_path, shard=ONE):  # sweeps what is left of its own
        assert (private / "shard-2-of-2" / "staging" / "part").exists()
    assert {each.stat().st_mode & 0o777 for each in (private, *private.iterdir())} == {0o700}


def test_the_shards_of_a_destination(tmp_path: Path) -> None:
    assert shards_at(tmp_path) == []
    for shard in (Shard(10, 12), Shard(2, 12), Shard(3, 12)):
        ask_for(tmp_path, shard)
    for name in ("shard-0-of-2", "shard-1-of-2x", "shard-1-of-2", "other"):
        (tmp_path / ".dicomhaul" / name).mkdir()  # none of them has a ledger
    assert shards_at(tmp_path) == [Shard(2, 12), Shard(3, 12), Shard(10, 12)]


def test_a_whole_and_shards_do_not_mix(tmp_path: Path) -> None:
    ask_for(tmp_path / "whole", None)
    with pytest.raises(ConfigError, match="as a whole"), open_destination(tmp_path / "whole", shard=ONE):
        pass
    assert not (tmp_path / "whole" / ".dicomhaul" / "shard-1-of-2").exists()
    ask_for(tmp_path / "shards", ONE)
    with pytest.raises(ConfigError, match="the shard 1/2, not merged yet"), open_destination(tmp_path / "shards"):
        pass
    with pytest.raises(ConfigError, match="the shard 1/2, not of 3"):
        find_place(tmp_path / "shards", shard=Shard(1, 3))
    assert find_place(tmp_path / "shards", shard=TWO) == place_of(tmp_path / "shards", shard=TWO)
    assert not (tmp_path / "shards" / ".dicomhaul" / "ledger.sqlite3").exists()
    for number in range(2, 8):
        ask_for(tmp_path / "many", Shard(number, 9))
    with pytest.raises(ConfigError, match="the shards 2/9, 3/9, 4/9, 5/9, …,"):
        find_place(tmp_path / "many")


def test_what_a_merge_left_that_did_not_come_to_its_end_is_no_whole(tmp_path: Path) -> None:
    ask_for(tmp_path, ONE)
    with hold_whole(tmp_path):
        pass
    assert find_place(tmp_path, shard=TWO).folder.name == "shard-2-of-2"


def test_who_comes_while_shards_are_merged_stays_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check is made again once the lock is held: nobody can come in between."""
    asked: list[Shard | None] = []

    def find(dest: Path, state_dir: Path | None = None, shard: Shard | None = None) -> None:
        asked.append(shard)
        if len(asked) == 2:
            find_place(dest, state_dir, shard)
        else:
            ask_for_whole()

    def ask_for_whole() -> None:
        with hold_whole(tmp_path) as whole:
            write_cohort(whole.ledger, [series_row("1.1")])

    monkeypatch.setattr("dicomhaul.destination.find_place", find)
    with pytest.raises(ConfigError, match="as a whole"), open_destination(tmp_path, shard=ONE):
        pass
    assert shards_at(tmp_path) == []


def test_the_layout_of_a_shard(tmp_path: Path) -> None:
    ask_for(tmp_path, ONE)
    assert layout_of(tmp_path, shard=ONE) == "{StudyInstanceUID}/{SeriesInstanceUID}"
    assert layout_of(tmp_path, shard=TWO) is None
    with pytest.raises(ConfigError, match="merge"):
        layout_of(tmp_path)


def test_at_rest_the_ledger_is_closed_and_nobody_else_comes_in(tmp_path: Path) -> None:
    ask_for(tmp_path, ONE)
    with hold_at_rest(tmp_path, shard=ONE) as (folder, place):
        assert sorted(each.name for each in place.folder.iterdir()) == ["ledger.sqlite3", "lock", "staging"]
        assert folder.staging == place.folder / "staging"
        with pytest.raises(LedgerError, match="at work"), open_destination(tmp_path, shard=ONE):
            pass


def test_shards_share_a_folder_for_ledgers(tmp_path: Path) -> None:
    state, dest = tmp_path / "state", tmp_path / "dest"
    ask_for(dest, ONE, state)
    ask_for(dest, TWO, state)
    assert sorted(each.name for each in state.iterdir()) == ["shard-1-of-2", "shard-2-of-2"]
    assert (dest / ".dicomhaul" / "dest_id").is_file()
    with (
        pytest.raises(ConfigError, match="another destination"),
        open_destination(tmp_path / "other", state, ONE),
    ):
        pass


def test_where_nothing_can_be_linked_a_destination_is_marked_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("os.link", refuse)
    ask_for(tmp_path / "dest", ONE, tmp_path / "state")
    ask_for(tmp_path / "dest", ONE, tmp_path / "state")
    assert sorted(each.name for each in (tmp_path / "dest" / ".dicomhaul").glob("dest_id*")) == ["dest_id"]
