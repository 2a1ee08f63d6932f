"""References as BibTeX, for LaTeX that reads UTF-8. Pure.

`@misc`, which every style knows. Where a citation cannot be taken apart with certainty, the entry has the DOI and the
whole citation as `note`.
"""

import re
from collections.abc import Iterable
from typing import Final

from dicomhaul.citation.reference import Parts

_SPECIAL: Final = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}
_UNSAFE: Final = re.compile(r"[^0-9A-Za-z.:/()<>;_-]")


def key_of(doi: str) -> str:
    """Return the key of an entry: the same for the same DOI, on every machine."""
    return "doi-" + re.sub(r"[^0-9a-z]+", "-", doi.lower()).strip("-")


def entry(doi: str, *, parts: Parts | None, text: str | None, title: str | None, kind: str = "Data set") -> str:
    """Write one work.

    Args:
        doi: of the work.
        parts: its citation, taken apart; None: it could not be.
        text: its whole citation, if there is one.
        title: what the index calls it, where `parts` does not say.
        kind: what it is.
    """
    fields: list[tuple[str, str]] = []
    if parts is not None:
        authors = " and ".join(_author(family, initials) for family, initials in parts.authors)
        fields += [
            ("author", f"{{{_escaped(parts.organisation)}}}" if parts.organisation else authors),
            ("title", f"{{{_escaped(parts.title)}}}"),
            ("year", parts.year),
            ("howpublished", _escaped(", ".join(filter(None, (kind, parts.version, parts.publisher))))),
        ]
    else:
        fields += [("title", f"{{{_escaped(title)}}}")] if title else []
        fields += [("note", _escaped(text))] if text else []
    address = _UNSAFE.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), doi)
    fields += [("doi", address), ("url", f"https://doi.org/{address}")]
    lines = "".join(f"  {name} = {{{value}}},\n" for name, value in fields)
    return f"@misc{{{key_of(doi)},\n{lines}}}\n"


def bibliography(entries: Iterable[str]) -> str:
    """Return the text of a .bib file."""
    return "\n".join(entries)


def _author(family: str, initials: str) -> str:
    return f"{_escaped(family)}, {_escaped(initials)}" if family else "others"


def _escaped(text: str) -> str:
    return "".join(_SPECIAL.get(char, char) for char in text)
