"""A sync that is killed while folders change places: whoever looks finds one revision, and the next sync ends it."""

from pathlib import Path
from uuid import NAMESPACE_OID, uuid5

import pytest

from dicomhaul.origin import synthetic_holdings
from support.command import run_command
from support.destination import assert_recorded, read_tree
from support.disk import open_disk
from support.idc_origins import idc_rows, idc_thread, idc_tree, write_profiles
from support.idc_releases import write_release


def test_killed_before_and_between_two_renames_the_next_sync_ends_what_was_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filed, old = (row._replace(size_bytes=(row.expected or 1) * 1_000) for row in idc_rows("idc-open-data", 2))
    new = old._replace(revision=str(uuid5(NAMESPACE_OID, "new")), expected=3, size_bytes=4_500)
    rows = {23: [filed, old], 24: [filed._replace(collection="renamed_collection"), new]}
    releases = {number: write_release(tmp_path, number, each) for number, each in rows.items()}
    holdings = synthetic_holdings([filed, old, new], max_instance_bytes=3_000)
    before, after = (idc_tree(holdings, each) for each in rows.values())
    with idc_thread(holdings) as origins, open_disk(tmp_path) as disk:
        dest = disk.root / "mirror"
        source = write_profiles(tmp_path, origins).source("bucket")
        sync = ("sync", "--all", "--source", source, "-o", dest, "--max-delete-fraction", "1", "--json", "-q")
        assert run_command(*sync, environ=releases[23].environ).code == 0
        origins.bucket.requests.clear()
        releases[24].install(monkeypatch)
        # Here no two names can be exchanged: the renamed collection is one rename, the new revision two. The first
        # crash comes when both revisions are there, the second when neither has the name.
        for nth, seen in ((2, len(before)), (2, filed.expected)):
            assert disk.kill_at("rename mark", nth, tmp_path, *sync) == "rename mark"
            there = read_tree(dest)
            assert there.items() <= (before | after).items()
            assert len(there) == seen
        ended = run_command(*sync)
        assert (ended.code, ended.json["state"]) == (0, "complete"), ended.stderr
        assert read_tree(dest) == after
        assert_recorded(dest, after)
        objects = [entry.path for entry in origins.bucket.requests if entry.level == "object"]
        assert len(objects) == len(set(objects)) == new.expected
        verified = run_command("verify", dest, "--json")
        assert (verified.code, verified.json["foreign"]) == (0, [])
