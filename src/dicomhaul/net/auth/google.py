"""Tokens from Google's application default credentials: a user's login, a service account, a metadata server.

google-auth is blocking and heavy, so it is imported and run in a thread. Messages name the kind of failure only: the
texts of google-auth can hold what a token endpoint answered.
"""

from contextlib import closing
from datetime import UTC
from typing import Any

import anyio

from dicomhaul.errors import Unauthorized
from dicomhaul.net.auth.renewed import Token

_HINT = "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS"


class GoogleTokens:
    """Fetches tokens for one OAuth 2 scope."""

    def __init__(self, scope: str) -> None:
        self._scope = scope
        self._credentials: Any = None

    async def fetch(self) -> Token:
        """Return a new token. Raises Unauthorized."""
        # Abandoned on cancellation: it writes nothing, and its own time-outs are in minutes.
        return await anyio.to_thread.run_sync(self._refresh, abandon_on_cancel=True)

    def _refresh(self) -> Token:
        import google.auth  # noqa: PLC0415 - heavy
        import google.auth.exceptions  # noqa: PLC0415 - heavy
        import google.auth.transport.requests  # noqa: PLC0415 - heavy

        try:
            if self._credentials is None:
                self._credentials, _project = google.auth.default(scopes=[self._scope])
            request = google.auth.transport.requests.Request()
            with closing(request.session):
                self._credentials.refresh(request)
        except google.auth.exceptions.DefaultCredentialsError:
            raise Unauthorized(f"there are no usable Google credentials here: {_HINT}") from None
        except google.auth.exceptions.GoogleAuthError as error:
            raise Unauthorized(f"Google gives no token ({type(error).__name__}): {_HINT}") from None
        expiry = self._credentials.expiry  # naive, UTC
        # Known of a service account and of a metadata server, not of a user's login.
        email = getattr(self._credentials, "service_account_email", None)
        owner = f"google service account {email}" if email else ""
        return Token(self._credentials.token, expiry.replace(tzinfo=UTC).timestamp(), owner)
