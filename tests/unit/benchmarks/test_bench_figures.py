"""What the benchmark says of its runs: pairs and not averages, nothing left out, a bar is met or it is not."""

from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from benchmarks import plot
from benchmarks.figures import Result, bars_of, ratios_of, rows_of
from benchmarks.measure import Measured
from benchmarks.stages import Run, Stage
from benchmarks.workloads import (
    BARS,
    CURL,
    DICOMHAUL,
    DICOMHAUL_BUCKET,
    DICOMHAUL_MD5,
    DICOMWEB_CLIENT,
    IDC_CLIENT,
    S5CMD,
    TRANSFERS,
)


def run_of(wall_s: float, *, problem: str = "", **more: float) -> Run:
    measured = Measured(began_s=0, wall_s=wall_s, cpu_s=wall_s / 2, peak_mb=60, tree_mb=80, code=0, said="")
    return Run(measured, problem, more)


def result_of(key: str, *rounds: Mapping[str, Run]) -> Result:
    names = rounds[0]
    stage = Stage("title", 10**9, 100, dict.fromkeys(names, lambda: run_of(1.0)))
    return Result(key, stage, rounds)


def judged(result: Result) -> dict[tuple[str, str], dict[str, Any]]:
    bars = bars_of([result.key], rows_of(result), ratios_of(result))
    return {(each["metric"], each["peer"]): each for each in bars if each["ours"] == DICOMHAUL}


def test_a_ratio_is_that_of_two_runs_which_followed_each_other() -> None:
    rounds = [{DICOMHAUL: run_of(ours), CURL: run_of(theirs)} for ours, theirs in ((1, 2), (10, 5), (100, 400))]
    (ratio,) = ratios_of(result_of("a", *rounds))
    assert ratio["speeds"] == [2.0, 0.5, 4.0]
    assert ratio["speed"] == 2.0


def test_a_row_has_the_median_and_the_largest_memory() -> None:
    (row,) = rows_of(result_of("a", *({CURL: run_of(wall)} for wall in (4, 1, 2))))
    assert (row["wall_s"], row["mb_per_s"], row["instances_per_s"]) == (2, 500.0, 50.0)
    assert (row["cpu_s_per_gb"], row["peak_mb"], row["problems"]) == (1.0, 60, [])


def test_a_run_of_a_peer_with_a_problem_makes_no_pair() -> None:
    short, whole = run_of(0.1, problem="3 of 100 are there"), run_of(2)
    rounds = [{DICOMHAUL: run_of(1), S5CMD: each} for each in (short, whole)]
    result = result_of("a", *rounds)
    assert [row["problems"] for row in rows_of(result)] == [[], ["3 of 100 are there"]]
    assert [each["speeds"] for each in ratios_of(result)] == [[2.0]]


def test_a_bar_is_not_met_if_one_of_our_runs_went_wrong() -> None:
    rounds = [{DICOMHAUL: run_of(1, problem=problem), CURL: run_of(9)} for problem in ("", "", "3 of 100 are there")]
    assert judged(result_of("a", *rounds[:2]))["speed", CURL]["met"]
    assert judged(result_of("a", *rounds))["speed", CURL]["value"] is None


@pytest.mark.parametrize(("theirs", "met"), [(1.0, True), (0.99, False), (1.5, True)])
def test_a_bar_of_speed(theirs: float, met: bool) -> None:  # noqa: FBT001 - a parameter of the test
    bars = judged(result_of("a", {DICOMHAUL: run_of(1.0), CURL: run_of(theirs)}))
    assert bars["speed", CURL]["met"] is met
    assert bars["speed", CURL]["value"] == theirs
    assert bars["speed", DICOMWEB_CLIENT] | {"bound": 0} == {
        "workload": "a",
        "metric": "speed",
        "ours": DICOMHAUL,
        "peer": DICOMWEB_CLIENT,
        "bound": 0,
        "most": False,
        "value": None,
        "met": False,  # what was not measured is not met
    }


def test_a_bar_of_the_bucket_is_held_against_what_came_from_the_bucket() -> None:
    result = result_of("a", {DICOMHAUL: run_of(1.0), DICOMHAUL_BUCKET: run_of(2.0), S5CMD: run_of(3.0)})
    bars = bars_of(["a"], rows_of(result), ratios_of(result))
    assert {each["ours"]: each["value"] for each in bars if each["peer"] == S5CMD} == {
        DICOMHAUL: 3.0,
        DICOMHAUL_BUCKET: 1.5,
        DICOMHAUL_MD5: None,
    }


def test_a_bar_of_what_is_at_most() -> None:
    run = run_of(1.0, allowed_share=0.97, wasted_share=0.021)
    bars = judged(result_of("f", {DICOMHAUL: run}))
    assert (bars["allowed_share", ""]["met"], bars["wasted_share", ""]["met"]) == (True, False)
    broken = judged(result_of("f", {DICOMHAUL: run_of(1.0, problem="exit 3", allowed_share=1.0)}))
    assert broken["allowed_share", ""]["value"] is None


def test_every_bar_names_a_workload_and_who_runs_in_it() -> None:
    contenders = {each.key: each.contenders for each in TRANSFERS}
    contenders |= {"h": (DICOMHAUL,), "i": (DICOMHAUL, IDC_CLIENT)}
    for bar in BARS:
        assert bar.ours in contenders[bar.workload]
        assert bar.peer in {"", *contenders[bar.workload]}


def test_the_plot_shows_who_is_behind_and_needs_nothing_from_elsewhere() -> None:
    ours = {DICOMHAUL: run_of(1.0), DICOMHAUL_BUCKET: run_of(1.2), DICOMHAUL_MD5: run_of(10.0)}
    result = result_of("a", {**ours, CURL: run_of(0.4), S5CMD: run_of(3.0)})
    document = {
        "date": "2024-01-01",
        "machine": {"processor": "a <b> & c", "cores": "2"},
        "ratios": ratios_of(result),
        "bars": bars_of(["a"], rows_of(result), ratios_of(result)),
    }
    svg = plot.ratios(document)
    texts = [each.text for each in ET.fromstring(svg).iter() if each.text]
    assert {"0.40x", "3.00x", "2.50x", "0.30x"} <= set(texts)  # each of ours beside each peer
    assert {"curl -Z", "s5cmd", "bucket / s5cmd", "bucket, MD5 / s5cmd"} <= set(texts)
    assert "href" not in svg
