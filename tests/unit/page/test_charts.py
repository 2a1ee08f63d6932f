"""Charts: round marks on the axes, rates that add up to what came, and nothing that could leave the drawing."""

import re
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomhaul.page.charts import Canvas, Column, byte_scale, columns, rates, share_bar, throughput, time_scale
from dicomhaul.record.account import SampleRow

_CANVAS = Canvas(328, 220)


@pytest.mark.parametrize(
    ("top", "unit", "labels"),
    [
        (0, "B", ["0", "0.5", "1"]),
        (950, "B", ["0", "500", "1000"]),
        (1_000, "kB", ["0", "0.5", "1"]),
        (197e6, "MB", ["0", "50", "100", "150", "200"]),
        (3.1e9, "GB", ["0", "1", "2", "3", "4"]),
        (7e18, "PB", ["0", "2000", "4000", "6000", "8000"]),
    ],
)
def test_bytes_have_round_marks(top: float, unit: str, labels: list[str]) -> None:
    scale = byte_scale(top)
    assert scale.unit == unit
    assert [scale.label(tick) for tick in scale.ticks] == labels or top == 0
    assert scale.ticks[-1] >= top


@pytest.mark.parametrize(
    ("span_s", "unit", "labels"),
    [
        (45, "s", ["0", "10", "20", "30", "40"]),
        (1_200, "min", ["0", "5", "10", "15", "20"]),
        (6 * 3_600, "h", ["0", "1", "2", "3", "4", "5", "6"]),
        (9 * 86_400, "d", ["0", "2", "4", "6", "8"]),
    ],
)
def test_time_has_round_marks(span_s: float, unit: str, labels: list[str]) -> None:
    scale = time_scale(span_s)
    assert (scale.unit, [scale.label(tick) for tick in scale.ticks]) == (unit, labels)


@given(st.floats(0, 1e20))
def test_any_axis_has_few_marks(top: float) -> None:
    assert 2 <= len(byte_scale(top).ticks) <= 7
    assert 1 <= len(time_scale(top / 1e10).ticks) <= 8


@given(st.lists(st.tuples(st.floats(0, 1e7), st.integers(0, 10**15)), max_size=30))
def test_rates_are_never_negative_and_a_drawing_stays_within_its_frame(rows: list[tuple[float, int]]) -> None:
    samples = [SampleRow(at_s, 0, size_bytes) for at_s, size_bytes in rows]  # in no order: somebody else's ledger
    assert all(rate >= 0 and begin < to for begin, to, rate in rates(samples))
    drawn = throughput(sorted(samples), _CANVAS, name="run 1", key="k")
    if drawn:
        root = ET.fromstring(drawn)
        pairs = [pair.split(",") for node in root if "points" in node.attrib for pair in node.attrib["points"].split()]
        assert all(0 <= float(x) <= _CANVAS.width and 0 <= float(y) <= _CANVAS.height for x, y in pairs)


def test_rates_add_up_to_what_came() -> None:
    samples = [SampleRow(10.0, 1, 1_000), SampleRow(30.0, 2, 1_500), SampleRow(31.0, 3, 9_500)]
    assert sum((to - begin) * rate for begin, to, rate in rates(samples)) == pytest.approx(9_500)
    assert rates(samples)[1] == (10.0, 30.0, 25.0)
    assert throughput([], _CANVAS, name="run 1", key="k") == ""


def test_a_drawing_says_in_words_what_it_shows() -> None:
    root = ET.fromstring(throughput([SampleRow(10.0, 1, 5_000_000)], _CANVAS, name="run <7>", key="k"))
    ids = {node.attrib["id"]: node.text for node in root if "id" in node.attrib}
    assert root.attrib["aria-labelledby"].split() == list(ids)
    assert ids == {"k-title": "Throughput of run <7>", "k-desc": "Mean 500 kB/s, at most 500 kB/s, over 10 s."}


def test_bars_do_not_tell_by_colour_alone_and_their_labels_have_room() -> None:
    bars = [Column(str(number), number * 1_000, is_well=number % 5 > 0) for number in range(1, 31)]
    root = ET.fromstring(columns(bars, _CANVAS, title="Bytes", axis="run", key="k"))
    kinds = [node.attrib["class"] for node in root if node.tag == "rect"]
    assert (kinds.count("bar"), kinds.count("bar-open")) == (24, 6)
    places = [float(node.attrib["x"]) for node in root if node.tag == "text" and (node.text or "").isdigit()
              and float(node.attrib["y"]) > _CANVAS.bottom + 10]  # fmt: skip
    assert min(later - earlier for earlier, later in pairwise(places)) > 24


def test_shares_fill_their_bar() -> None:
    drawn = share_bar([("a", 1), ("b", 0), ("c", 3)], 4)
    assert re.findall(r'class="(\w)" x="([\d.]+)" y="0" width="([\d.]+)"', drawn) == [
        ("a", "0.00", "25.00"),
        ("c", "25.00", "75.00"),
    ]
    assert "rect" not in share_bar([("a", 0)], 0)
