"""Examines every source that a word stands for, all of them within one budget. For commands, and for Python."""

import os
from collections.abc import Mapping

import anyio.from_thread

from dicomhaul.config.source import Connection, Location, Sources, resolve_sources
from dicomhaul.doctor.budget import Budget
from dicomhaul.doctor.examine import Diagnosis, examine_source
from dicomhaul.net.clock import SystemClock


async def examine_all(sources: Sources, environ: Mapping[str, str]) -> list[Diagnosis]:
    """Examine one source after the other; `environ` is for proxies and credentials. Raises as `examine_source`."""
    budget, clock = Budget(), SystemClock()
    return [await examine_source(spec, environ=environ, clock=clock, budget=budget) for spec in sources.specs]


def examine(
    source: str | Sources,
    *,
    profile: str | None = None,
    connection: Connection | None = None,
    location: Location = "aws",
) -> tuple[Diagnosis, ...]:
    """Ask a source what matters for a download, in at most 200 requests, and propose a profile for it.

    What is wrong with a server is a finding, and raises nothing.

    Args:
        source: a DICOMweb base URL, a profile file, a built-in name, or `idc` for all of its sources.
        profile: the profile to begin with, if the source does not tell.
        connection: credentials and certificates.
        location: which of the two copies of IDC's buckets is meant.

    Returns:
        One diagnosis for each source.

    Raises:
        ConfigError: there is no such source; or a certificate file, or credentials that were chosen, cannot be used.
    """
    if isinstance(source, str):
        source = resolve_sources(source, profile=profile, connection=connection, location=location)
    with anyio.from_thread.start_blocking_portal("asyncio") as portal:  # whoever calls may have a loop
        return tuple(portal.call(examine_all, source, os.environ))
