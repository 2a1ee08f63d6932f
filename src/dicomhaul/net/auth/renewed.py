"""Tokens that end and are fetched anew: before they end, and once for all who wait.

Knows no vendor: `google` and `azure` fetch.
"""

from dataclasses import dataclass, field
from typing import Protocol

import anyio

from dicomhaul.errors import Unauthorized
from dicomhaul.net.auth.fixed import bearer_identity
from dicomhaul.ports import Clock

SKEW_S = 300.0  # a token is renewed so long before its end
_RETRY_S = 30.0  # a renewal that failed while the token still holds is tried again after this


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token and when it ends, in seconds since the epoch, UTC; whose it is, where its issuer says so."""

    value: str = field(repr=False)
    expires_at_s: float
    owner: str = ""


class Tokens(Protocol):
    """Where tokens come from."""

    async def fetch(self) -> Token:
        """Return a new token, none out of a cache. Raises Unauthorized."""
        ...


class RenewedCredentials:
    """Bearer credentials over a source of tokens.

    A token is renewed `SKEW_S` before its end, or when half of its life is over if that is later: some services
    hand out tokens that live for less than twice the skew, and a request each must not become a fetch each. A
    renewal that fails while the old token still holds is no error: the old one is used on.
    """

    def __init__(self, tokens: Tokens, *, clock: Clock) -> None:
        self._tokens = tokens
        self._clock = clock
        self._turn = anyio.Lock(fast_acquire=True)
        self._header: str | None = None
        self._renew_at_s = 0.0
        self._expires_at_s = 0.0
        self._fetches = 0
        self._failure: str | None = None  # of the latest fetch
        self._identity = "nobody yet"

    @property
    def identity(self) -> str:
        """The owner of the latest token, where its issuer says who that is."""
        return self._identity

    async def authorization(self, *, stale: str | None = None) -> str | None:
        """Return the header's value. Raises Unauthorized if there is no token, or none newer than `stale`."""
        if self._is_fresh(stale):
            return self._header
        fetches = self._fetches
        async with self._turn:
            if self._is_fresh(stale):
                return self._header
            # Who waited while another's fetch failed shares that failure, and does not ask again in turn.
            if self._fetches == fetches:
                await self._fetch()
            if self._failure is not None and not self._holds(stale):
                raise Unauthorized(self._failure)
        if self._header == stale:
            raise Unauthorized("the source does not accept our token, and there is no newer one")
        return self._header

    async def aclose(self) -> None:
        """Nothing to do."""

    def _is_fresh(self, stale: str | None) -> bool:
        return self._header is not None and self._header != stale and self._clock.now() < self._renew_at_s

    def _holds(self, stale: str | None) -> bool:
        return self._header is not None and self._header != stale and self._clock.now() < self._expires_at_s

    async def _fetch(self) -> None:
        try:
            token = await self._tokens.fetch()
        except Unauthorized as error:
            self._failure = str(error)
            self._renew_at_s = self._clock.now() + _RETRY_S
        else:
            now_s = self._clock.now()
            self._failure = None
            self._header = f"Bearer {token.value}"
            self._identity = token.owner or bearer_identity(token.value)
            self._expires_at_s = token.expires_at_s
            self._renew_at_s = max(token.expires_at_s - SKEW_S, (now_s + token.expires_at_s) / 2.0)
        self._fetches += 1
