"""Profiles: those that are shipped, those that users write, and what is wrong with them."""

from pathlib import Path

import pytest

from dicomhaul.errors import ConfigError
from dicomhaul.profile import Profile, built_in, built_in_names, profile_for_url, read_profile

CONFIGS = Path(__file__).parents[3] / "configs"


def test_the_shipped_profiles_are_the_files_there_are() -> None:
    files = sorted(path.stem for path in CONFIGS.glob("*.toml"))
    assert list(built_in_names()) == files
    assert set(files) >= {"generic", "orthanc", "dcm4chee", "google", "azure", "idc-proxy", "idc-google"}


@pytest.mark.parametrize("name", built_in_names())
def test_every_shipped_profile_makes_sense(name: str) -> None:
    profile = built_in(name)
    assert profile.name == name
    assert profile.description
    assert profile.limits.concurrency_start <= profile.limits.concurrency_max
    status = profile.status
    assert not set(status.retry) & {*status.quota, *status.stop, *status.throttle}
    for ladder in (profile.accept.series, profile.accept.instance):
        assert len(set(ladder)) == len(ladder)


@pytest.mark.parametrize("name", built_in_names())
def test_a_copy_of_a_shipped_profile_is_the_same(name: str) -> None:
    assert read_profile(CONFIGS / f"{name}.toml") == built_in(name)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://x.dicom.azurehealthcareapis.com/v1", "azure"),
        ("https://healthcare.googleapis.com/v1/projects/p", "google"),
        ("https://proxy.imaging.datacommons.cancer.gov/current/dicomWeb", "idc-proxy"),
        ("http://127.0.0.1:8042/dicom-web", "orthanc"),
        ("https://HEALTHCARE.googleapis.com/v1", "google"),
        ("https://evil.example/healthcare.googleapis.com", "generic"),
        ("https://healthcare.googleapis.com.evil.example/v1", "generic"),
        ("https://user:secret@pacs.example/dicom-web", "generic"),
    ],
)
def test_a_url_finds_its_profile(url: str, name: str) -> None:
    assert profile_for_url(url).name == name


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_minimal_profile_has_careful_defaults(tmp_path: Path) -> None:
    profile = read_profile(write(tmp_path, 'name = "mine"'))
    assert profile == Profile(name="mine")
    assert 'type="application/dicom"' in profile.accept.series[0]


def test_extends_takes_what_is_not_said_and_never_the_parent_s_address(tmp_path: Path) -> None:
    text = 'name = "mine"\nextends = "idc-proxy"\n[limits]\nconcurrency_max = 2\nconcurrency_start = 1\n'
    profile, parent = read_profile(write(tmp_path, text)), built_in("idc-proxy")
    assert (profile.limits.concurrency_max, profile.limits.response_bytes) == (2, parent.limits.response_bytes)
    assert (profile.status, profile.index, profile.search) == (parent.status, "idc", parent.search)
    assert (profile.url, profile.hosts, profile.description) == (None, [], "")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("name = ", "not valid TOML"),
        ("", "name: Field required"),
        ('name = "Mine!"', "name: "),
        ('name = "mine"\nnonsense = 1', "nonsense: Extra inputs"),
        ('name = "mine"\n[limits]\nnonsense = 1', "limits.nonsense: Extra inputs"),
        ('name = "mine"\n[limits]\nconcurrency_max = 0', "limits.concurrency_max: "),
        ('name = "mine"\n[limits]\nconcurrency_max = "8"', "limits.concurrency_max: "),
        ('name = "mine"\n[limits]\nstall_timeout_s = 0.0', "limits.stall_timeout_s: "),
        ('name = "mine"\n[auth]\nkind = "kerberos"', "auth.kind: "),
        ('name = "mine"\n[search.page]\nstudies = 0', "search.page.studies: "),
        ('name = "mine"\n[status]\nretry = ["503"]', "status.retry.0: "),
        ('name = "mine"\n[accept]\nseries = []', "accept.series: "),
        ('name = "mine"\nextends = "nonsense"', "no profile is called 'nonsense'"),
        ('name = "mine"\nlimits = 3', "limits: "),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_profile(write(tmp_path, text))
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_whole_numbers_may_stand_for_seconds(tmp_path: Path) -> None:
    assert read_profile(write(tmp_path, 'name = "mine"\n[limits]\nstall_timeout_s = 5')).limits.stall_timeout_s == 5.0


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the profile"):
        read_profile(tmp_path / "missing.toml")
    (tmp_path / "latin.toml").write_bytes(b'name = "caf\xe9"')
    with pytest.raises(ConfigError, match="cannot read the profile"):
        read_profile(tmp_path / "latin.toml")


@pytest.mark.parametrize(
    ("text", "allowed", "day_bytes", "metered"),
    [
        ("", None, None, False),
        ("", 5, 5, True),
        ("[quota]\nbytes_per_day = 7", None, 7, True),
        ("[quota]\nbytes_per_day = 7", 5, 5, True),
        ("[quota]\nbytes_per_day = 7", 9, 7, True),
        ('[quota]\nusage_path = "/usage"', None, None, True),
        ("[status]\nquota = [429]", None, None, True),
        ('kind = "bucket"', 5, None, False),  # what the user says holds for DICOMweb servers
        ('kind = "bucket"\n[quota]\nbytes_per_day = 7', 5, 7, True),
    ],
)
def test_what_makes_a_quota(
    text: str, allowed: int | None, day_bytes: int | None, *, metered: bool, tmp_path: Path
) -> None:
    profile = read_profile(write(tmp_path, f'name = "mine"\n{text}'))
    assert (profile.day_bytes(allowed), profile.is_metered(allowed)) == (day_bytes, metered)
