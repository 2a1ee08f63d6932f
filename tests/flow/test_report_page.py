"""The report page, looked at in a real browser: at two widths, light and dark, with names that mean harm.

One browser for all; the same page is laid out four times.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from support.browser import Browser, open_browser
from support.command import run_command
from support.destination import read_ledger
from support.mirror import HOSTILE, PATIENT, write_mirror

_LOOKS: Final = [(1280, False), (1280, True), (360, False), (360, True)]

# Of each piece of text that shows: the contrast between it and what is behind it (WCAG 2.1), and what it is.
_CONTRASTS: Final = """
(() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = colour => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) => [r, g, b].map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, at) => sum + c * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = node => {
    for (; node; node = node.parentElement) {
      const found = rgba(getComputedStyle(node).backgroundColor);
      if (found[3] === 255) return found;
    }
    return [255, 255, 255, 255];
  };
  const worst = {};
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !node.getClientRects().length || node.closest('title, desc')) continue;
    const style = getComputedStyle(node);
    const [one, other] = [light(rgba(node.closest('svg') ? style.fill : style.color)), light(behind(node))];
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    const what = node.tagName + '.' + (node.getAttribute('class') || '');
    worst[what] = Math.min(worst[what] ?? 99, ratio);
  }
  return worst;
})()
"""


class Looked(NamedTuple):
    """What a browser makes of the page at one width, in one colour scheme."""

    width: int
    seen: dict[str, Any]
    requests: list[str]
    complaints: list[str]
    contrasts: dict[str, float]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A destination, and its page as the command writes it."""
    folder = tmp_path_factory.mktemp("report")
    write_mirror(folder / "data")
    ended = run_command("report", folder / "data", "-o", folder / "report.html")
    assert ended.code == 0, ended.stderr
    return folder / "data", folder / "report.html"


@pytest.fixture(scope="module")
def looks(made: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> list[Looked]:
    with open_browser(tmp_path_factory.mktemp("browser")) as browser:
        return list(_look(browser, made[1]))


def _look(browser: Browser, page: Path) -> Iterator[Looked]:
    for width, dark in _LOOKS:
        browser.show(page, width=width, dark=dark)
        seen = browser.ask(
            """({
              scroll: document.documentElement.scrollWidth,
              client: document.documentElement.clientWidth,
              wide: [...document.querySelectorAll('body *')].filter(node => node.getClientRects().length
                && node.getBoundingClientRect().right > document.documentElement.clientWidth + 1
                && !node.closest('thead')).map(node => node.outerHTML.slice(0, 80)),
              dark: matchMedia('(prefers-color-scheme: dark)').matches,
              page: getComputedStyle(document.body).backgroundColor,
              title: document.title,
              text: document.body.innerText,
              html: document.documentElement.outerHTML,
              scripts: document.scripts.length,
              sheets: document.styleSheets.length,
              loading: document.querySelectorAll('[src], link, iframe, object, embed, form, [style], [onerror]').length,
              smallest: Math.min(...[...document.querySelectorAll('svg text')]
                .filter(node => node.getClientRects().length).map(node => node.getBoundingClientRect().height)),
              unnamed: [...document.querySelectorAll('svg[role=img]')].filter(node =>
                !node.getAttribute('aria-labelledby').split(' ').every(id => document.getElementById(id))).length,
              bare: [...document.querySelectorAll('table')].filter(node => !node.caption).length,
              data: Object.fromEntries(['complete', 'instances', 'bytes', 'missing'].map(id =>
                [id, [...document.querySelectorAll(`#${id} data`)].map(node => node.value)])),
            })"""
        )
        contrasts = browser.ask(_CONTRASTS)
        yield Looked(width, seen, list(browser.requests), list(browser.complaints), contrasts)


def test_nothing_is_wider_than_the_screen(looks: list[Looked]) -> None:
    for look in looks:
        assert look.seen["scroll"] <= look.seen["client"] <= look.width
        assert look.seen["wide"] == []


def test_nothing_is_asked_of_anybody_and_nothing_complains(looks: list[Looked], made: tuple[Path, Path]) -> None:
    for look in looks:
        assert look.requests == [made[1].as_uri()]
        assert look.complaints == []


def test_names_that_mean_harm_are_only_read(looks: list[Looked]) -> None:
    for look in looks:
        assert look.seen["title"].startswith("Paused: ")
        assert (look.seen["scripts"], look.seen["sheets"], look.seen["loading"]) == (0, 1, 0)
        for name in HOSTILE[:4]:
            assert name in look.seen["text"].replace("\n", "")
        assert "49" not in look.seen["text"].partition("{{ 7 * 7 }}")[2][:20]


def test_the_page_shows_what_the_ledger_holds(looks: list[Looked], made: tuple[Path, Path]) -> None:
    rows = read_ledger(made[0])
    landed = [row for row in rows if row.state == 1]
    with closing(sqlite3.connect(made[0] / ".dicomhaul" / "ledger.sqlite3")) as db:
        states = dict(db.execute("SELECT state, count(*) FROM series GROUP BY state"))
        absent = sum(len(json.loads(text)) for (text,) in db.execute("SELECT missing FROM cohort"))
    failed = sum(row.state == 2 for row in rows)
    for look in looks:
        assert look.seen["data"] == {
            "complete": [str(states[1]), str(sum(states.values()))],
            "instances": [str(len(landed)), str(2 * sum(states.values()))],
            "bytes": [str(sum(row.size_bytes or 0 for row in landed))],
            "missing": [str(failed + absent)],
        }


def test_no_patient_is_named(looks: list[Looked]) -> None:
    assert PATIENT not in looks[0].seen["html"]
    assert "secret" not in looks[0].seen["html"]


def test_it_can_be_read_by_day_and_by_night(looks: list[Looked]) -> None:
    for look in looks:
        faint = {what: ratio for what, ratio in look.contrasts.items() if ratio < 4.5}
        assert faint == {}
        assert len(look.contrasts) > 10
    assert [look.seen["dark"] for look in looks] == [dark for _, dark in _LOOKS]
    assert looks[0].seen["page"] != looks[1].seen["page"]


def test_charts_and_tables_say_what_they_are(looks: list[Looked]) -> None:
    for look in looks:
        assert look.seen["smallest"] >= 11  # px: letters of a chart do not shrink with the screen
        assert (look.seen["unnamed"], look.seen["bare"]) == (0, 0)
