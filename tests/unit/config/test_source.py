"""SOURCE is recognised, and no credential in it is ever shown."""

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomhaul.config.options import QUERY_JSON
from dicomhaul.config.source import Connection, SourceSpec, idc_release, resolve_source, resolve_sources
from dicomhaul.errors import ConfigError
from dicomhaul.model import Query
from dicomhaul.profile import built_in


def test_a_built_in_name() -> None:
    spec = resolve_source("idc-google")
    assert (spec.word, spec.name, spec.profile) == ("idc-google", "idc-google", built_in("idc-google"))
    assert spec.base_url.endswith(f"idc-store-v{idc_release()}/dicomWeb")
    assert idc_release().isdigit()


def test_a_url_picks_its_profile_by_host() -> None:
    spec = resolve_source("HTTPS://pacs.example:8443/dicom-web/")
    assert spec.base_url == spec.word == "https://pacs.example:8443/dicom-web"
    assert spec.profile.name == "generic"
    assert spec.name == "generic (pacs.example:8443)"


def test_a_url_with_a_profile_of_one_s_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"')
    assert resolve_source("http://pacs.example", profile=str(path)).profile.name == "mine"
    assert resolve_source("http://pacs.example", profile="azure").profile.name == "azure"


def test_a_profile_file_with_a_url(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\nurl = "https://pacs.example/v{idc_version}/"')
    spec = resolve_source(str(path))
    assert (spec.word, spec.base_url) == (str(path), f"https://pacs.example/v{idc_release()}")
    assert spec.name == "mine"


@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("generic", "say which one"),
        ("nonsense", "neither a URL"),
        ("ftp://pacs.example", "neither a URL"),
        ("missing.toml", "cannot read"),
        ("http://", "names no host"),
        ("http:///dicom-web", "names no host"),
        ("http://pacs.example:port/", "malformed"),
        ("http://[::1/", "malformed"),
        ("http://pacs.example/?a=b", "no '\\?'"),
        ("http://pacs.example/#a", "no '\\?'"),
    ],
)
def test_what_is_no_source(word: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        resolve_source(word)


SECRET = "never-shown"


@pytest.mark.parametrize(
    "word",
    [
        f"https://user:{SECRET}@pacs.example/dicom-web",
        f"https://{SECRET}@pacs.example/dicom-web",
        f"https://user:{SECRET}@[::1]:8042/dicom-web",
    ],
)
def test_credentials_leave_the_url(word: str) -> None:
    spec = resolve_source(word)
    assert SECRET in {spec.connection.user, spec.connection.password}
    for text in (repr(spec), str(spec), spec.word, spec.base_url, spec.name):
        assert SECRET not in text


@pytest.mark.parametrize("tail", [f":{SECRET}/", f"/?token={SECRET}", f":bad/{SECRET}"])
def test_a_url_that_is_refused_is_not_shown(tail: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_source(f"https://user:{SECRET}@pacs.example{tail}")
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("user", [f"user:{SECRET}", SECRET, f"a@b:{SECRET}"])
def test_credentials_in_a_profile_s_url_are_refused_and_not_shown(user: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'name = "mine"\nurl = "https://{user}@pacs.example/{{idc_version}}"')
    with pytest.raises(ConfigError, match="DICOMHAUL_PASSWORD") as caught:
        resolve_source(str(path))
    assert SECRET not in str(caught.value)


def test_an_at_sign_in_the_path_of_a_profile_s_url_is_none_of_that(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\nurl = "https://pacs.example/a@b"')
    assert resolve_source(str(path)).base_url == "https://pacs.example/a@b"


@given(st.text(min_size=1, max_size=20), st.text(max_size=20))
def test_any_credentials_survive_their_quoting(user: str, password: str) -> None:
    try:
        word = f"http://{quote(user, safe='')}:{quote(password, safe='')}@pacs.example/"
    except UnicodeEncodeError:  # a lone surrogate has no UTF-8
        return
    spec = resolve_source(word)
    assert (spec.connection.user, spec.connection.password) == (user, password)
    assert spec.base_url == "http://pacs.example"


def test_what_else_the_connection_says_stays() -> None:
    connection = Connection(auth="basic", ca_file=Path("ca.pem"))
    spec = resolve_source("http://u:p@pacs.example", connection=connection)
    assert (spec.connection.auth, spec.connection.ca_file, spec.connection.user) == ("basic", Path("ca.pem"), "u")
    assert connection.user is None


words = st.lists(st.text(max_size=10), max_size=3).map(tuple)
queries = st.builds(
    Query,
    targets=words,
    manifest=st.none() | st.text(max_size=30),
    collection=words,
    modality=words,
    patient=words,
    study=words,
    series=words,
    instance=words,
    crdc=words,
    study_date=st.none() | st.text(max_size=20),
    where=st.none() | st.text(max_size=20),
    sql=st.none() | st.text(max_size=20),
    search=words,
    everything=st.booleans(),
    limit_series=st.none() | st.integers(1, 10**6),
)


@given(queries)
def test_a_query_survives_the_ledger(query: Query) -> None:
    assert QUERY_JSON.validate_json(QUERY_JSON.dump_json(query)) == query


def test_specs_are_values() -> None:
    assert resolve_source("http://pacs.example") == SourceSpec(
        "http://pacs.example", "http://pacs.example", built_in("generic")
    )


# --- several sources


def test_idc_is_its_buckets_and_then_its_proxy() -> None:
    sources = resolve_sources("idc")
    assert [spec.name for spec in sources.specs] == ["idc-bucket", "idc-proxy"]
    assert (sources.word, sources.index) == ("idc-bucket,idc-proxy", "idc")


def test_the_copy_of_the_buckets_that_is_meant() -> None:
    assert resolve_sources("idc", location="gcs").word == "idc-bucket-gcs,idc-proxy"
    assert resolve_sources("idc-bucket", location="gcs").word == "idc-bucket-gcs"
    assert resolve_sources("idc-bucket-gcs").word == "idc-bucket-gcs"
    for word in ("idc-proxy", "https://pacs.example/dicom-web"):
        assert resolve_sources(word).word == word
        with pytest.raises(ConfigError, match="--bucket-location gcs says which copy"):
            resolve_sources(word, location="gcs")


def test_a_list_is_an_order_and_names_each_once() -> None:
    sources = resolve_sources("idc-google, idc,idc-google")
    assert sources.word == "idc-google,idc-bucket,idc-proxy"
    assert [offer.kind for offer in sources.offers(None)] == ["dicomweb", "bucket", "dicomweb"]
    assert [offer.metered for offer in sources.offers(None)] == [False, False, True]
    assert sources.offers(None)[0].holds == frozenset({"idc-open-data"})


def test_a_quota_of_the_user_s_holds_for_each_server_and_no_bucket() -> None:
    offers = resolve_sources("idc-google,idc-bucket,idc-proxy").offers(5_000_000)
    assert {offer.name: offer.metered for offer in offers} == {
        "idc-google": True,
        "idc-bucket": False,
        "idc-proxy": True,
    }


def test_what_the_ledger_keeps_means_the_same_again(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('name = "mine"\nextends = "idc-bucket"\nurl = "http://127.0.0.1:9"\n')
    sources = resolve_sources(f"{tmp_path}/mine.toml,idc-proxy")
    assert resolve_sources(sources.word) == sources
    assert sources.offers(None)[0].kind == "bucket"


def test_a_url_or_a_file_may_hold_a_comma(tmp_path: Path) -> None:
    path = tmp_path / "a,b.toml"
    path.write_text('name = "mine"\nurl = "http://pacs.example"\n')
    assert resolve_sources(str(path)).specs[0].profile.name == "mine"
    assert resolve_sources("http://pacs.example/a,b").specs[0].base_url == "http://pacs.example/a,b"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("idc,http://pacs.example", "only sources that hold IDC"),
        ("idc,", "empty place"),
        ("idc,nonsense", "'nonsense' is neither"),
    ],
)
def test_what_cannot_be_combined(words: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        resolve_sources(words)


def test_two_of_one_name_cannot_be_told_apart(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.toml").write_text('name = "mine"\nindex = "idc"\nurl = "http://pacs.example"\n')
    with pytest.raises(ConfigError, match="name of its own"):
        resolve_sources(f"{tmp_path}/a.toml,{tmp_path}/b.toml")


def test_buckets_are_idcs(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('name = "mine"\nkind = "bucket"\nurl = "http://pacs.example"\n')
    with pytest.raises(ConfigError, match='needs index = "idc"'):
        resolve_sources(str(path))


def test_only_buckets_name_objects() -> None:
    assert resolve_sources("idc").buckets().word == "idc-bucket"
    with pytest.raises(ConfigError, match="needs IDC's buckets"):
        resolve_sources("idc-proxy").buckets()
