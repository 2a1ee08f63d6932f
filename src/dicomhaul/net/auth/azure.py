"""Tokens from azure-identity's DefaultAzureCredential: environment, workload or managed identity, a developer's login.

azure-identity is heavy, so it is imported in a thread. Messages name the kind of failure only: the texts of
azure-identity can hold what a token endpoint answered.
"""

import base64
import json
from typing import Any, Final

import anyio

from dicomhaul.errors import Unauthorized
from dicomhaul.net.auth.renewed import Token

_CLAIMS: Final = (("appid", "application"), ("oid", "object"))


class AzureTokens:
    """Fetches tokens for one scope."""

    def __init__(self, scope: str) -> None:
        self._scope = scope

    async def fetch(self) -> Token:
        """Return a new token. Raises Unauthorized.

        The credential is a new one each time: its cache would give back a token that was refused.
        """
        identity, core = await anyio.to_thread.run_sync(_load, abandon_on_cancel=True)
        try:
            async with identity.DefaultAzureCredential() as credential:
                token = await credential.get_token(self._scope)
        except (core.AzureError, ValueError) as error:  # ValueError: half a configuration in the environment
            raise Unauthorized(
                f"Azure gives no token ({type(error).__name__}): run `az login`, or set AZURE_TENANT_ID, "
                "AZURE_CLIENT_ID and AZURE_CLIENT_SECRET, or use a managed identity"
            ) from None
        return Token(token.token, float(token.expires_on), _owner(token.token))


def _owner(token: str) -> str:
    """Return the application and the object that a token of Entra ID names; '' where it is another kind of token."""
    try:
        claims = json.loads(base64.urlsafe_b64decode(f"{token.split('.')[1]}=="))
        named = [f"{word} {claims[key]}" for key, word in _CLAIMS if isinstance(claims.get(key), str)]
    except (IndexError, ValueError, AttributeError, RecursionError):
        return ""
    return f"azure {', '.join(named)}" if named else ""


def _load() -> tuple[Any, Any]:
    import azure.core.exceptions  # noqa: PLC0415 - heavy
    import azure.identity.aio  # noqa: PLC0415 - heavy

    return azure.identity.aio, azure.core.exceptions
