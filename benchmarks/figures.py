"""From runs to what is said of them: medians, ratios pair by pair, bars. Pure.

A ratio is that of two runs of one round: the machine's speed drifts, and both have much the same of it. Above one means
that ours is faster. The first round warms up and does not count. A pair of which one run went wrong has no ratio, and a
bar is met only if each of our runs went well.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from benchmarks.stages import Run, Stage
from benchmarks.workloads import BARS, DICOMHAUL, DICOMHAUL_BUCKET, DICOMHAUL_MD5, Bar

OURS: Final = (DICOMHAUL, DICOMHAUL_BUCKET, DICOMHAUL_MD5)
Rounds = Sequence[Mapping[str, Run]]


@dataclass(frozen=True)
class Result:
    """A workload that was run."""

    key: str
    stage: Stage
    rounds: Rounds  # those that count


def rows_of(result: Result) -> list[dict[str, Any]]:
    """Return a row for each contender."""
    return [_row(result, name, [each[name] for each in result.rounds]) for name in result.stage.contenders]


def _row(result: Result, name: str, runs: Sequence[Run]) -> dict[str, Any]:
    walls = [run.measured.wall_s for run in runs]
    cpu_s = median(run.measured.cpu_s for run in runs)
    wall_s, size_bytes = median(walls), result.stage.size_bytes
    problems = [run.problem for run in runs if run.problem]
    return {
        "workload": result.key,
        "title": result.stage.title,
        "contender": name,
        "wall_s": round(wall_s, 3),
        "walls_s": [round(each, 3) for each in walls],
        "mb_per_s": round(size_bytes / wall_s / 1e6, 1) if size_bytes else None,
        "instances_per_s": round(result.stage.instances / wall_s, 1) if size_bytes else None,
        "cpu_s": round(cpu_s, 3),
        "cpu_s_per_gb": round(cpu_s / size_bytes * 1e9, 2) if size_bytes else None,
        "peak_mb": round(max(run.measured.peak_mb for run in runs), 1),
        "tree_mb": round(max(run.measured.tree_mb for run in runs), 1),
        "problems": problems,
        "more": _more(runs),
    }


def _more(runs: Sequence[Run]) -> dict[str, float]:
    names = sorted({name for run in runs for name in run.more})
    return {name: round(median(run.more[name] for run in runs if name in run.more), 4) for name in names}


def ratios_of(result: Result) -> list[dict[str, Any]]:
    """Return how many times as fast each of ours is as each peer, and what part of its memory it takes."""
    names = list(result.stage.contenders)
    return [
        ratio
        for ours in names
        if ours in OURS
        for peer in names
        if peer not in OURS and (ratio := _ratio(result, ours, peer)) is not None
    ]


def _ratio(result: Result, ours: str, peer: str) -> dict[str, Any] | None:
    pairs = [(each[ours], each[peer]) for each in result.rounds if not each[ours].problem and not each[peer].problem]
    if not pairs:
        return None
    speeds = [theirs.measured.wall_s / our.measured.wall_s for our, theirs in pairs]
    return {
        "workload": result.key,
        "title": result.stage.title,
        "ours": ours,
        "peer": peer,
        "speed": round(median(speeds), 3),
        "speeds": [round(each, 3) for each in speeds],
        "memory": round(median(our.measured.tree_mb / theirs.measured.tree_mb for our, theirs in pairs), 4),
    }


def bars_of(
    keys: Iterable[str], rows: Sequence[Mapping[str, Any]], ratios: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return each bar of the workloads `keys`, with what was reached; None where nothing was."""
    judged = []
    for bar in BARS:
        if bar.workload not in keys:
            continue
        value = _value(bar, rows, ratios)
        judged.append(
            {
                "workload": bar.workload,
                "metric": bar.metric,
                "ours": bar.ours,
                "peer": bar.peer,
                "bound": bar.bound,
                "most": bar.most,
                "value": value,
                "met": value is not None and (value <= bar.bound if bar.most else value >= bar.bound),
            }
        )
    return judged


def _value(bar: Bar, rows: Sequence[Mapping[str, Any]], ratios: Sequence[Mapping[str, Any]]) -> float | None:
    row = next((each for each in rows if (each["workload"], each["contender"]) == (bar.workload, bar.ours)), None)
    if row is None or row["problems"]:
        return None
    if bar.peer:
        wanted = (bar.workload, bar.ours, bar.peer)
        found = [each for each in ratios if (each["workload"], each["ours"], each["peer"]) == wanted]
        return float(found[0][bar.metric]) if found else None
    value = row["more"].get(bar.metric, row.get(bar.metric))
    return None if value is None else float(value)
