"""A real S3 server on loopback (moto's), with public buckets."""

import logging
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from moto.server import ThreadedMotoServer

# moto looks at who asks, and never at the signature.
_ANYBODY: Final = {
    "Authorization": "AWS4-HMAC-SHA256 Credential=a/20200101/us-east-1/s3/aws4_request, SignedHeaders=a, Signature=b",
    "Content-Type": "application/dicom",
    "x-amz-acl": "public-read",
}


class S3:
    """A running server. `url` is its base."""

    def __init__(self, url: str) -> None:
        self.url = url

    def put_bucket(self, bucket: str) -> None:
        """Make a public bucket."""
        self._put(bucket, b"")

    def put(self, bucket: str, key: str, content: bytes) -> None:
        """Store a public object."""
        self._put(f"{bucket}/{key}", content)

    def _put(self, path: str, content: bytes) -> None:
        request = urllib.request.Request(f"{self.url}/{path}", content, _ANYBODY, method="PUT")
        with urllib.request.urlopen(request) as response:
            response.read()


@contextmanager
def run_s3() -> Iterator[S3]:
    """Serve from threads of this process, on a free port."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield S3(f"http://{host}:{port}")
    finally:
        server.stop()
