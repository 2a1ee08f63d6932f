"""A real S3 server on loopback (moto's), with public buckets."""

import logging
import urllib.request
from collections.abc import Iterator, Mapping
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

    def put_in_parts(self, bucket: str, key: str, parts: list[bytes]) -> None:
        """Store a public object by a multipart upload; its ETag is no MD5 then. Parts have at least 5 MiB."""
        path = f"{bucket}/{key}"
        opened = self._ask("POST", f"{path}?uploads", b"")[0].decode()
        upload = opened.partition("<UploadId>")[2].partition("<")[0]
        done = ""
        for number, part in enumerate(parts, 1):
            _, headers = self._ask("PUT", f"{path}?partNumber={number}&uploadId={upload}", part)
            done += f"<Part><PartNumber>{number}</PartNumber><ETag>{headers['ETag']}</ETag></Part>"
        body = f"<CompleteMultipartUpload>{done}</CompleteMultipartUpload>".encode()
        self._ask("POST", f"{path}?uploadId={upload}", body)

    def _put(self, path: str, content: bytes) -> None:
        self._ask("PUT", path, content)

    def _ask(self, method: str, path: str, content: bytes) -> tuple[bytes, Mapping[str, str]]:
        request = urllib.request.Request(f"{self.url}/{path}", content, _ANYBODY, method=method)
        with urllib.request.urlopen(request) as response:
            return response.read(), response.headers


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
