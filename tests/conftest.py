"""Fixtures for every test."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """The engine runs on asyncio alone: aiohttp does."""
    return "asyncio"
