"""What is left of a quota today, before anything is planned for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dicomhaul.config.source import Sources, resolve_sources
from dicomhaul.origin import Allowance, Rule, Stall, Status, synthetic_holdings
from dicomhaul.plan.estimate import Amount
from dicomhaul.planner import budget
from dicomhaul.planner.budget import Budgets
from dicomhaul.record.ledger import Ledger
from support.clock import FakeClock
from support.idc_origins import idc_thread, write_profiles
from support.made_up import made_up_rows

ME = "127.0.0.1"
PROXY = "local-proxy"
GB = 1_000_000_000


@contextmanager
def sources(folder: Path, allowance: Allowance, *rules: Rule) -> Iterator[Sources]:
    with idc_thread(synthetic_holdings(made_up_rows(2)), rules={"proxy": list(rules)}, allowance=allowance) as origins:
        yield resolve_sources(write_profiles(folder, origins).source("bucket", "proxy"))


def budgets(
    chosen: Sources, *, quota_bytes: int | None = None, ledger: Path | None = None
) -> tuple[Budgets, list[str]]:
    notes: list[str] = []
    return Budgets(chosen, quota_bytes=quota_bytes, ledger=ledger, environ={}, notice=notes.append), notes


def test_the_proxy_says_it_itself(tmp_path: Path) -> None:
    with sources(tmp_path, Allowance(10 * GB, used={ME: 4 * GB})) as chosen:
        asked, notes = budgets(chosen)
        left = asked.left(PROXY)
        assert left is not None
        assert abs(left - 6 * GB) <= 1000  # implied by a fraction
        assert budgets(chosen, quota_bytes=5 * GB)[0].left(PROXY) == 1 * GB
        assert notes == []


def test_it_is_asked_once(tmp_path: Path) -> None:
    allowance = Allowance(10 * GB, used={ME: 4 * GB})
    with idc_thread(synthetic_holdings(made_up_rows(2)), allowance=allowance) as origins:
        chosen = resolve_sources(write_profiles(tmp_path, origins).source("bucket", "proxy"))
        asked, _ = budgets(chosen)
        assert asked.left(PROXY) == asked.left(PROXY)
        assert [entry.level for entry in origins.proxy.requests] == ["usage"]
        assert origins.bucket.requests == []


@pytest.mark.parametrize("alone", [True, False])
def test_who_gets_something_is_asked(*, alone: bool, tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    ledger = Ledger.open(path)
    with ledger.transaction():
        ledger.add_quota(PROXY, datetime.now(UTC).date().isoformat(), 5 * GB)
    ledger.close()
    with sources(tmp_path, Allowance(10 * GB, used={ME: 4 * GB})) as chosen:
        asked, _ = budgets(Sources(chosen.word, chosen.specs[1:]) if alone else chosen, ledger=path)
        asked.ask_for({"local-bucket": Amount(1, 1, 1), PROXY: Amount(1, 1, 0)})
        assert asked.quotas == {}
        asked.ask_for({"local-bucket": Amount(1, 1, 1), PROXY: Amount(1, None, None)})
        ((name, (limit_bytes, used_bytes)),) = asked.quotas.items()
        assert (name, used_bytes, abs(limit_bytes - 10 * GB) <= 1000) == (PROXY, 5 * GB, True)


def test_a_day_that_is_used_up(tmp_path: Path) -> None:
    with sources(tmp_path, Allowance(GB, used={ME: 2 * GB})) as chosen:
        assert budgets(chosen)[0].left(PROXY) == 0


def test_what_the_ledger_has_of_today_counts(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    ledger = Ledger.open(path)
    with ledger.transaction():
        ledger.add_quota(PROXY, datetime.now(UTC).date().isoformat(), 3 * GB)
        ledger.add_quota(PROXY, "2001-01-01", 99 * GB)
    ledger.close()
    with sources(tmp_path, Allowance(10 * GB), Rule(action=Status(status=404), level="usage")) as chosen:
        asked, notes = budgets(chosen, quota_bytes=5 * GB, ledger=path)
        assert asked.left(PROXY) == 2 * GB
        (note,) = notes
        assert "cannot be read" in note
        assert "as if there were none" not in note


def test_what_the_ledger_has_of_yesterday_does_not_count_after_midnight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan began before it, and asks after it."""
    path = tmp_path / "ledger.sqlite3"
    today = datetime.now(UTC)
    yesterday = today - timedelta(days=1)
    ledger = Ledger.open(path)
    with ledger.transaction():
        ledger.add_quota(PROXY, yesterday.date().isoformat(), 3 * GB)
    ledger.close()
    with sources(tmp_path, Allowance(10 * GB), Rule(action=Status(status=404), level="usage")) as chosen:
        with monkeypatch.context() as patched:
            patched.setattr(budget, "SystemClock", lambda: FakeClock(yesterday.timestamp()))
            asked, _ = budgets(chosen, quota_bytes=5 * GB, ledger=path)
        assert asked.left(PROXY) == 5 * GB


@pytest.mark.parametrize("rule", [Rule(action=Status(status=500), level="usage"), Rule(action=Stall(), level="usage")])
def test_what_cannot_be_read_is_a_note(rule: Rule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget, "_ASK_S", 0.3)
    with sources(tmp_path, Allowance(10 * GB), rule) as chosen:
        asked, notes = budgets(chosen)
        assert asked.left(PROXY) is None
    (note,) = notes
    assert "cannot be read" in note
    assert note.endswith("; planned as if there were none")


def test_a_source_without_quota_has_no_limit(tmp_path: Path) -> None:
    with sources(tmp_path, Allowance(GB)) as chosen:
        asked, notes = budgets(chosen, quota_bytes=5)
        assert asked.left("local-bucket") is None
        assert notes == []
