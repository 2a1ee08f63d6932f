"""Where the tables of IDC's index are: parquet files in the wheel of idc-index-data, or fetched when first needed.

A fetched table goes where idc-index looks for it, so that both use one copy. It arrives whole or not at all: into a
temporary file, checked against the length and the SHA-256 that the server states, synced, then renamed. It is fetched
by the standard library, which obeys the proxy of the environment; nothing here may load the engine's HTTP client.
"""

import contextlib
import hashlib
import os
import ssl
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import platformdirs
from idc_index_data import INDEX_METADATA
from idc_index_data import __version__ as index_version

from dicomhaul.errors import CohortError

_RELEASES = "https://github.com/ImagingDataCommons/idc-index-data/releases/download"
_MAX_BYTES = 8_000_000_000
_CHUNK_BYTES = 1 << 20
_STALL_TIMEOUT_S = 60.0
_MAGIC = b"PAR1"  # a parquet file begins and ends with it
_SQL_NAME = {"idc_index": "index"}  # where idc-index gives a table another name than its file has


class Shelf:
    """The tables of the installed idc-index-data.

    Attributes:
        bundled: tables of the wheel, by the name that SQL uses, and where they are.
        fetchable: the other tables, and where they are once they have been fetched.
        idc_version: number of the IDC release, such as 25.
        index_version: version of idc-index-data, such as "25.0.5".
    """

    def __init__(
        self,
        *,
        folder: Path | None = None,
        base_url: str = f"{_RELEASES}/{index_version}",
        ca_file: Path | None = None,
        notice: Callable[[str], None] | None = None,
    ) -> None:
        """Find the tables. Touches no network.

        Args:
            folder: where fetched tables go; idc-index's folder unless given.
            base_url: the URL above the tables' files.
            ca_file: certificates to trust instead of the system's.
            notice: is told in a line what is being fetched.
        """
        self.index_version: str = index_version
        self.idc_version = int(index_version.partition(".")[0])
        self.bundled: dict[str, Path] = {}
        self.fetchable: dict[str, Path] = {}
        self._base_url = base_url.rstrip("/")
        self._ca_file = ca_file
        self._notice = notice
        if folder is None:
            folder = Path(platformdirs.user_data_dir("idc_index_data", "IDC", version=index_version))
        for name, metadata in INDEX_METADATA.items():
            path = metadata["parquet_filepath"]
            if isinstance(path, Path):
                self.bundled[_SQL_NAME.get(name, name)] = path
            else:
                self.fetchable[name] = folder / f"{name}.parquet"

    def ensure(self, table: str) -> Path:
        """Return the path of a fetchable table, after fetching it if it is not there yet.

        Raises CohortError, saying which table, why, and what to do.
        """
        path = self.fetchable[table]
        if path.is_file():
            return path
        url = f"{self._base_url}/{path.name}"
        if self._notice is not None:
            self._notice(f"fetching the table {table} of IDC's index {self.index_version}")
        try:
            self._fetch(url, path)
        except (OSError, HTTPException, ValueError) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            raise CohortError(
                f"the table {table} is not part of the installed index and cannot be fetched from "
                f"{urlsplit(url).hostname}: {_reason(error)}; connect to the internet and try again, or put the file "
                f"{url} into {path.parent}"
            ) from None
        return path

    def _fetch(self, url: str, path: Path) -> None:
        stated = self._stated_sha256(f"{url}.sha256")
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=".part", dir=path.parent)
        try:
            with os.fdopen(handle, "w+b") as file, self._open(url) as response:
                _receive(response, file, stated)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                Path(name).unlink()
            raise

    def _stated_sha256(self, url: str) -> str | None:
        # Releases on GitHub have had no such file; IDC's buckets do.
        try:
            with self._open(url) as response:
                words = response.read(1000).decode("ascii", "replace").split()
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404:
                    return None
                raise
        if not words or len(words[0]) != 64:
            raise ValueError("the file with its SHA-256 is not one")
        return words[0].lower()

    def _open(self, url: str) -> HTTPResponse:
        if urlsplit(url).scheme not in {"https", "http"}:
            raise ValueError("not an http(s) URL")
        context = ssl.create_default_context(cafile=self._ca_file)
        response = urllib.request.urlopen(url, timeout=_STALL_TIMEOUT_S, context=context)  # noqa: S310 (checked above)
        assert isinstance(response, HTTPResponse)  # noqa: S101 (no other scheme gets here)
        return response


def _receive(response: HTTPResponse, file: BinaryIO, stated: str | None) -> None:
    sha256 = hashlib.sha256()
    size = 0
    while chunk := response.read(_CHUNK_BYTES):
        size += len(chunk)
        if size > _MAX_BYTES:
            raise ValueError(f"more than {_MAX_BYTES:,} bytes")
        sha256.update(chunk)
        file.write(chunk)
    length = response.headers["Content-Length"]
    if length is not None and int(length) != size:
        raise ValueError(f"ended after {size:,} of {int(length):,} bytes")
    if stated is not None and stated != sha256.hexdigest():
        raise ValueError("its SHA-256 is not the one that the server states")
    file.seek(0)
    head = file.read(len(_MAGIC))
    file.seek(max(size - len(_MAGIC), 0))
    if size < 3 * len(_MAGIC) or head != _MAGIC or file.read() != _MAGIC:
        raise ValueError("what came is not a parquet file")


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code}"
    if isinstance(error, urllib.error.URLError):
        return str(getattr(error.reason, "strerror", None) or error.reason)
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return str(error)
