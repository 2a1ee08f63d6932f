"""One `pull` of many series, each with a fault of its own; what each came to is held against what it had to come to.

    cases = {"reset at byte N": Case(Cut(after_bytes=20_000, reset=True), Asked(series=2)), ...}
    pull_faulty(cases, tmp_path).assert_as_expected()

Three things are asserted of each series, and of the run as a whole: what was told (exit code, the report's words), what
is there (tree, ledger, index), and what the origin was asked for. Series beside the faulty ones are answered well: they
must come with one request each.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dicomhaul.model import Series, State
from dicomhaul.origin import Catalog, Entry, Rule, Style, synthetic_catalog
from dicomhaul.origin.faults import Action
from support.command import Ended, Word, run_command
from support.destination import assert_recorded, expected_tree, read_series_states, read_tree
from support.made_up import made_up_rows, manifest_of
from support.origin_process import origin_thread

HONEST = 2  # series that are answered well


@dataclass(frozen=True, slots=True)
class Asked:
    """How often a series was, or may be, asked for whole; each way of asking counts apart.

    Attributes:
        series: for the series.
        instance: for one of its instances, all of them together.
        search: for its list of instances.
    """

    series: int = 1
    instance: int = 0
    search: int = 0


@dataclass(frozen=True, slots=True)
class Case:
    """A fault, and what has to come of the series that it strikes.

    Attributes:
        action: the fault.
        asked: the requests that the policy allows; exactly these must come.
        reason: a pattern for what the report says of the series; "": it comes whole.
        lost: numbers of the instances that do not come, from 0.
        count: instances of the series.
        always: whether the fault strikes the series and each of its instances whenever they are asked for; else it
            strikes the first answer alone.
        racy: whether the fault may overtake bytes of its own answer, so that fewer requests, and more instances, will
            do.
    """

    action: Action
    asked: Asked
    reason: str = ""
    lost: frozenset[int] = frozenset()
    count: int = 2
    always: bool = False
    racy: bool = False


@dataclass(frozen=True, slots=True)
class Pulled:
    """A run that has ended, and what to hold it against."""

    cases: Mapping[str, Case]
    rows: Sequence[Series]
    catalog: Catalog
    dest: Path
    ended: Ended
    requests: list[Entry]
    names: Mapping[str, str]  # Series Instance UID -> name of its case

    def assert_as_expected(self) -> None:
        """Assert all three of each series, and that nothing else was told, is there, or was asked for."""
        wrong = [*self._iter_wrongly_asked()]
        assert not wrong, "\n".join(wrong)
        self._assert_told()
        self._assert_there()
        self._assert_nothing_else_asked()

    def _assert_told(self) -> None:
        lasting = {self._series(name) for name, case in self.cases.items() if case.reason}
        expected = (3, "partial") if lasting else (0, "complete")
        assert (self.ended.code, self.ended.json["state"]) == expected, self.ended.stderr
        told: dict[str, list[str]] = {}
        for failure in self.ended.json["failures"]:
            told.setdefault(failure["series"], []).append(failure["reason"])
        assert {self.names[series] for series in told} == {self.names[series] for series in lasting}, told
        for series, reasons in told.items():
            name = self.names[series]
            for reason in reasons:
                assert re.search(self.cases[name].reason, reason), f"{name}: {reason}"
                assert "\n" not in reason, name

    def _assert_there(self) -> None:
        tree, whole = read_tree(self.dest), expected_tree(self.catalog)
        for name, case in [*self.cases.items(), *((f"honest {n}", None) for n in range(HONEST))]:
            folder = f"/{self._series(name)}/"
            here = {path for path in tree if folder in path}
            wanted = [path for path in whole if folder in path]
            lost = frozenset() if case is None else case.lost
            due = {path for number, path in enumerate(wanted) if number not in lost}
            assert here >= due, f"{name}: instances are missing"
            assert here == due or (case is not None and case.racy), f"{name}: more instances than can be"
        assert {path: whole.get(path) for path in tree} == tree
        assert_recorded(self.dest, tree)
        states = {series: state for (_, series), state in read_series_states(self.dest).items()}
        assert {self.names[series]: state for series, state in states.items()} == {
            name: State.FAILED if name in self.cases and self.cases[name].reason else State.LANDED
            for name in self.names.values()
        }
        assert list((self.dest / ".dicomhaul" / "staging").iterdir()) == []
        assert {path.name for path in self.dest.parent.iterdir()} == {"dest", "cohort.csv", "mine.toml"}

    def _iter_wrongly_asked(self) -> Iterator[str]:
        for name in self.names.values():
            these, case = self._asked(name), self.cases.get(name)
            allowed = Asked() if case is None else case.asked
            within = all(number <= most for number, most in zip(_counts(these), _counts(allowed), strict=True))
            if these != allowed and not (case is not None and case.racy and within):
                yield f"{name}: {these}, allowed {allowed}"

    def _assert_nothing_else_asked(self) -> None:
        asked = {name: self._asked(name) for name in self.names.values()}
        assert len(self.requests) == sum(sum(_counts(these)) for these in asked.values())  # and nothing else
        # What a used connection swallowed is sent once more, uncounted (RFC 9110 section 9.3.1).
        swallowed = sum(entry.fault == "cut" and entry.body_bytes == 0 for entry in self.requests)
        assert 0 <= len(self.requests) - self.ended.json["requests"] <= swallowed

    def _asked(self, name: str) -> Asked:
        series = self._series(name)
        kinds = Counter(
            _kind(entry) for entry in self.requests if re.search(rf"/series/{re.escape(series)}(/|$)", entry.path)
        )
        return Asked(kinds["series"], kinds["instance"], kinds["search"])

    def _series(self, name: str) -> str:
        return next(series for series, each in self.names.items() if each == name)


def _kind(entry: Entry) -> str:
    return entry.level or "nothing"


def _counts(asked: Asked) -> tuple[int, int, int]:
    return asked.series, asked.instance, asked.search


def pull_faulty(
    cases: Mapping[str, Case],
    folder: Path,
    *,
    style: str | Style = "orthanc",
    profile: str = "",
    more: Sequence[Word] = (),
    instance_bytes: int = 8_000,
) -> Pulled:
    """Pull a series for each case, and two that are answered well, by one command.

    Args:
        cases: by name.
        folder: an empty one, for the destination, the manifest and the profile.
        style: the server that is played.
        profile: TOML of the profile that the command gets, which extends `generic`, but for its head.
        more: words of the command.
        instance_bytes: about the size of an instance.
    """
    counts = [*(case.count for case in cases.values()), *[2] * HONEST]
    rows = made_up_rows(*counts, size_bytes=instance_bytes, series_a_study=1)
    names = dict(zip((str(row.series) for row in rows), [*cases, *(f"honest {n}" for n in range(HONEST))], strict=True))
    catalog = synthetic_catalog(rows)
    rules = [rule for row, case in zip(rows, cases.values(), strict=False) for rule in _rules(row.series, case)]
    (folder / "cohort.csv").write_text(manifest_of(rows), encoding="utf-8")
    with origin_thread(catalog, style=style, rules=rules) as origin:
        head = f'name = "mine"\nextends = "generic"\nurl = "{origin.url}"\n'
        (folder / "mine.toml").write_text(head + profile, encoding="utf-8")
        words: list[Word] = ["pull", folder / "cohort.csv", "--source", folder / "mine.toml", "-o", folder / "dest"]
        ended = run_command(*words, "--json", *more)
        requests = list(origin.requests)
    return Pulled(cases, rows, catalog, folder / "dest", ended, requests, names)


def _rules(series: str, case: Case) -> list[Rule]:
    path = f"/series/{re.escape(series)}(/instances/[^/]+)?$"
    if case.always:
        return [Rule(path=path, level=level, action=case.action) for level in ("series", "instance")]
    return [Rule(path=path, level="series", times=frozenset({1}), action=case.action)]
