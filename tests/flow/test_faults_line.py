"""`pull` over a line that goes silent, crawls or goes away, and from a host that sends elsewhere or wants patience."""

from collections import Counter
from pathlib import Path

import pytest

from dicomhaul.origin import Down, Expire, Redirect, Rule, Slow, Stall, Status, in_thread, synthetic_catalog
from support.command import Word, run_command
from support.destination import assert_recorded, expected_tree, read_tree
from support.faulty import Asked, Case, pull_faulty
from support.loopback import open_loopback
from support.made_up import made_up_rows, manifest_of
from support.origin_process import origin_thread
from support.token_endpoint import TokenEndpoint

TOKEN = "never-show-me"
BEARER = f"Bearer {TOKEN}"
TRIES = 2
SILENCE = f"[limits]\nattempts = {TRIES}\nstall_timeout_s = 2.0\n"
ALL = frozenset({0, 1})
SILENT = {
    "stall for ever before headers, once": Case(Stall(), Asked(series=2)),
    "stall for ever at byte N, once": Case(Stall(after_bytes=3_000), Asked(series=2)),
    "stall for ever behind the first part, once": Case(Stall(after_bytes=12_000), Asked(series=2), count=3),
    "stall for ever before headers": Case(Stall(), Asked(series=TRIES), "has gone silent", ALL, always=True),
    "stall for ever at byte N": Case(
        Stall(after_bytes=3_000), Asked(series=TRIES), "has gone silent", ALL, always=True
    ),
}
CRAWLING = {
    "one byte a second, once": Case(Slow(), Asked(series=2)),
    "one byte a second from byte N, once": Case(Slow(after_bytes=12_000), Asked(series=2), count=3),
    "one byte a second": Case(Slow(), Asked(series=TRIES), "has gone silent", ALL, always=True),
}
IN_SHORT = {
    "403 for one series": Case(Status(status=403), Asked(), "403", ALL, always=True),
    "stall for ever before headers": Case(Stall(), Asked(), "has gone silent", ALL, always=True),
    "stall for ever at byte N": Case(Stall(after_bytes=3_000), Asked(), "has gone silent", ALL, always=True),
    "one byte a second": Case(Slow(), Asked(), "has gone silent", ALL, always=True),
}
PATIENCE = {
    "429 for ever, with seconds": Case(Status(status=429, retry_after_s=1), Asked(series=4), "429", ALL, always=True),
}


def test_what_is_refused_or_stops_coming_costs_no_other_series(tmp_path: Path) -> None:
    """In short, with one attempt each: three that fail again are an outage to the breaker, which waits."""
    pull_faulty(IN_SHORT, tmp_path, profile="[limits]\nattempts = 1\nstall_timeout_s = 1.5\n").assert_as_expected()


@pytest.mark.long
@pytest.mark.parametrize("cases", [SILENT, CRAWLING], ids=["silent", "crawling"])
def test_what_stops_coming_is_given_up(cases: dict[str, Case], tmp_path: Path) -> None:
    pull_faulty(cases, tmp_path, profile=SILENCE).assert_as_expected()


@pytest.mark.long
def test_patience_has_an_end(tmp_path: Path) -> None:
    """A host that throttles is asked four times as often as one that fails, at the pace that it asks for."""
    pull_faulty(PATIENCE, tmp_path, profile="[limits]\nattempts = 1\n").assert_as_expected()


def test_a_redirect_to_another_host(tmp_path: Path) -> None:
    """It is followed, once for each series, and without credentials; what comes from there is what lands."""
    rows = made_up_rows(2, 2)
    catalog = synthetic_catalog(rows)
    (tmp_path / "cohort.csv").write_text(manifest_of(rows), encoding="utf-8")
    with origin_thread(catalog) as there:
        to = there.url.removesuffix("/dicom-web") + "{path}"
        with origin_thread(catalog, rules=[Rule(action=Redirect(status=301, to=to))], authorization=BEARER) as here:
            ended = run_command(
                "pull", tmp_path / "cohort.csv", "--source", here.url, "-o", tmp_path / "dest", "--json",
                environ={"DICOMHAUL_TOKEN": TOKEN},
            )  # fmt: skip
            asked = sorted(entry.path for entry in here.requests)
            assert all(entry.authorized for entry in here.requests)
        assert sorted(entry.path for entry in there.requests) == asked
        assert not any(entry.authorized for entry in there.requests)
    assert (ended.code, ended.json["state"], ended.json["failures"]) == (0, "complete", [])
    assert len(asked) == len(rows)
    assert read_tree(tmp_path / "dest") == expected_tree(catalog)
    assert_recorded(tmp_path / "dest", expected_tree(catalog))


@pytest.mark.long
def test_a_host_that_goes_away_and_comes_back(tmp_path: Path) -> None:
    """Its connections are reset and its port is shut for a second: all wait, one probes, and no series is failed."""
    rows = made_up_rows(*[2] * 6)
    catalog = synthetic_catalog(rows)
    (tmp_path / "cohort.csv").write_text(manifest_of(rows), encoding="utf-8")
    down = Rule(level="series", times=frozenset({3}), action=Down(for_s=1.0))
    with origin_thread(catalog, rules=[down]) as origin:
        ended = run_command(
            "pull",
            tmp_path / "cohort.csv",
            "--source",
            origin.url,
            "-o",
            tmp_path / "dest",
            "--json",
            "--transfers",
            "2",
        )
        asked = Counter(entry.path for entry in origin.requests)
    assert (ended.code, ended.json["state"], ended.json["failures"]) == (0, "complete", [])
    assert read_tree(tmp_path / "dest") == expected_tree(catalog)
    assert_recorded(tmp_path / "dest", expected_tree(catalog))
    # The one that shut the port, and the one beside it, are asked for again, whatever else was tried in vain.
    assert len(asked) == len(rows)
    assert asked.total() <= len(rows) + 2
    assert ended.json["requests"] > asked.total()


@pytest.mark.long
def test_a_host_that_goes_away_for_good(tmp_path: Path) -> None:
    """Nobody waits for it longer than the user lets them: what came is kept, and the next run goes on."""
    rows = made_up_rows(*[2] * 6)
    catalog = synthetic_catalog(rows)
    (tmp_path / "cohort.csv").write_text(manifest_of(rows), encoding="utf-8")
    words: list[Word] = ["pull", tmp_path / "cohort.csv", "-o", tmp_path / "dest", "--json", "--transfers", "1"]
    with origin_thread(catalog, rules=[Rule(level="series", times=frozenset({3}), action=Down())]) as origin:
        ended = run_command(*words, "--source", origin.url, "--max-duration", "3s")
        assert len(origin.requests) == 3
    assert (ended.code, ended.json["state"], ended.json["instances_landed"]) == (4, "paused", 4)
    tree = read_tree(tmp_path / "dest")
    assert len(tree) == 4
    assert_recorded(tmp_path / "dest", tree)
    with origin_thread(catalog) as origin:
        again = run_command(*words, "--source", origin.url)
        assert len(origin.requests) == len(rows) - 2
    assert (again.code, again.json["state"]) == (0, "complete")
    assert read_tree(tmp_path / "dest") == expected_tree(catalog)


def test_a_token_that_expires_is_renewed_in_mid_run(tmp_path: Path) -> None:
    """401 until refreshed: the request is sent once more with a fresh token, and no series is failed."""
    rows = made_up_rows(*[2] * 4)
    catalog = synthetic_catalog(rows)
    (tmp_path / "cohort.csv").write_text(manifest_of(rows), encoding="utf-8")
    endpoint = TokenEndpoint()
    tokens = frozenset(f"Bearer never-show-token-{number}" for number in range(1, 6))
    expire = Rule(level="series", times=frozenset({3}), action=Expire())
    with (
        in_thread(open_loopback(endpoint.answer), name="tokens") as server,
        origin_thread(catalog, rules=[expire], authorization=tokens) as origin,
    ):
        (tmp_path / "mine.toml").write_text(
            f'name = "mine"\nextends = "google"\nurl = "{origin.url}"\n[auth]\nkind = "google"\n', encoding="utf-8"
        )
        where = f"127.0.0.1:{server.port}"
        ended = run_command(
            "pull", tmp_path / "cohort.csv", "--source", tmp_path / "mine.toml", "-o", tmp_path / "dest", "--json",
            "--transfers", "1",
            environ={
                "GCE_METADATA_HOST": where, "GCE_METADATA_IP": where, "NO_PROXY": "*", "HOME": str(tmp_path),
                "CLOUDSDK_CONFIG": str(tmp_path / "none"),
            },
        )  # fmt: skip
        statuses = [entry.status for entry in origin.requests]
    assert (ended.code, ended.json["state"], ended.json["failures"]) == (0, "complete", [])
    assert statuses == [200, 200, 401, 200, 200]
    assert len(endpoint.issued) == 2
    assert read_tree(tmp_path / "dest") == expected_tree(catalog)
    assert_recorded(tmp_path / "dest", expected_tree(catalog))
    assert "never-show" not in ended.stdout + ended.stderr
