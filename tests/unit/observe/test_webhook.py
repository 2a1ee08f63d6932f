"""What a webhook is told, whom it may be, and when it is tried again."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dicomhaul.errors import ConfigError, DiskFull
from dicomhaul.events import Event, Noticed
from dicomhaul.model import Failure
from dicomhaul.observe import webhook
from dicomhaul.observe.webhook import check_url, is_worth_telling, message, post, read_url
from dicomhaul.report import Report
from support.clock import FakeClock

REPORT = Report(dest=Path("/data/Doe^Jane"), state="partial", reason="2 failures")


@pytest.mark.parametrize(
    "url", ["https://there.example/x", "http://localhost:1/x", "http://127.9.9.9/x", "http://[::1]:8/x"]
)
def test_https_may_be_told_and_this_machine(url: str) -> None:
    assert check_url(url) in url


@pytest.mark.parametrize(
    "url",
    ["http://there.example/SECRET", "ftp://x/SECRET", "https:///SECRET", "https://x:SECRET/", "file:///SECRET",
     "https://u:SECRET@x/", "https://x/ SECRET", "https://x/\nSECRET", "http://127.0.0.1.SECRET.example/", "SECRET"],
)  # fmt: skip
def test_others_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check_url(url)
    assert "SECRET" not in str(refused.value)


def test_a_file_may_hold_the_url(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_text("https://there.example/x\n", encoding="ascii")
    assert read_url(file) == "https://there.example/x"
    file.write_bytes(b"\xff")
    for path in (file, tmp_path / "none", tmp_path):
        with pytest.raises(ConfigError, match="cannot read the webhook's URL"):
            read_url(path)


@pytest.mark.parametrize(
    ("state", "told"),
    [("complete", 0), ("interrupted", 0), ("partial", 1), ("paused", 1), ("failed", 1)],
)
def test_who_asks_for_failures_hears_of_those(state: str, told: int) -> None:
    assert (is_worth_telling(state, always=False), is_worth_telling(state, always=True)) == (bool(told), True)


def test_no_path_and_no_query_goes_out_and_no_more_failures_than_somebody_reads() -> None:
    reason = "cannot read /data/Doe^Jane/1.dcm, as https://pacs.example/studies?PatientName=Doe said"
    failures = tuple(Failure("1.2", f"1.2.{number}", None, reason) for number in range(50))
    told = message("nlst", replace(REPORT, failures=failures), None)
    assert (told["job"], told["state"], told["failures_in_all"], len(told["failures"])) == ("nlst", "partial", 50, 20)
    assert told["failures"][0]["series"] == "1.2.0"
    assert "Doe" not in str(told)
    assert "dest" not in told


def test_an_error_is_named_by_its_kind_with_the_report_that_it_carries() -> None:
    error = DiskFull("no space in /data/Doe^Jane")
    assert message("nlst", None, error) == {
        "job": "nlst", "state": "failed", "reason": "DiskFull", "error": "DiskFull"
    }  # fmt: skip
    error.report = replace(REPORT, instances_landed=5)
    told = message("nlst", None, error)
    assert (told["instances_landed"], told["state"], told["reason"]) == (5, "failed", "DiskFull")
    assert "Doe" not in str(told)


@pytest.mark.anyio
async def test_it_is_tried_three_times_with_longer_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, told, tries = FakeClock(), list[Event](), list[Any]()

    def fail(url: str, body: bytes) -> tuple[str, bool]:
        tries.append((url, body))
        return "ConnectionRefusedError", True

    monkeypatch.setattr(webhook, "_send", fail)
    assert not await post("https://there.example/SECRET", {"a": 1}, clock=clock, tell=told.append)
    assert tries == [("https://there.example/SECRET", b'{"a": 1}')] * 3
    assert clock.slept == [2.0, 4.0]
    assert told == [Noticed("the webhook at there.example was not told: ConnectionRefusedError")]
