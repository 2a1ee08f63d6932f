"""`merge`: what is refused, what a crash leaves, and trees that do not agree."""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicomhaul.destination import open_destination
from dicomhaul.errors import ConfigError, LedgerError
from dicomhaul.merging import merge
from dicomhaul.model import Shard
from dicomhaul.origin import Catalog, Origin
from support.command import TIMEOUT_S, Word, run_command
from support.destination import assert_recorded, expected_tree, read_ledger, read_tree
from support.made_up import made_up_catalog, made_up_rows, manifest_of
from support.origin_process import origin_thread

SIZES = (3, 1, 1, 2, 4, 2)


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return made_up_catalog(*SIZES)


@pytest.fixture(scope="module")
def origin(catalog: Catalog) -> Iterator[Origin]:
    with origin_thread(catalog) as serving:
        yield serving


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory, origin: Origin) -> list[Word]:
    manifest = tmp_path_factory.mktemp("cohort") / "list.csv"
    manifest.write_text(manifest_of(made_up_rows(*SIZES)))
    return [manifest, "--source", origin.url, "--json"]


@pytest.fixture(scope="module")
def pulled(tmp_path_factory: pytest.TempPathFactory, words: list[Word]) -> Path:
    """`shared`: a destination with both shards. `a`, `b`: a destination for each. Tests work on copies."""
    folder = tmp_path_factory.mktemp("pulled")
    for number, own in ((1, "a"), (2, "b")):
        for dest in (own, "shared"):
            assert run_command("pull", *words, "--shard", f"{number}/2", "-o", folder / dest).code == 0
    return folder


@pytest.fixture
def at(pulled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pulled, tmp_path / "at"))


DEATHS = {
    "while files are brought": "from dicomhaul.land.folder import Folder as at; name = 'move'",
    "before the end of the transaction": "from dicomhaul.record import unite as at; name = 'join_shards'",
    "before the index": "from dicomhaul import merging as at; name = 'write_index'",
    "before anything is removed": "from dicomhaul import merging as at; name = '_remove'",
}


@pytest.mark.parametrize("death", DEATHS)
@pytest.mark.parametrize("shape", ["shared", "apart"])
def test_killed_and_run_again(death: str, shape: str, at: Path, catalog: Catalog, words: list[Word]) -> None:
    dest = at / "shared" if shape == "shared" else at / "out"
    arguments = [str(dest)] if shape == "shared" else [str(at / "a"), str(at / "b"), "-o", str(dest)]
    killer = f"import os; {DEATHS[death]}; setattr(at, name, lambda *_, **__: os._exit(9)); "
    command = f"{killer} import sys; sys.argv[1:] = ['merge', *sys.argv[1:]]; from dicomhaul.cli.main import run; run()"
    died = subprocess.run([sys.executable, "-c", command, *arguments], timeout=TIMEOUT_S, check=False)
    never = (shape, death) in {("shared", "while files are brought"), ("apart", "before anything is removed")}
    assert died.returncode == (0 if never else 9)
    done = run_command("merge", *arguments, "--json")
    assert (done.code, done.json["state"], done.json["contested"]) == (0, "complete", [])
    assert read_tree(dest) == expected_tree(catalog)
    assert_recorded(dest, expected_tree(catalog))
    assert sorted(each.name for each in (dest / ".dicomhaul").iterdir()) == ["ledger.sqlite3", "lock", "staging"]
    assert list((dest / ".dicomhaul" / "staging").iterdir()) == []
    again = run_command("pull", *words, "-o", dest).json
    assert (again["state"], again["instances_landed"], again["requests"]) == ("complete", 0, 0)


def test_a_ledger_that_a_killed_process_had_only_begun_is_none(at: Path, words: list[Word]) -> None:
    for begun in (at / "shared", at / "new"):
        (begun / ".dicomhaul").mkdir(parents=True, exist_ok=True)
        (begun / ".dicomhaul" / "ledger.sqlite3").touch()
    assert run_command("pull", *words, "--shard", "1/2", "-o", at / "new").code == 0
    assert run_command("plan", *words, "-o", at / "new").code == 2  # shards are there
    assert merge([at / "shared"]).standing.instances_present == sum(SIZES)


def test_a_shard_at_work_keeps_it_from_being_merged(at: Path) -> None:
    with (
        open_destination(at / "shared", shard=Shard(2, 2)),
        pytest.raises(LedgerError, match=r"shard 2/2 of .*at work on this destination"),
    ):
        merge([at / "shared"])
    with open_destination(at / "a", shard=Shard(1, 2)), pytest.raises(LedgerError, match="shard 1/2"):
        merge([at / "a", at / "b"], at / "out")
    assert not (at / "out").exists()
    assert merge([at / "shared"]).standing.instances_present == sum(SIZES)


def test_what_makes_no_sense(at: Path) -> None:
    with pytest.raises(ConfigError, match="which, with -o"):
        merge([at / "a", at / "b"])
    with pytest.raises(ConfigError, match="into itself"):
        merge([at / "a", at / "b"], at / "a")
    with pytest.raises(ConfigError, match="not merged yet"):
        merge([at / "a"], at / "shared")
    with pytest.raises(LedgerError, match="nothing was ever pulled"):
        merge([at / "nothing"])
    with pytest.raises(LedgerError, match="nothing was ever pulled"):
        merge([at / "a", at / "nothing"], at / "out")
    assert sorted(each.name for each in at.iterdir()) == ["a", "b", "shared"]
    assert run_command("merge", "").code == 2


def test_one_that_has_no_shards_is_merged_already(at: Path, catalog: Catalog) -> None:
    for ledgers in (2, 0):
        done = run_command("merge", at / "shared", "--json")
        assert (done.code, done.json["ledgers_merged"], done.json["instances_present"]) == (0, ledgers, sum(SIZES))
    assert "complete: 0 ledgers merged" in run_command("merge", at / "shared").stdout
    assert_recorded(at / "shared", expected_tree(catalog))


def test_another_layout(at: Path, words: list[Word]) -> None:
    other: list[Word] = ["--layout", "{SeriesInstanceUID}", "--shard", "1/2", "-o", at / "c"]
    assert run_command("pull", *words, *other).code == 0
    done = run_command("merge", at / "b", at / "c", "-o", at / "out")
    assert (done.code, "layouts differ" in done.complaint) == (2, True)
    assert read_tree(at / "out") == {}
    assert run_command("merge", at / "a", at / "b", "-o", at / "out").code == 0


def test_where_nothing_can_be_linked_it_is_copied(at: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EXDEV, "another filesystem")

    monkeypatch.setattr(os, "link", refuse)
    damaged = next((at / "a").rglob("*.dcm"))
    content = damaged.read_bytes()
    damaged.write_bytes(bytes(len(content)))  # as long as before: only its digest tells
    gone = next((at / "b").rglob("*.dcm"))
    gone.unlink()
    merged = merge([at / "a", at / "b"], at / "out")
    assert (merged.linked, merged.copied, merged.united.lost) == (0, sum(SIZES) - 2, 2)
    assert merged.standing.series_complete < len(SIZES)
    whole = expected_tree(catalog)
    lost = {damaged.relative_to(at / "a").as_posix(), gone.relative_to(at / "b").as_posix()}
    assert_recorded(at / "out", {path: each for path, each in whole.items() if path not in lost})
    assert len({path.stat().st_ino for path in at.rglob("*.dcm")}) == len(list(at.rglob("*.dcm")))

    damaged.write_bytes(content)
    again = merge([at / "a", at / "b"], at / "out")
    assert (again.copied, again.united.lost) == (1, 1)
    rest = run_command("resume", at / "out", "--json")
    assert (rest.code, rest.json["instances_landed"]) == (0, 1)
    assert_recorded(at / "out", whole)


def test_a_link_in_place_of_an_instance_is_not_followed(at: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    victim = next((at / "a").rglob("*.dcm"))
    secret.write_bytes(victim.read_bytes())
    victim.unlink()
    victim.symlink_to(secret)
    assert merge([at / "a", at / "b"], at / "out").united.lost == 1
    assert not (at / "out" / victim.relative_to(at / "a")).exists()


def test_ledgers_that_live_elsewhere(tmp_path: Path, words: list[Word], catalog: Catalog) -> None:
    dest, state = tmp_path / "d", tmp_path / "state"
    there: list[Word] = ["-o", dest, "--state-dir", state]
    for number in (1, 2):
        assert run_command("pull", *words, "--shard", f"{number}/2", *there).code == 0
    assert run_command("status", dest, "--state-dir", state).code == 0
    assert run_command("merge", dest, "--state-dir", state).code == 0
    assert sorted(each.name for each in state.iterdir()) == ["ledger.sqlite3", "lock"]
    assert sorted(each.name for each in (dest / ".dicomhaul").iterdir()) == ["dest_id", "staging"]
    again = run_command("pull", *words, *there).json
    assert (again["instances_landed"], again["instances_present"], again["requests"]) == (0, sum(SIZES), 0)
    assert read_tree(dest) == expected_tree(catalog)


def test_destinations_that_were_never_sharded(tmp_path: Path, origin: Origin, catalog: Catalog) -> None:
    rows = made_up_rows(*SIZES)
    for name, some in (("a", rows[:3]), ("b", rows[1:])):
        words: list[Word] = ["--series", ",".join(row.series for row in some), "--source", origin.url]
        assert run_command("pull", *words, "-o", tmp_path / name).code == 0
    done = run_command("merge", tmp_path / "a", tmp_path / "b", "-o", tmp_path / "out", "--json")
    assert (done.code, done.json["ledgers_merged"], done.json["contested"]) == (0, 2, [])
    assert_recorded(tmp_path / "out", expected_tree(catalog))
    assert len(read_ledger(tmp_path / "out")) == sum(SIZES)
    assert len(run_command("status", tmp_path / "out", "--json").json["cohorts"]) == 2
