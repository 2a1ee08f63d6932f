"""Google's and Azure's credentials, each in a process with its own environment, against token endpoints on loopback."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from support.loopback import Loopback, open_loopback
from support.token_endpoint import AZURE_SECRET, TokenEndpoint

pytestmark = pytest.mark.anyio

TESTS = Path(__file__).resolve().parents[1]
KINDS = ["google metadata", "google service account", "azure"]


@dataclass(frozen=True, slots=True)
class Probed:
    """What the probe printed and logged."""

    got: list[str]
    logged: str


def environment(kind: str, server: Loopback, home: Path) -> dict[str, str]:
    """Only what the kind needs: nothing of whoever runs the tests."""
    where = f"127.0.0.1:{server.port}"
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PYTHONPATH": str(TESTS),
        "CLOUDSDK_CONFIG": str(home / "none"),
        "NO_PROXY": "*",
    }
    match kind:
        case "google metadata":
            return environ | {"GCE_METADATA_HOST": where, "GCE_METADATA_IP": where}
        case "google service account":
            key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
            account = {
                "type": "service_account",
                "client_email": "a@example.org",
                "private_key": key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
                "private_key_id": "1",
                "token_uri": f"http://{where}/oauth2/token",
            }
            file = home / "account.json"
            file.write_text(json.dumps(account))
            return environ | {"GOOGLE_APPLICATION_CREDENTIALS": str(file), "NO_GCE_CHECK": "true"}
    return environ | {"IDENTITY_ENDPOINT": f"http://{where}/msi/token", "IDENTITY_HEADER": AZURE_SECRET}


async def probe(kind: str, endpoint: TokenEndpoint, home: Path, *steps: str) -> Probed:
    async with open_loopback(endpoint.answer) as server:
        done = await anyio.run_process(
            [sys.executable, "-m", "support.credentials_probe", kind.split(maxsplit=1)[0], server.url(), *steps],
            env=environment(kind, server, home),
            check=False,
        )
    logged = done.stderr.decode()
    assert done.returncode == 0, logged
    return Probed(json.loads(done.stdout), logged)


@pytest.mark.parametrize("kind", KINDS)
async def test_fetched_once_renewed_before_the_end_and_replaced_when_refused(kind: str, tmp_path: Path) -> None:
    endpoint = TokenEndpoint(life_s=200, revoke_after=52)
    probed = await probe(kind, endpoint, tmp_path, "ask=50", "pass=150", "ask=2", "ask=50")
    assert probed.got == ["1"] * 50 + ["2"] * 2 + ["3"] * 50
    assert len(endpoint.issued) == 3
    assert 1 <= endpoint.refused <= 50
    scope = {
        "google metadata": "https://www.googleapis.com/auth/cloud-healthcare",
        "google service account": "in the assertion",
        "azure": "https://dicom.healthcareapis.azure.com",
    }
    assert set(endpoint.scopes) == {scope[kind]}
    assert "never-show" not in probed.logged
    assert AZURE_SECRET not in probed.logged
    assert "PRIVATE KEY" not in probed.logged


@pytest.mark.parametrize("kind", KINDS)
async def test_an_endpoint_that_gives_none_is_unauthorized_with_a_hint(kind: str, tmp_path: Path) -> None:
    endpoint = TokenEndpoint(refuse=True)
    probed = await probe(kind, endpoint, tmp_path, "ask=5")
    assert len(probed.got) == 5
    assert len(set(probed.got)) == 1
    assert probed.got[0].startswith("Unauthorized: ")
    assert ("az login" if kind == "azure" else "gcloud") in probed.got[0]
    assert endpoint.served == endpoint.refused == 0


async def test_no_google_credentials_at_all(tmp_path: Path) -> None:
    async with open_loopback(TokenEndpoint().answer) as server:
        environ = environment("google service account", server, tmp_path)
        del environ["GOOGLE_APPLICATION_CREDENTIALS"]
        done = await anyio.to_thread.run_sync(
            lambda: subprocess.run(
                [sys.executable, "-m", "support.credentials_probe", "google", server.url(), "ask=1"],
                env=environ,
                capture_output=True,
                check=True,
            )
        )
    assert "no usable Google credentials here" in json.loads(done.stdout)[0]
