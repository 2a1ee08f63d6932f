"""What a report says of itself."""

import json
from pathlib import Path

import pytest

from dicomhaul.errors import LedgerError
from dicomhaul.model import Failure
from dicomhaul.report import Report


def test_it_becomes_json() -> None:
    report = Report(Path("d"), "partial", elapsed_s=1.23456, failures=(Failure("1", "2", None, "why"),))
    table = json.loads(json.dumps(report.as_json()))
    assert table["state"] == "partial"
    assert table["elapsed_s"] == 1.235
    assert table["failures"] == [{"study": "1", "series": "2", "sop": None, "reason": "why"}]


def test_without_an_index_it_says_so(tmp_path: Path) -> None:
    report = Report(tmp_path, "interrupted")
    with pytest.raises(LedgerError, match="run it again"):
        list(report.paths)
    with pytest.raises(LedgerError, match="run it again"):
        report.to_dataframe()
