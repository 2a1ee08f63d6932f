"""Licences that a cohort may hold, as `--license-allow` names them. Pure."""

from collections.abc import Iterable, Mapping, Sequence

from dicomhaul.cohort.names import unknown_name
from dicomhaul.cohort.sandbox import quoted
from dicomhaul.errors import CohortError

_FLAG = "--license-allow"


def known_licenses(words: Sequence[str], known: Iterable[str]) -> tuple[str, ...]:
    """Return the licences that the words of a comma list name; a licence's own name may hold a comma.

    Raises CohortError for a name that is none, with those that look like it.
    """
    names = set(known)
    found: list[str] = []
    left = list(words)
    while left:
        for count in range(len(left), 0, -1):
            name = ", ".join(left[:count])
            if name in names:
                found.append(name)
                del left[:count]
                break
        else:
            raise CohortError(f"{_FLAG}: {unknown_name('licence', left[0], names)}")
    return tuple(dict.fromkeys(found))


def refuse_others(held: Mapping[str | None, int], allowed: Sequence[str], *, narrows: bool = True) -> None:
    """Raise CohortError if a cohort holds a licence that is not allowed.

    Args:
        held: licence -> series; None: the index states none, as for all earlier revisions.
        allowed: names of licences.
        narrows: the cohort can be narrowed by a condition, which a lock cannot.
    """
    others = {name: count for name, count in held.items() if name not in allowed}
    if others:
        named = ", ".join(f"{name or 'no licence stated'} ({count:,} series)" for name, count in others.items())
        condition = f"license_short_name IN ({', '.join(map(quoted, allowed))})"
        advice = f'; leave it out: --where "{condition}"' if narrows else ""
        raise CohortError(f"{_FLAG} does not name what the cohort holds: {named}{advice}")
