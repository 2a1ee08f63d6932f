"""What can go wrong, ordered by what to do next.

* HaulError
  + ConfigError                  stop before starting (exit 2)
  + CohortError                  stop before starting (exit 2): bad input
    - EmptyCohort                nothing matches; of a mirror that holds something a sync makes SyncRefused of it
  + TransferError                one exchange went wrong; carries job, source, attempt
    - RetryableError             the same request may well succeed later
      · Throttled                the server says "slower"; carries retry_after_s
      · TimedOut                 nothing arrived for too long
      · Disconnected             the connection broke
      · ServerFailed             a status that the source's profile calls transient
    - DamagedError               the answer is wrong; ask a few more times, then record
      · Truncated                it ended too early
      · BadMultipart             the framing is broken
      · NotDicom                 a part is not a DICOM instance
      · WrongInstance            an instance of another series, or with an impossible UID
    - RefusedError               this resource will not come by this route; next route, else record and go on
      · NotFound · Forbidden · Unsupported
  + SourceError                  stop asking this source; its jobs stay planned (exit 4)
    - SourceDown · Unauthorized · QuotaExhausted (carries until_s)
  + LandingError                 start nothing new, save, stop (exit 1)
    - DiskFull · NotWritable
  + LedgerError                  stop (exit 1)
    - AuditError                 the audit log cannot be written: a run that is audited does not go on without it
  + SyncRefused                  a sync would remove more than it may: nothing was changed (exit 1)
  + CrewError                    one of several processes that haul has died: stop (exit 1)
  + IncompleteError              the run ended, something is missing; carries report (exit 3)

Messages are for the person at the terminal: one line, no credential, no patient data, no query string.
"""

from typing import Any, Self


class HaulError(Exception):
    """Base of everything that dicomhaul raises on purpose.

    Attributes:
        report: the `Report` of the run that this error ended; None before there was anything to report.
    """

    report: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Whole from one process to another, whatever its class takes besides the message."""
        return type(self).again, (self.args, self.__dict__)

    @classmethod
    def again(cls, args: tuple[Any, ...], state: dict[str, Any]) -> Self:
        """Return an error as it was elsewhere."""
        error = cls.__new__(cls, *args)
        error.__dict__.update(state)
        return error


class ConfigError(HaulError):
    """A setting, a profile or a combination of options makes no sense."""


class CohortError(HaulError):
    """The cohort cannot be resolved from what was given, or nothing matches it."""


class EmptyCohort(CohortError):
    """What was asked for makes sense, and nothing matches it, or nothing is named."""


class TransferError(HaulError):
    """One exchange went wrong.

    Attributes:
        job: what was asked for, as text; filled in by the retry wrapper.
        source: the name of the source; likewise.
        attempt: the number of the attempt, from 1; likewise.
        landed: instances that this attempt brought before it failed.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.job = ""
        self.source = ""
        self.attempt = 0
        self.landed = 0


class RetryableError(TransferError):
    """The same request may well succeed later.

    Attributes:
        connected: False where no connection to the host came about, so that this says nothing about the job.
    """

    def __init__(self, message: str, *, connected: bool = True) -> None:
        super().__init__(message)
        self.connected = connected


class Throttled(RetryableError):
    """The server asks for a slower pace.

    Attributes:
        retry_after_s: seconds that the server asked for; None if it named none.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TimedOut(RetryableError):
    """No connection, or no byte, for too long."""


class Disconnected(RetryableError):
    """The connection was refused, reset, or closed in the middle."""


class ServerFailed(RetryableError):
    """The server failed in a way that its profile calls transient.

    Attributes:
        retry_after_s: seconds that the server asked for; None if it named none.
    """

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DamagedError(TransferError):
    """The answer is wrong in itself."""


class Truncated(DamagedError):
    """The answer, or an instance in it, ended before its end."""


class BadMultipart(DamagedError):
    """The multipart framing is broken."""


class NotDicom(DamagedError):
    """What came is not a DICOM instance."""


class WrongInstance(DamagedError):
    """An instance came that was not asked for, or whose UIDs are impossible."""


class RefusedError(TransferError):
    """This resource will not come by this route.

    Attributes:
        status: the HTTP status that said so; None if it was something else.
    """

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class NotFound(RefusedError):
    """The source does not have it."""


class Forbidden(RefusedError):
    """The source will not give this resource to us."""


class Unsupported(RefusedError):
    """The source cannot give it in any form we accept."""


class SourceError(HaulError):
    """The source as a whole cannot be asked any more."""


class SourceDown(SourceError):
    """The host does not answer, or fails for every job."""


class Unauthorized(SourceError):
    """The source does not accept our credentials, or we have none."""


class QuotaExhausted(SourceError):
    """The source's quota is used up.

    Attributes:
        until_s: when it opens again, in seconds since the epoch, UTC.
    """

    def __init__(self, message: str, *, until_s: float) -> None:
        super().__init__(message)
        self.until_s = until_s


class LandingError(HaulError):
    """The destination cannot take what came."""


class DiskFull(LandingError):
    """No space, no inodes, or no quota left at the destination."""


class NotWritable(LandingError):
    """The destination refuses the write."""


class LedgerError(HaulError):
    """The ledger is locked by another process, damaged, or of another layout or version."""


class AuditError(LedgerError):
    """The audit log cannot be written, is damaged, or lacks what a ledger knows it to hold."""


class SyncRefused(HaulError):
    """A sync would remove more than it may; nothing was changed."""


class CrewError(HaulError):
    """One of the processes that haul together ended before its time."""


class IncompleteError(HaulError):
    """The run ended and something that was asked for is not there; `report` says what."""

    def __init__(self, message: str, *, report: Any) -> None:
        super().__init__(message)
        self.report = report
