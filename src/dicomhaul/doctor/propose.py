"""The profile that a diagnosis proposes: what the present one says, changed where the server showed otherwise.

It is TOML that `profile.read_profile` takes, with what was observed in comments. Nothing is proposed that was not seen,
and nothing that asks more of a server than its profile allows now.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import tomlkit

from dicomhaul.config.source import SourceSpec
from dicomhaul.doctor.finding import Finding
from dicomhaul.doctor.pace import Paced, at_once_for, keepalive_for
from dicomhaul.doctor.pages import page_for
from dicomhaul.doctor.retrieve import Look, Retrieved, working_rungs
from dicomhaul.doctor.search import Searched
from dicomhaul.net.auth import AuthKind
from dicomhaul.profile import Profile, built_in, built_in_names

_OWN: Final = {"name", "description", "url", "hosts", "ports"}  # what `extends` does not take over
_STARTS_WELL: Final = re.compile(r"[a-z0-9]")
_KINDS: Final[Mapping[str, AuthKind]] = {"basic": "basic", "bearer": "bearer"}


def improve(profile: Profile, searched: Searched | None, retrieved: Retrieved | None, paced: Paced) -> Profile:
    """Return the profile as it should be, by what was seen."""
    table = profile.model_dump()
    if searched is not None:
        for level in searched.levels:
            table["search"]["page"][level.name] = page_for(level.pages, table["search"]["page"][level.name])
        if searched.matches is not None and searched.filters:
            table["search"]["wildcards"] = searched.matches
    if retrieved is not None:
        table["accept"]["instance"] = _ladder(profile.accept.instance, retrieved.instance)
        table["accept"]["series"] = _ladder(profile.accept.series, retrieved.series)
    at_once = at_once_for(paced, profile.limits)
    if at_once is not None:
        table["limits"]["concurrency_start"], table["limits"]["concurrency_max"] = at_once
    keepalive_s = keepalive_for(paced, profile.limits)
    if keepalive_s is not None:
        table["limits"]["keepalive_s"] = keepalive_s
    return Profile.model_validate(table)


def _ladder(rungs: Sequence[str], looks: Mapping[str, Look]) -> list[str]:
    """The rungs that work; those of the profile first. Unchanged where the first works, or none that was tried does."""
    first = looks.get(rungs[0])
    working = working_rungs(looks)
    if first is None or first.works or first.kind == "cut" or not working:
        return list(rungs)
    ours = [rung for rung in rungs if rung in working or rung not in looks]
    return ours or sorted(working, key=lambda accept: "transfer-syntax" not in accept)[:2]


def auth_kind(profile: Profile, authorization: str | None) -> AuthKind:
    """Return how a profile that names its URL should authenticate: as was done here."""
    if profile.auth.kind != "none" or authorization is None:
        return profile.auth.kind
    return _KINDS.get(authorization.partition(" ")[0].lower(), "none")


def profile_name(base_url: str) -> str:
    """Return a name for the profile of one server, made of its host and port."""
    parts = urlsplit(base_url)
    name = re.sub(r"[^a-z0-9._-]+", "-", parts.netloc.lower()).strip("-._")
    return name if _STARTS_WELL.match(name) else f"server-{name}".rstrip("-")


def write_profile(
    spec: SourceSpec, proposed: Profile, auth: AuthKind, findings: Sequence[Finding], *, today: str, requests: int
) -> str:
    """Return the text of a profile file for the source.

    Args:
        spec: what was asked.
        proposed: what is known now.
        auth: how to authenticate.
        findings: what was observed, for the comments.
        today: the date, likewise.
        requests: how many it took, likewise.
    """
    table = proposed.model_dump(exclude=_OWN)
    table["auth"]["kind"] = auth
    bases = {name: built_in(name).model_dump(exclude=_OWN) for name in built_in_names()}
    differences = {name: _difference(table, base) for name, base in bases.items() if _can_be_said(table, base)}
    base = min(differences, key=lambda name: (_leaves(differences[name]), name != spec.profile.name, name != "generic"))
    document = tomlkit.document()
    document.add(
        tomlkit.comment(_line(f"Proposed by dicomhaul doctor on {today}, after {requests} requests. Observed:"))
    )
    for finding in findings:
        document.add(tomlkit.comment(_line(f"{finding.verdict:<7} {finding.name}: {finding.sentence}")))
    document.add("name", tomlkit.item(profile_name(spec.base_url)))
    document.add("description", tomlkit.item(f"{urlsplit(spec.base_url).netloc}, as dicomhaul doctor found it"))
    document.add("extends", tomlkit.item(base))
    document.add("url", tomlkit.item(spec.base_url))
    for key, value in differences[base].items():
        document.add(key, tomlkit.item(value))
    return tomlkit.dumps(document)


def _difference(table: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """What of a profile is other than in its base, tables last, as TOML wants them."""
    changed: dict[str, Any] = {}
    plain_first = sorted(table.items(), key=lambda item: isinstance(item[1], dict))
    for key, value in plain_first:
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            inner = _difference(value, base[key])
            if inner:
                changed[key] = inner
        elif value != base.get(key):
            changed[key] = value
    return changed


def _can_be_said(table: Mapping[str, Any], base: Mapping[str, Any]) -> bool:
    """A profile that extends another can neither take a key out of a table nor say none."""
    for key, before in base.items():
        after = table.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            if not _can_be_said(after, before):
                return False
        elif after is None and before is not None:
            return False
    return True


def _leaves(table: Mapping[str, Any]) -> int:
    return sum(_leaves(value) if isinstance(value, dict) else 1 for value in table.values())


def _line(text: str) -> str:
    """One line of a comment: no control characters, of any kind."""
    return "".join(char if char.isprintable() else " " for char in text)
