"""Fixtures for every test."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from support.orthanc import Orthanc, pydicom_files, run_orthanc
from support.quick_command import COMMANDS

# A busy machine is no failure: no example has a deadline, and slow generation is no error.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


@pytest.fixture
def anyio_backend() -> str:
    """The engine runs on asyncio alone: aiohttp does."""
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def _commands() -> Iterator[None]:
    """What `run_command` has started to fork from ends with the session."""
    yield
    COMMANDS.close()


@pytest.fixture(scope="session")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """A real Orthanc of this session's own, with all test data of pydicom's that it takes. Nobody may add to it."""
    with run_orthanc(tmp_path_factory.mktemp("orthanc"), pydicom_files()) as running:
        yield running
