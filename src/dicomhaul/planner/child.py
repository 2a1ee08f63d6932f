"""The child's side: answer one request. Run as a module by `parent`.

What is resolved where: `idc` on IDC's index, `server` on a DICOMweb server; both give their rows to the `sheet`.
"""

import os
import sys
from dataclasses import replace
from typing import Final

import anyio

from dicomhaul.cohort.locked import check_lock_option
from dicomhaul.errors import CohortError, ConfigError, HaulError, QuotaExhausted
from dicomhaul.land.layout import BASE_FIELDS, parse_layout
from dicomhaul.plan.estimate import Summary
from dicomhaul.planner.bounds import bound_process
from dicomhaul.planner.budget import Budgets
from dicomhaul.planner.request import REPLY_JSON, REQUEST_JSON, Failed, PlanRequest, Reply
from dicomhaul.planner.routing import Router
from dicomhaul.planner.server import plan_on_server
from dicomhaul.planner.sheet import Sheet
from dicomhaul.record.lifeline import end_with_parent

_SQL_LIMIT_S: Final = 900.0
_TOO_LONG: Final = "planning with --sql or --where takes more than a quarter of an hour, and is given up"


def main() -> int:
    """Answer one request from standard input on standard output."""
    request = REQUEST_JSON.validate_json(sys.stdin.buffer.readline())
    end_with_parent()
    if request.query.sql is not None or request.query.where is not None:
        bound_process(_SQL_LIMIT_S, lambda: _say(Reply(failed=Failed(CohortError.__name__, _TOO_LONG, 0.0))))
    try:
        summary = _answer(request)
    except HaulError as error:
        until_s = error.until_s if isinstance(error, QuotaExhausted) else 0.0
        _say(Reply(failed=Failed(type(error).__name__, str(error), until_s)))
        return 1
    _say(Reply(summary=summary))
    return 0


def _say(reply: Reply) -> None:
    sys.stdout.buffer.write(REPLY_JSON.dump_json(reply) + b"\n")
    sys.stdout.buffer.flush()


def _answer(request: PlanRequest) -> Summary:
    layout = parse_layout(request.layout)
    source = request.source
    if request.lock is not None:
        check_lock_option(request.lock, request.query)
    notes: list[str] = []
    budgets = Budgets(
        source,
        quota_bytes=request.quota_bytes,
        ledger=request.present if request.load is None else request.load.ledger,
        environ=os.environ,
        notice=notes.append,
    )
    router = Router(source.offers(request.quota_bytes), budgets.left)
    sheet = Sheet(request, layout, router, notes, lambda progress: _say(Reply(progress=progress)))
    summary = _planned(sheet)
    budgets.ask_for(summary.routes)
    return replace(summary, quotas=budgets.quotas, notes=tuple(notes))


def _planned(sheet: Sheet) -> Summary:
    if sheet.request.source.index == "idc":
        from dicomhaul.planner.idc import plan_on_idc  # noqa: PLC0415 - DuckDB, which only IDC needs

        return plan_on_idc(sheet)
    unknown = [name for name in sheet.layout.fields if name not in BASE_FIELDS]
    if unknown:
        raise ConfigError(f"the layout names {', '.join(unknown)}, which only IDC's index knows")
    return anyio.run(plan_on_server, sheet, os.environ)


if __name__ == "__main__":
    sys.exit(main())
