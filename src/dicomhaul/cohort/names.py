"""Which real name somebody meant. Pure."""

import difflib
import re
from collections.abc import Iterable

_NOISE = re.compile(r"[^a-z0-9]+")
_SHOWN_CHARS = 80


def _folded(name: str) -> str:
    return _NOISE.sub("", name.casefold())


def shown(word: str) -> str:
    """Quote a user's word for a message, on one line and not endlessly."""
    return repr(word if len(word) <= _SHOWN_CHARS else word[: _SHOWN_CHARS - 1] + "…")


def nearest(word: str, known: Iterable[str], *, limit: int = 3) -> list[str]:
    """Return the known names that look most like `word`, best first, at most `limit`; [] if none does.

    Case, spaces, hyphens and underscores do not count: `QIN-PET-Phantom` is next to `qin_pet_phantom`.
    """
    names: dict[str, list[str]] = {}
    for name in sorted(set(known)):
        names.setdefault(_folded(name), []).append(name)
    wanted = _folded(word)
    if wanted in names:
        return names[wanted][:limit]
    close = difflib.get_close_matches(wanted, names, n=limit, cutoff=0.6)
    close += [folded for folded in names if len(wanted) >= 3 and wanted in folded and folded not in close]
    return [name for folded in close for name in names[folded]][:limit]


def unknown_name(what: str, word: str, known: Iterable[str]) -> str:
    """Say that no `what` (such as "collection") has this name, and which do: the nearest, or all if few."""
    names = sorted(set(known))
    close = nearest(word, names)
    if close:
        hint = f"did you mean {' or '.join(close)}?"
    elif len(names) <= 40:
        hint = f"there are: {', '.join(names)}"
    else:
        hint = f"there are {len(names)}, none of them similar"
    return f"there is no {what} {shown(word)}; {hint}"
