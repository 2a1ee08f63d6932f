"""What a request names and accepts, and which fault strikes it."""

from pathlib import Path

import pytest

from dicomhaul.errors import ConfigError
from dicomhaul.origin.accept import Offer, choose_offer
from dicomhaul.origin.faults import Part, Rule, Script, Status, Truncate, read_script
from dicomhaul.origin.resource import Resource, parse_resource
from dicomhaul.origin.style import AZURE, ORTHANC

STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
BUSY = Status(status=503)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/studies", Resource("search", "study", "/studies")),
        ("/series", Resource("search", "series", "/series")),
        ("/instances", Resource("search", "instance", "/instances")),
        ("/studies/1/series", Resource("search", "series", "/studies/{study}/series", "1")),
        ("/studies/1/instances", Resource("search", "instance", "/studies/{study}/instances", "1")),
        (
            "/studies/1/series/2/instances",
            Resource("search", "instance", "/studies/{study}/series/{series}/instances", "1", "2"),
        ),
        ("/studies/1", Resource("study", "study", "/studies/{study}", "1")),
        ("/studies/1/series/2", Resource("series", "series", "/studies/{study}/series/{series}", "1", "2")),
        (
            "/studies/1/series/2/instances/3",
            Resource("instance", "instance", "/studies/{study}/series/{series}/instances/{instance}", "1", "2", "3"),
        ),
        ("/studies/1/metadata", Resource("metadata", "study", "/studies/{study}", "1")),
    ],
)
def test_paths(path: str, expected: Resource) -> None:
    assert parse_resource(path) == expected


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "/metadata", "/studies/", "/studies//series", "/series/1", "/studies/1/instances/2"),
        *("/instances/1/series", "/studies/1/series/metadata", "/studies/1/frames/2", "/studies/1/studies"),
        "/series/1/studies",
    ],
)
def test_paths_that_name_nothing(path: str) -> None:
    assert parse_resource(path) is None


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (STORED, Offer(multipart=True, syntax="*")),
        ("multipart/related;type=application/dicom;Transfer-Syntax=*", Offer(multipart=True, syntax="*")),
        ('multipart/related; type="application/dicom"', Offer(multipart=True, syntax="1.2.840.10008.1.2.1")),
        ("*/*", Offer(multipart=True, syntax="*")),
        ("", Offer(multipart=True, syntax="*")),
        ("application/dicom; transfer-syntax=*", Offer(multipart=False, syntax="*")),
        (f"text/html, {STORED}", Offer(multipart=True, syntax="*")),
        ('multipart/related; type="application/octet-stream"', None),
        ("text/html", None),
    ],
)
def test_accept(accept: str, expected: Offer | None) -> None:
    assert choose_offer(accept, AZURE, one_instance=True) == expected


def test_a_single_part_is_for_one_instance_and_for_styles_that_have_it() -> None:
    assert choose_offer("application/dicom", AZURE, one_instance=False) is None
    assert choose_offer("application/dicom", ORTHANC, one_instance=True) is None


def strikes(rule: Rule, count: int, path: str = "/studies/1") -> list[int]:
    script = Script([rule], seed=3)
    return [n for n in range(1, count + 1) if script.strike(path, "study") is not None]


def test_when_a_rule_strikes() -> None:
    assert strikes(Rule(action=BUSY), 3) == [1, 2, 3]
    assert strikes(Rule(action=BUSY, times=frozenset({2, 5})), 6) == [2, 5]
    assert strikes(Rule(action=BUSY, every=3), 9) == [3, 6, 9]
    assert strikes(Rule(action=BUSY, most=2), 9) == [1, 2]
    assert strikes(Rule(action=BUSY, chance=0.3), 200) == strikes(Rule(action=BUSY, chance=0.3), 200)
    assert 30 < len(strikes(Rule(action=BUSY, chance=0.3), 200)) < 90
    assert strikes(Rule(action=BUSY, level="series"), 3) == []
    assert strikes(Rule(action=BUSY, path="/2$"), 3) == []


def test_paths_can_be_counted_apart() -> None:
    together, apart = Rule(action=BUSY, times=frozenset({1})), Rule(action=BUSY, times=frozenset({1}), each_path=True)
    for rule, expected in ((together, [True, False]), (apart, [True, True])):
        script = Script([rule])
        assert [script.strike(path, "study") is not None for path in ("/studies/1", "/studies/2")] == expected


def test_the_first_rule_whose_turn_it_is_decides_and_all_count() -> None:
    script = Script([Rule(action=BUSY, times=frozenset({1})), Rule(action=Truncate(), times=frozenset({2}))])
    assert [script.strike("/studies", "search") for _ in range(3)] == [BUSY, Truncate(), None]


def test_a_script_is_read_from_toml(tmp_path: Path) -> None:
    file = tmp_path / "faults.toml"
    file.write_text(
        """
        [[rule]]
        level = "series"
        times = [1]
        action = { do = "status", status = 503, headers = { Retry-After = "2" } }
        [[rule]]
        action = { do = "part", wrong = "omit", index = -1 }
        """,
        encoding="utf-8",
    )
    script = read_script(file)
    assert script.strike("/studies/1/series/2", "series") == Status(status=503, headers={"Retry-After": "2"})
    assert script.strike("/studies/1/series/2", "series") == Part(wrong="omit", index=-1)


@pytest.mark.parametrize(
    "text",
    [
        "[[rule]",
        "[[rule]]\n",
        '[[rule]]\naction = { do = "explode" }',
        '[[rule]]\npath = "("\n' + 'action = { do = "cut" }',
    ],
)
def test_a_bad_script_is_a_config_error(tmp_path: Path, text: str) -> None:
    file = tmp_path / "faults.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"faults\.toml"):
        read_script(file)
