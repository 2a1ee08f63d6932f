"""nginx as the server of both kinds: DICOMweb bodies and a bucket, over TLS 1.3 and HTTP/1.1 on loopback.

Everything is a file that it sends as it lies there, so that the server is never what is measured. With a `Limit` it
answers 429 to what is too many requests; with a log it says when it was asked for what.
"""

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import trustme

from benchmarks.data import BOUNDARY, BUCKET

_STARTS_WITHIN_S: Final = 10.0
_PROTOCOL: Final = "TLSv1.3"
_LISTING: Final = "default_type application/xml; rewrite ^ /listings/$revision.$page last;"


@dataclass(frozen=True)
class Limit:
    """What it allows.

    Attributes:
        requests_per_s: of all clients together.
        burst: requests that may come early.
        retry_after: say, with each refusal, after how many seconds to come again.
    """

    requests_per_s: int
    burst: int
    retry_after: bool


class Asked(NamedTuple):
    """One line of its log."""

    at_s: float  # since the epoch, when the answer had been sent
    status: int
    path: str


@dataclass(frozen=True)
class Served:
    """A server that runs."""

    port: int
    ca: Path
    log: Path | None

    @property
    def url(self) -> str:
        """Where it is."""
        return f"https://127.0.0.1:{self.port}"

    def take_log(self) -> list[Asked]:
        """Return what was asked since the last time, and forget it."""
        if self.log is None:
            return []
        lines = [line.split(" ", 2) for line in self.log.read_text(encoding="utf-8").splitlines()]
        self.log.write_bytes(b"")  # nginx appends
        return [Asked(float(at), int(status), path) for at, status, path in lines]


def version() -> str:
    """What nginx calls itself."""
    said = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True)
    return said.stderr.strip().rpartition("/")[2]


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def nginx(root: Path, *, limit: Limit | None = None, logs: bool = False) -> Iterator[Served]:
    """Serve `root`/www on a free port. Whoever is to trust it finds its authority in `Served.ca`."""
    if shutil.which("nginx") is None:
        sys.exit("nginx is not installed (Debian: nginx-light)")
    ca = _write_certificate(root)
    (root / "www").mkdir(exist_ok=True)
    log = root / "access.log" if logs else None
    port = free_port()
    (root / "nginx.conf").write_text(_configuration(root, port, limit, log), encoding="utf-8")
    process = subprocess.Popen(["nginx", "-p", str(root), "-c", str(root / "nginx.conf")], stderr=subprocess.PIPE)
    try:
        _wait_for(process, port)
        yield Served(port, ca, log)
    finally:
        process.terminate()
        process.communicate()


def _wait_for(process: "subprocess.Popen[bytes]", port: int) -> None:
    end = time.monotonic() + _STARTS_WITHIN_S
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    process.terminate()
    sys.exit(f"nginx does not start: {process.communicate()[1].decode(errors='replace')}")


def _write_certificate(root: Path) -> Path:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    (root / "key.pem").write_bytes(certificate.private_key_pem.bytes())
    (root / "cert.pem").write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
    (root / "ca.pem").write_bytes(authority.cert_pem.bytes())
    return root / "ca.pem"


def _configuration(root: Path, port: int, limit: Limit | None, log: Path | None) -> str:
    zone, refusing = "", ""
    if limit is not None:
        zone = f"limit_req_zone $server_port zone=all:1m rate={limit.requests_per_s}r/s;"
        refusing = f"limit_req zone=all burst={limit.burst} nodelay; limit_req_status 429;"
        if limit.retry_after:
            zone += ' map $status $wait { 429 1; default ""; }'
            refusing += " add_header Retry-After $wait always;"
    temporary = " ".join(
        f"{kind}_temp_path {root}/temp-{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""
        user root; daemon off; worker_processes 2; pid {root}/nginx.pid; error_log {root}/error.log;
        events {{ worker_connections 1024; }}
        http {{
            log_format asked '$msec $status $request_uri';
            access_log {"off" if log is None else f"{log} asked"};
            sendfile on; keepalive_requests 1000000; etag off; {temporary}
            map $arg_prefix $revision {{ ~^(?<found>[0-9a-f-]+) $found; }}
            map $args $page {{ ~continuation-token=(?<token>[0-9]+) $token; default 1; }}
            {zone}
            server {{
                listen 127.0.0.1:{port} ssl backlog=1024; root {root}/www; ssl_protocols {_PROTOCOL};
                ssl_certificate {root}/cert.pem; ssl_certificate_key {root}/key.pem; {refusing}
                types {{}}
                default_type 'multipart/related; type="application/dicom"; boundary={BOUNDARY}';
                location = /{BUCKET} {{ {_LISTING} }}
                location = /{BUCKET}/ {{ {_LISTING} }}
                location /listings/ {{ internal; default_type application/xml; }}
                location /{BUCKET}/ {{ default_type application/dicom; }}
            }}
        }}"""
