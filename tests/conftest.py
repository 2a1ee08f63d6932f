"""Fixtures for every test."""

from collections.abc import Iterator

import pytest

from support.orthanc import Orthanc, pydicom_files, run_orthanc


@pytest.fixture
def anyio_backend() -> str:
    """The engine runs on asyncio alone: aiohttp does."""
    return "asyncio"


@pytest.fixture(scope="session")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """A real Orthanc of this session's own, with all test data of pydicom's that it takes. Nobody may add to it."""
    with run_orthanc(tmp_path_factory.mktemp("orthanc"), pydicom_files()) as running:
        yield running
