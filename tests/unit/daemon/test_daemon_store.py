"""What the daemon remembers outlasts it, and is never silently forgotten."""

from pathlib import Path

import pytest

from dicomhaul.daemon.decide import Begun, Ended, JobState
from dicomhaul.daemon.store import open_store
from dicomhaul.errors import LandingError, LedgerError

STATE = {
    "one": JobState(1.0, 2.0),
    "two": JobState(1.0, 2.5, Begun("a", 3.0, 4.0, "/data"), Ended(-9, interrupted=False, ended_at=5.0), 6.0, 7.0),
}


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    with open_store(tmp_path / "state") as store:
        assert store.load() is None
        store.save(STATE)
    with open_store(tmp_path / "state") as store:
        assert store.load() == STATE
    assert (tmp_path / "state").stat().st_mode & 0o077 == 0


def test_a_half_written_new_one_changes_nothing(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        store.save(STATE)
    (tmp_path / ".state.json.new").write_text('{"version": 1, "jo')
    with open_store(tmp_path) as store:
        assert store.load() == STATE


@pytest.mark.parametrize(
    "text",
    ["", "{", '{"version": 2, "jobs": {}}', '{"jobs": {}}', '{"version": 1}', '{"version": 1, "jobs": {"a": {}}}',
     '{"version": 1, "jobs": {"a": {"since": "1", "covered": 1}}}', "\0" * 100],
)  # fmt: skip
def test_a_damaged_state_is_an_error_and_no_fresh_start(tmp_path: Path, text: str) -> None:
    with open_store(tmp_path) as store:
        (tmp_path / "state.json").write_text(text)
        with pytest.raises(LedgerError, match="damaged"):
            store.load()


def test_one_daemon_at_a_time(tmp_path: Path) -> None:
    with open_store(tmp_path), pytest.raises(LedgerError, match="another daemon"), open_store(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LandingError), open_store(tmp_path / "file" / "state"):
        pass
