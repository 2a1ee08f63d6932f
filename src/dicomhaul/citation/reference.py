"""A citation as IDC's index has it (APA style, a little HTML) -> plain text and, where it is sure, its parts. Pure.

Nearly all read `AUTHORS (YEAR). <i>TITLE</i> (Version N) [Data set]. PUBLISHER. https://doi.org/DOI`. What reads
otherwise is kept as the text that it is: a wrong author would be worse than none.
"""

import html
import re
from typing import Final, NamedTuple

_WHOLE: Final = re.compile(
    r"(?P<authors>.+?) \((?P<year>[12][0-9]{3})\)\. <i>(?P<title>[^<>]+)</i>(?: \((?P<version>Version [^()]+)\))? "
    r"\[Data ?set\]\. (?P<publisher>[^<>:/]+?)\. https://doi\.org/(?P<doi>10\.[0-9]{4,9}/\S+)\Z",
    re.IGNORECASE,
)
_TAG: Final = re.compile(r"</?[A-Za-z][^<>]*>")
_INITIALS: Final = re.compile(r"(?:[^\W\d_]\.[ -]?)+\Z")
_FAMILY: Final = re.compile(r"[^\W\d_](?:[^\W\d_]|[ '\u2019-])*[^\W\d_](?: (?:Jr|Sr)\.)?\Z")
_ELLIPSIS: Final = "… "


class Parts(NamedTuple):
    """What a citation says, taken apart."""

    authors: tuple[tuple[str, str], ...]  # family name, initials; ('', '') at the end: and others
    organisation: str | None  # instead of authors
    year: str
    title: str
    version: str | None
    publisher: str
    doi: str


def plain_text(citation: str) -> str:
    """Return a citation in one line, without tags and entities."""
    return _one_line(_TAG.sub("", html.unescape(citation)))


def parse_citation(citation: str, doi: str) -> Parts | None:
    """Take a citation apart; `doi` is the one that the index names beside it.

    None where it cannot be done with certainty: several works in one, another DOI, names of another form.
    """
    match = _WHOLE.match(_one_line(html.unescape(citation)))
    if match is None or match["doi"].lower() != doi.lower():
        return None
    names = match["authors"]
    organisation = names.rstrip(".") if "," not in names and "<" not in names else None
    authors = () if organisation else _authors(names)
    if authors is None:
        return None
    return Parts(
        authors, organisation, match["year"], match["title"], match["version"], match["publisher"], match["doi"]
    )


def _authors(text: str) -> tuple[tuple[str, str], ...] | None:
    """`Family, A. B., Family, C., & Family, D.` Beyond twenty authors, APA leaves out all but the last."""
    words = [word.removeprefix("& ").strip() for word in text.split(", ")]
    if len(words) % 2:
        return None
    found: list[tuple[str, str]] = []
    others = False
    for family, initials in zip(words[::2], words[1::2], strict=True):
        others = others or family.startswith(_ELLIPSIS)
        if others:
            continue
        if _FAMILY.match(family) is None or _INITIALS.match(initials) is None:
            return None
        found.append((family, initials))
    return (*found, ("", "")) if others else tuple(found)


def _one_line(text: str) -> str:
    return " ".join(text.split())
