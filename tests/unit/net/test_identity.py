"""Credentials say who they are to an audit log, and never what they are."""

import base64
import json
from pathlib import Path

from dicomhaul.net.auth.azure import _owner
from dicomhaul.net.auth.fixed import BasicCredentials, NoCredentials, TokenCredentials, TokenFileCredentials


def test_an_identity_names_an_account_and_holds_no_secret(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("first-token\n")
    file = TokenFileCredentials(tmp_path / "token")
    assert NoCredentials().identity == "anonymous"
    assert BasicCredentials("ann", "secret").identity == "user ann"
    same = TokenCredentials("first-token", where="X").identity
    assert (file.identity, len(same)) == (same, len("bearer of a token, sha256 ") + 8)
    assert "first" not in same
    assert TokenCredentials("second", where="X").identity != same


def test_a_token_of_entra_id_names_its_application_and_any_other_nobody() -> None:
    claims = base64.urlsafe_b64encode(json.dumps({"appid": "app-1", "oid": "o-2", "upn": 7}).encode()).rstrip(b"=")
    assert _owner(f"head.{claims.decode()}.seal") == "azure application app-1, object o-2"
    for other in ("opaque", "a.!!!.c", "a.W10.c", "a." + "W" * 20_000 + ".c"):
        assert _owner(other) == ""
