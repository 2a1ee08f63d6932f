"""Credentials that were given, tokens that are renewed, and who gets what."""

import os
from pathlib import Path

import anyio
import pytest

from dicomhaul.errors import ConfigError, Unauthorized
from dicomhaul.net.auth import AuthKind, credentials_for
from dicomhaul.net.auth.fixed import BasicCredentials, NoCredentials, TokenCredentials, TokenFileCredentials
from dicomhaul.net.auth.renewed import SKEW_S, RenewedCredentials, Token
from dicomhaul.ports import Credentials
from dicomhaul.profile import built_in
from support.clock import FakeClock

pytestmark = pytest.mark.anyio

ENVIRON = {"DICOMHAUL_TOKEN": "env-token", "DICOMHAUL_USER": "env-user", "DICOMHAUL_PASSWORD": "env-pass"}


class FakeTokens:
    """Hands out numbered tokens that live for `life_s`, after `took_s`; fails while `failing`."""

    def __init__(self, clock: FakeClock, *, life_s: float = 3600.0, took_s: float = 1.0) -> None:
        self.clock = clock
        self.life_s = life_s
        self.took_s = took_s
        self.failing = False
        self.sticky = False
        self.fetches = 0

    async def fetch(self) -> Token:
        self.fetches += 1
        number = 1 if self.sticky else self.fetches
        await self.clock.sleep(self.took_s)
        if self.failing:
            raise Unauthorized("no token today")
        return Token(f"token-{number}", self.clock.now() + self.life_s)


def choose(kind: AuthKind | None = None, profile: str = "generic", **given: object) -> Credentials:
    arguments: dict[str, object] = {"environ": ENVIRON, "clock": FakeClock(), **given}
    return credentials_for(kind, profile=built_in(profile), **arguments)  # type: ignore[arg-type]


async def test_what_there_is_decides_where_nothing_is_said(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("file-token\n")
    assert await choose().authorization() == "Bearer env-token"
    assert await choose(environ={}).authorization() is None
    assert await choose(environ={"DICOMHAUL_USER": "u"}).authorization() == "Basic dTo="
    assert await choose(user="u", password="p").authorization() == "Basic dTpw"
    assert await choose(token_file=file, user="u").authorization() == "Bearer file-token"
    assert isinstance(choose(profile="google"), RenewedCredentials)
    assert isinstance(choose(profile="azure"), RenewedCredentials)


async def test_a_variable_meant_for_another_server_is_not_sent_to_a_public_one() -> None:
    assert isinstance(choose(profile="idc-proxy"), NoCredentials)


async def test_what_is_said_wins() -> None:
    assert await choose("none").authorization() is None
    assert await choose("basic").authorization() == "Basic ZW52LXVzZXI6ZW52LXBhc3M="
    assert await choose("bearer", "google").authorization() == "Bearer env-token"


@pytest.mark.parametrize(("kind", "named"), [("basic", "DICOMHAUL_USER"), ("bearer", "DICOMHAUL_TOKEN")])
def test_what_is_missing_is_named(kind: AuthKind, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        choose(kind, environ={})


@pytest.mark.parametrize("token", ["se cret", "secret\r\nX-Evil: 1", "sécret"])
def test_a_token_that_could_break_a_header_is_refused_without_being_shown(token: str) -> None:
    with pytest.raises(ConfigError) as raised:
        TokenCredentials(token, where="DICOMHAUL_TOKEN")
    assert "cret" not in str(raised.value)


def test_a_user_with_a_colon_is_refused() -> None:
    with pytest.raises(ConfigError):
        BasicCredentials("a:b", "c")


@pytest.mark.parametrize(
    "credentials", [BasicCredentials("u", "p"), TokenCredentials("t", where="here"), NoCredentials()]
)
async def test_what_is_refused_cannot_be_renewed(credentials: Credentials) -> None:
    value = await credentials.authorization()
    with pytest.raises(Unauthorized):
        await credentials.authorization(stale=value or "Bearer x")


async def test_values_show_in_no_repr() -> None:
    clock = FakeClock()
    renewed = RenewedCredentials(FakeTokens(clock), clock=clock)
    await renewed.authorization()
    for thing in (BasicCredentials("u", "secret"), TokenCredentials("secret", where="x"), renewed):
        assert "secret" not in repr(thing)
        assert "token-1" not in repr(thing)
    assert "secret" not in repr(Token("secret", 0.0))


async def test_a_token_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("one\n")
    credentials = TokenFileCredentials(file)
    assert await credentials.authorization() == "Bearer one"
    (tmp_path / "new").write_text("two\n")
    (tmp_path / "new").replace(file)
    assert await credentials.authorization() == "Bearer two"


async def test_a_refused_token_file_is_read_again_even_if_it_looks_unchanged(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("one\n")
    stamp = file.stat()
    credentials = TokenFileCredentials(file)
    file.write_text("two\n")
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert await credentials.authorization(stale="Bearer one") == "Bearer two"
    with pytest.raises(Unauthorized, match="token"):
        await credentials.authorization(stale="Bearer two")


async def test_a_token_file_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        TokenFileCredentials(tmp_path / "none")
    file = tmp_path / "token"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not text"):
        TokenFileCredentials(file)
    file.write_text("one")
    credentials = TokenFileCredentials(file)
    file.unlink()
    with pytest.raises(Unauthorized):
        await credentials.authorization()


async def test_a_token_is_used_until_shortly_before_its_end() -> None:
    clock = FakeClock()
    tokens = FakeTokens(clock)
    credentials = RenewedCredentials(tokens, clock=clock)
    assert await credentials.authorization() == "Bearer token-1"
    clock.advance(3600.0 - SKEW_S - 1.0)
    assert await credentials.authorization() == "Bearer token-1"
    clock.advance(1.0)
    assert await credentials.authorization() == "Bearer token-2"
    assert tokens.fetches == 2


async def test_a_short_lived_token_is_not_fetched_for_each_request() -> None:
    clock = FakeClock()
    tokens = FakeTokens(clock, life_s=120.0)
    credentials = RenewedCredentials(tokens, clock=clock)
    for _ in range(59):
        await credentials.authorization()
        clock.advance(1.0)
    assert tokens.fetches == 1
    clock.advance(2.0)
    assert await credentials.authorization() == "Bearer token-2"


async def test_fifty_who_wait_cause_one_fetch() -> None:
    clock = FakeClock()
    tokens = FakeTokens(clock)
    credentials = RenewedCredentials(tokens, clock=clock)
    got: list[str | None] = []

    async def ask(stale: str | None) -> None:
        got.append(await credentials.authorization(stale=stale))

    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(ask, None)
    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(ask, "Bearer token-1")
    assert got == ["Bearer token-1"] * 50 + ["Bearer token-2"] * 50
    assert tokens.fetches == 2


async def test_fifty_who_wait_share_one_failure() -> None:
    clock = FakeClock()
    tokens = FakeTokens(clock)
    tokens.failing = True
    credentials = RenewedCredentials(tokens, clock=clock)
    failed = 0

    async def ask() -> None:
        nonlocal failed
        with pytest.raises(Unauthorized, match="no token today"):
            await credentials.authorization()
        failed += 1

    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(ask)
    assert failed == 50
    assert tokens.fetches == 1


async def test_a_renewal_that_fails_too_early_to_matter_is_tried_again_later() -> None:
    clock = FakeClock()
    tokens = FakeTokens(clock)
    credentials = RenewedCredentials(tokens, clock=clock)
    await credentials.authorization()
    clock.advance(3600.0 - 200.0)
    tokens.failing = True
    for _ in range(10):
        assert await credentials.authorization() == "Bearer token-1"
    assert tokens.fetches == 2
    tokens.failing = False
    clock.advance(31.0)
    assert await credentials.authorization() == "Bearer token-3"


async def test_a_renewal_that_fails_past_the_end_is_an_error() -> None:
    clock = FakeClock()
    tokens = FakeTokens(clock)
    credentials = RenewedCredentials(tokens, clock=clock)
    await credentials.authorization()
    clock.advance(3601.0)
    tokens.failing = True
    with pytest.raises(Unauthorized, match="no token today"):
        await credentials.authorization()


async def test_a_refused_token_never_comes_back() -> None:
    clock = FakeClock()
    tokens = FakeTokens(clock)
    tokens.sticky = True
    credentials = RenewedCredentials(tokens, clock=clock)
    value = await credentials.authorization()
    with pytest.raises(Unauthorized, match="no newer"):
        await credentials.authorization(stale=value)


async def test_a_cancelled_fetch_leaves_the_others_a_turn() -> None:
    clock = FakeClock()
    tokens = FakeTokens(clock, took_s=10.0)
    credentials = RenewedCredentials(tokens, clock=clock)
    got: list[str | None] = []

    async def ask() -> None:
        got.append(await credentials.authorization())

    async with anyio.create_task_group() as outer, anyio.create_task_group() as inner:
        inner.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        outer.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        inner.cancel_scope.cancel()
    assert got == ["Bearer token-2"]
