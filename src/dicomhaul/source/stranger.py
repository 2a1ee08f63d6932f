"""Telling a source that gives something else than DICOM for one series from one that gives it for everything.

A login page, a proxy's notice or another service at the source's URL answers every request, quickly and with 200. To
HTTP, and to the breaker, such a host is well; it would be asked through the whole cohort, and every series marked as
failed. So series whose answers were none are counted, and with the eighth in a row the source is not asked any more.
Fewer end as failures of their own: some servers cannot give some series.

Pure state; one for each source.
"""

from typing import Final

from dicomhaul.errors import SourceDown, TransferError

SERIES_DOWN: Final = 8  # as many as make a failing host a lost one: `net.breaker.DOWN_JOBS`


class Stranger:
    """Counts series in a row for which a source had something else. `host` is how messages call it."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._series: set[str] = set()

    def gave_otherwise(self, series: str, error: TransferError) -> None:
        """All tries for a series, or for something of it, brought something else, of which `error` tells.

        Raises SourceDown with the eighth series.
        """
        self._series.add(series)
        if len(self._series) >= SERIES_DOWN:
            raise SourceDown(
                f"{self._host} gives nothing that it should, whatever it is asked for: {error}; is a login page, or "
                "another service, at this URL?"
            ) from error

    def gave(self) -> None:
        """Something came that was asked for."""
        self._series.clear()
