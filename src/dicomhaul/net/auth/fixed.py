"""Credentials that somebody gave us: nothing, user and password, a token, a file with a token."""

import base64
import hashlib
import re
from pathlib import Path

from dicomhaul.errors import ConfigError, Unauthorized

_TOKEN = re.compile(r"[\x21-\x7e]+\Z")  # what can stand in a header, without a space


class NoCredentials:
    """For a source that wants none."""

    identity = "anonymous"

    async def authorization(self, *, stale: str | None = None) -> str | None:
        """Return None."""
        if stale is not None:
            raise Unauthorized("the source refuses what it was sent")
        return None

    async def aclose(self) -> None:
        """Nothing to do."""


class BasicCredentials:
    """User and password (RFC 7617), in UTF-8. Raises ConfigError for a user with a colon in it."""

    def __init__(self, user: str, password: str) -> None:
        if ":" in user:
            raise ConfigError("a user with a colon in it cannot be sent by HTTP basic authentication")
        self.identity = f"user {user}"
        pair = f"{user}:{password}".encode()
        self._value = "Basic " + base64.b64encode(pair).decode("ascii")

    async def authorization(self, *, stale: str | None = None) -> str | None:
        """Return the header's value. Raises Unauthorized if that is `stale`."""
        if stale is not None:
            raise Unauthorized("the source does not accept this user and password")
        return self._value

    async def aclose(self) -> None:
        """Nothing to do."""


class TokenCredentials:
    """A bearer token (RFC 6750) that stays as it is; `where` names where it came from."""

    def __init__(self, token: str, *, where: str) -> None:
        self._value = _bearer(token, where)
        self._where = where
        self.identity = bearer_identity(token.strip())

    async def authorization(self, *, stale: str | None = None) -> str | None:
        """Return the header's value. Raises Unauthorized if that is `stale`."""
        if stale is not None:
            raise Unauthorized(f"the source does not accept the token in {self._where}; it may have expired")
        return self._value

    async def aclose(self) -> None:
        """Nothing to do."""


class TokenFileCredentials:
    """A bearer token in a file that somebody else renews: read again when the file changes, and when it is refused.

    Raises ConfigError if the file cannot be read, or holds no token.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._value = ""
        self._look()

    @property
    def identity(self) -> str:
        """The bearer of the token that was read last."""
        return bearer_identity(self._value.removeprefix("Bearer "))

    async def authorization(self, *, stale: str | None = None) -> str | None:
        """Return the header's value. Raises Unauthorized if the file holds nothing newer than `stale`."""
        if stale is not None:
            self._seen = None  # a file replaced within the resolution of its time stamp looks unchanged
        try:
            self._look()
        except ConfigError as error:
            raise Unauthorized(str(error)) from None
        if self._value == stale:
            raise Unauthorized(f"the source does not accept the token in {self._path}; it may have expired")
        return self._value

    async def aclose(self) -> None:
        """Nothing to do."""

    def _look(self) -> None:
        """Inline and not in a thread: a stat takes microseconds, a token is a few kilobytes."""
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_ino)
            if stamp == self._seen:
                return
            text = self._path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not text"
            raise ConfigError(f"cannot read the token file {self._path}: {reason}") from None
        self._value = _bearer(text, str(self._path))
        self._seen = stamp


def bearer_identity(token: str) -> str:
    """Return what tells one bearer token from another, and gives none away: 32 bits of its SHA-256."""
    return f"bearer of a token, sha256 {hashlib.sha256(token.encode()).hexdigest()[:8]}"


def _bearer(token: str, where: str) -> str:
    text = token.strip()
    if _TOKEN.match(text) is None:
        raise ConfigError(f"{where} does not hold a token: one word of ASCII is expected")
    return f"Bearer {text}"
