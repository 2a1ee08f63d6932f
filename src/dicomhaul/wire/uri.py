"""Paths of DICOMweb resources (PS3.18 sections 10.1.1 and 10.6.1.1), relative to a server's base URL.

A path is built from UIDs alone: what is no UID could climb out of the path, so it never gets in. The base URL and the
query belong to those who own the request.
"""

from dicomhaul.errors import WrongInstance
from dicomhaul.model import is_identifier


def _checked(uid: str, what: str) -> str:
    if not is_identifier(uid):
        raise WrongInstance(f"the {what} Instance UID is not a UID")
    return uid


def study_path(study: str) -> str:
    """`studies/{study}`. Raises WrongInstance if a UID is none; so do all that follow."""
    return f"studies/{_checked(study, 'Study')}"


def series_path(study: str, series: str) -> str:
    """`studies/{study}/series/{series}`."""
    return f"{study_path(study)}/series/{_checked(series, 'Series')}"


def instance_path(study: str, series: str, sop: str) -> str:
    """`studies/{study}/series/{series}/instances/{sop}`."""
    return f"{series_path(study, series)}/instances/{_checked(sop, 'SOP')}"


def search_studies_path() -> str:
    """Where studies are searched: `studies`."""
    return "studies"


def search_series_path(study: str | None = None) -> str:
    """Where series are searched: in one study, or among all (which some servers cannot)."""
    return "series" if study is None else f"{study_path(study)}/series"


def search_instances_path(study: str | None = None, series: str | None = None) -> str:
    """Where instances are searched: in one series, in one study, or among all. `series` needs its `study`."""
    if study is None:
        return "instances"
    if series is None:
        return f"{study_path(study)}/instances"
    return f"{series_path(study, series)}/instances"
