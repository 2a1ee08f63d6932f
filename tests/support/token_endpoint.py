"""Token endpoints on loopback, as Google and Azure have them, and a resource that wants their tokens.

One `TokenEndpoint.answer` plays all: Google's metadata server, Google's OAuth 2 token endpoint for service accounts,
Azure's managed identity endpoint, and below `/dicom-web` the resource.
"""

import json
import time
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from support.loopback import Asked, Reply, ok

AZURE_SECRET = "the-identity-header-of-azure"


@dataclass(slots=True)
class TokenEndpoint:
    """Hands out numbered tokens; the resource takes the newest only, unless that is revoked.

    Attributes:
        life_s: how long a token says it lives.
        revoke_after: requests that the resource answers before it takes the token of that moment no more.
        refuse: the token endpoint answers 400 instead.
        issued: tokens handed out, in order.
        scopes: what they were asked for.
        served: requests that the resource answered.
        refused: requests to the resource that it answered with 401.
    """

    life_s: int = 3600
    revoke_after: int = 1_000_000
    refuse: bool = False
    issued: list[str] = field(default_factory=list)
    scopes: list[str] = field(default_factory=list)
    served: int = 0
    refused: int = 0
    revoked: str = ""

    def answer(self, asked: Asked) -> Reply:
        """Answer one request."""
        parts = urlsplit(asked.target)
        query = parse_qs(parts.query)
        google = asked.headers.get("metadata-flavor") == "Google"
        if parts.path.startswith("/dicom-web"):
            return self._resource(asked)
        if google and parts.path.startswith("/computeMetadata/v1/instance/service-accounts/"):
            if parts.path.endswith("/token"):
                return self._token(query.get("scopes", [""])[0])
            return _google({"aliases": ["default"], "email": "a@example.org", "scopes": []})
        if parts.path == "/oauth2/token" and b"assertion=" in asked.body:
            return self._token("in the assertion")
        if parts.path == "/msi/token" and asked.headers.get("x-identity-header") == AZURE_SECRET:
            return self._token(query["resource"][0])
        return ok(status="200 OK" if parts.path == "/" else "404 Not Found", Metadata_Flavor="Google")

    def _token(self, scope: str) -> Reply:
        if self.refuse:
            return ok(b'{"error": "invalid_grant"}', status="400 Bad Request", Content_Type="application/json")
        self.scopes.append(scope)
        self.issued.append(f"never-show-token-{len(self.issued) + 1}")
        now = int(time.time())
        return _google(
            {
                "access_token": self.issued[-1],
                "expires_in": self.life_s,
                "expires_on": str(now + self.life_s),
                "token_type": "Bearer",
                "resource": scope,
            }
        )

    def _resource(self, asked: Asked) -> Reply:
        newest = self.issued[-1] if self.issued else ""
        value = asked.headers.get("authorization", "")
        if value != f"Bearer {newest}" or newest == self.revoked:
            self.refused += 1
            return ok(status="401 Unauthorized")
        self.served += 1
        if self.served == self.revoke_after:
            self.revoked = newest
        return ok(newest.rpartition("-")[2].encode())


def _google(content: dict[str, object]) -> Reply:
    return ok(json.dumps(content).encode(), Metadata_Flavor="Google", Content_Type="application/json")
