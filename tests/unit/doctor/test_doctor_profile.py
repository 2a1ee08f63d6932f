"""The profile that doctor proposes: it can be read, says what was seen, and asks for nothing more than before."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomhaul.config.source import SourceSpec
from dicomhaul.doctor.finding import ok
from dicomhaul.doctor.pace import Paced, Step
from dicomhaul.doctor.pages import Level, Pages
from dicomhaul.doctor.propose import auth_kind, improve, profile_name, write_profile
from dicomhaul.doctor.retrieve import MULTIPART_PLAIN, SINGLE_STORED, Look, Retrieved
from dicomhaul.doctor.search import Searched
from dicomhaul.profile import MULTIPART_STORED, Profile, built_in, built_in_names, read_profile

GOOD = Look(200, "multipart", 1, ("1.2.840.10008.1.2.1",), 500)
OWN = {"name", "description", "url", "hosts", "ports"}


def read(text: str) -> Profile:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "some.toml"
        path.write_text(text, encoding="utf-8")
        return read_profile(path)


def write(profile: Profile, proposed: Profile, url: str = "https://pacs.example.org/rs") -> str:
    spec = SourceSpec(url, url, profile)
    findings = [ok("tls", 'certificate for "x\ny"\x1b[2J \u2028 []')]
    return write_profile(spec, proposed, proposed.auth.kind, findings, today="2024-01-01", requests=7)


@pytest.mark.parametrize("name", built_in_names())
def test_an_unchanged_profile_is_short(name: str) -> None:
    profile = built_in(name)
    text = write(profile, profile)
    assert read(text).model_dump(exclude=OWN) == profile.model_dump(exclude=OWN)
    assert f'extends = "{name}"' in text
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert len(lines) == 4
    assert text.isprintable() is False  # it has line breaks, and nothing else of that kind
    assert text.replace("\n", "").isprintable()


@given(
    name=st.sampled_from(built_in_names()),
    page=st.integers(1, 5000),
    wildcards=st.booleans(),
    ladder=st.lists(
        st.sampled_from([MULTIPART_STORED, MULTIPART_PLAIN, SINGLE_STORED, "*/*"]), min_size=1, unique=True
    ),
    keepalive_s=st.floats(0, 100),
    kind=st.sampled_from(["none", "basic", "bearer", "google", "azure"]),
)
def test_what_is_written_is_what_is_read(
    *, name: str, page: int, wildcards: bool, ladder: list[str], keepalive_s: float, kind: str
) -> None:
    table = built_in(name).model_dump()
    table["search"]["page"]["series"] = page
    table["search"]["wildcards"] = wildcards
    table["accept"]["instance"] = ladder
    table["limits"]["keepalive_s"] = keepalive_s
    table["auth"]["kind"] = kind
    proposed = Profile.model_validate(table)
    read_again = read(write(built_in(name), proposed))
    assert read_again.model_dump(exclude=OWN) == proposed.model_dump(exclude=OWN)
    assert (read_again.name, read_again.url) == ("pacs.example.org", "https://pacs.example.org/rs")


def test_what_toml_cannot_take_away_is_not_extended() -> None:
    """There is no word for none, and a key of a table stays."""
    limits = built_in("idc-proxy").limits.model_copy(update={"response_bytes": None})
    proposed = built_in("idc-proxy").model_copy(update={"limits": limits})
    assert read(write(proposed, proposed)).model_dump(exclude=OWN) == proposed.model_dump(exclude=OWN)


def test_what_was_seen_is_proposed() -> None:
    generic = built_in("generic")
    first, second, *_ = generic.accept.instance
    searched = Searched(
        levels=[Level("studies", Pages(cut_at=10, accepted=100)), Level("series", Pages(full=1000, accepted=5000))],
        matches=False,
        filters=True,
    )
    retrieved = Retrieved(instance={first: Look(406), second: GOOD}, series={first: GOOD})
    paced = Paced(steps=[Step(1, 10, 1.0), Step(2, 10, 1.0)], survives=False)
    proposed = improve(generic, searched, retrieved, paced)
    page = proposed.search.page
    assert (page.studies, page.series, page.instances) == (10, 1000, 100)
    assert not proposed.search.wildcards
    assert proposed.accept.instance[0] == second
    assert first not in proposed.accept.instance
    assert proposed.accept.series == generic.accept.series
    assert (proposed.limits.concurrency_max, proposed.limits.keepalive_s) == (4, 0.5)


def test_nothing_that_was_not_seen_is_proposed() -> None:
    for name in built_in_names():
        profile = built_in(name)
        assert improve(profile, Searched(), Retrieved(), Paced()) == profile
    seen = Retrieved(instance={MULTIPART_STORED: Look(500)}, series={MULTIPART_STORED: Look(200, "cut")})
    assert improve(built_in("generic"), None, seen, Paced()) == built_in("generic")


def test_a_ladder_without_a_rung_that_works_gets_those_that_do() -> None:
    azure = built_in("azure")
    looks = {rung: Look(406) for rung in azure.accept.instance} | {"*/*": GOOD, MULTIPART_PLAIN: GOOD}
    proposed = improve(azure, None, Retrieved(instance=looks), Paced())
    assert proposed.accept.instance == ["*/*", MULTIPART_PLAIN]


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://pacs.example.org/rs", "pacs.example.org"),
        ("http://127.0.0.1:8042/dicom-web", "127.0.0.1-8042"),
        ("http://[::1]:8042", "1-8042"),
        ("https://PACS", "pacs"),
        ("https://ü", "server"),
    ],
)
def test_names(url: str, name: str) -> None:
    assert profile_name(url) == name
    assert Profile(name=name).name == name


@pytest.mark.parametrize(
    ("profile", "authorization", "kind"),
    [
        ("generic", None, "none"),
        ("generic", "Basic dTpw", "basic"),
        ("generic", "Bearer t", "bearer"),
        ("google", "Bearer t", "google"),
        ("google", None, "google"),
    ],
)
def test_a_profile_authenticates_as_was_done(profile: str, authorization: str | None, kind: str) -> None:
    assert auth_kind(built_in(profile), authorization) == kind
