"""Which proxy, from what environment."""

import pytest

from dicomhaul.errors import ConfigError
from dicomhaul.net.proxy import Proxies, Proxy


def url_for(environ: dict[str, str], scheme: str = "https", host: str = "pacs.example", port: int = 443) -> str | None:
    proxy = Proxies.from_environ(environ).for_url(scheme, host, port)
    return None if proxy is None else proxy.url


def test_by_scheme() -> None:
    environ = {"HTTP_PROXY": "http://a:1", "HTTPS_PROXY": "http://b:2"}
    assert url_for(environ, "http") == "http://a:1"
    assert url_for(environ, "https") == "http://b:2"
    assert url_for({}) is None
    assert url_for({"HTTPS_PROXY": ""}) is None


def test_lower_case_wins_and_all_proxy_comes_last() -> None:
    assert (
        url_for({"HTTPS_PROXY": "http://a:1", "https_proxy": "http://b:2", "all_proxy": "http://c:3"}) == "http://b:2"
    )
    assert url_for({"ALL_PROXY": "http://c:3"}) == "http://c:3"


@pytest.mark.parametrize(
    ("no_proxy", "direct"),
    [("*", True), ("example", True), (".example", True), ("pacs.example:443", True), ("other", False), ("", False),
     ("ple", False)],
)  # fmt: skip
def test_no_proxy(no_proxy: str, *, direct: bool) -> None:
    environ = {"HTTPS_PROXY": "http://a:1", "NO_PROXY": no_proxy}
    assert (url_for(environ) is None) is direct


def test_credentials_leave_the_url_and_show_nowhere() -> None:
    proxies = Proxies.from_environ({"HTTPS_PROXY": "user:p%40ss@[::1]:3128"})
    assert proxies.for_url("https", "pacs", None) == Proxy("http://[::1]:3128", "Basic dXNlcjpwQHNz")
    assert "dXNlcjpwQHNz" not in repr(proxies)
    assert "p%40ss" not in repr(proxies)


@pytest.mark.parametrize("value", ["socks5://a:1", "http://", "http://secret@a:port", "http://secret@[a"])
def test_what_is_no_proxy_is_named_without_its_value(value: str) -> None:
    with pytest.raises(ConfigError, match="HTTPS_PROXY") as raised:
        Proxies.from_environ({"HTTPS_PROXY": value})
    assert "secret" not in str(raised.value)
