"""The child's side: answer one request. Run as a module by `parent`.

What is resolved where: `idc` on IDC's index, `server` on a DICOMweb server; both give their rows to the `sheet`.
"""

import os
import sys
from contextlib import closing
from dataclasses import replace
from typing import Final

import anyio

from dicomhaul.cohort.locked import check_lock_option
from dicomhaul.config.options import QUERY_JSON
from dicomhaul.errors import CohortError, ConfigError, EmptyCohort, HaulError, QuotaExhausted
from dicomhaul.land.layout import BASE_FIELDS, parse_layout
from dicomhaul.plan.estimate import Summary
from dicomhaul.planner.bounds import bound_process
from dicomhaul.planner.budget import Budgets
from dicomhaul.planner.request import REPLY_JSON, REQUEST_JSON, Failed, PlanRequest, Reply
from dicomhaul.planner.routing import Router
from dicomhaul.planner.server import plan_on_server
from dicomhaul.planner.sheet import Sheet
from dicomhaul.record.ledger import Ledger
from dicomhaul.record.lifeline import end_with_parent
from dicomhaul.record.planned import refuse_nothing
from dicomhaul.record.preview import Preview

_SQL_LIMIT_S: Final = 900.0
_TOO_LONG: Final = "planning with --sql or --where takes more than a quarter of an hour, and is given up"


def main() -> int:
    """Answer one request from standard input on standard output, if there comes one.

    With `--ahead` nobody has one yet: what most requests need is imported meanwhile.
    """
    if "--ahead" in sys.argv[1:]:
        import dicomhaul.planner.idc  # noqa: F401, PLC0415 - DuckDB
    line = sys.stdin.buffer.readline()
    if not line:  # started ahead by a command that had nothing to plan
        return 0
    request = REQUEST_JSON.validate_json(line)
    end_with_parent()
    if request.query.sql is not None or request.query.where is not None:
        bound_process(_SQL_LIMIT_S, lambda: _say(Reply(failed=Failed(CohortError.__name__, _TOO_LONG, 0.0))))
    try:
        summary, preview = _answer(request)
    except HaulError as error:
        until_s = error.until_s if isinstance(error, QuotaExhausted) else 0.0
        _say(Reply(failed=Failed(type(error).__name__, str(error), until_s)))
        return 1
    _say(Reply(summary=summary, preview=preview))
    return 0


def _say(reply: Reply) -> None:
    sys.stdout.buffer.write(REPLY_JSON.dump_json(reply) + b"\n")
    sys.stdout.buffer.flush()


def _answer(request: PlanRequest) -> tuple[Summary, Preview | None]:
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
    try:
        summary = _planned(sheet)
    except EmptyCohort:
        _refuse_empty(request)
        raise
    budgets.ask_for(summary.routes)
    return replace(summary, quotas=budgets.quotas, notes=tuple(notes)), sheet.preview


def _refuse_empty(request: PlanRequest) -> None:
    """A mirror that holds something does not believe an answer that names nothing. Raises SyncRefused."""
    name, path = "", request.present
    if request.load is not None and request.load.following is not None:
        name, path = request.load.name, request.load.ledger
    elif request.foreseeing is not None:
        name = request.foreseeing.name
    if name and path is not None and Ledger.is_there(path):
        with closing(Ledger.open(path)) as ledger:
            refuse_nothing(ledger, name, QUERY_JSON.dump_json(request.query).decode(), request.source.word)


def _planned(sheet: Sheet) -> Summary:
    if sheet.request.source.index == "idc":
        from dicomhaul.planner.idc import plan_on_idc  # noqa: PLC0415 - DuckDB, which a server's cohort does without

        return plan_on_idc(sheet)
    unknown = [name for name in sheet.layout.fields if name not in BASE_FIELDS]
    if unknown:
        raise ConfigError(f"the layout names {', '.join(unknown)}, which only IDC's index knows")
    return anyio.run(plan_on_server, sheet, os.environ)


if __name__ == "__main__":
    sys.exit(main())
