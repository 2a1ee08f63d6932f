"""What became of a run, as one frozen value."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from dicomhaul.errors import LedgerError
from dicomhaul.model import Failure
from dicomhaul.plan.estimate import Amount

if TYPE_CHECKING:
    import pandas as pd

    from dicomhaul.record.reader import Standing

INDEX_NAME: Final = "index.parquet"

RunState = Literal["complete", "partial", "paused", "interrupted", "failed"]


@dataclass(frozen=True, slots=True)
class LandedSeries:
    """A series that is complete at a destination.

    Attributes:
        study_instance_uid, series_instance_uid: what it is.
        path: its folder.
        files: its instances, sorted by SOP Instance UID.
        proof: what says that it is complete: `inventory`, `count` or `framing`.
    """

    study_instance_uid: str
    series_instance_uid: str
    path: Path
    files: tuple[Path, ...]
    proof: str


@dataclass(frozen=True, slots=True)
class Report:
    """Where a cohort stands at a destination after a run.

    Attributes:
        dest: the destination.
        state: `complete`: everything asked for is there. `partial`: some of it could not be had. `paused`: the source
            stopped the run; run again. `interrupted`: the user did. `failed`: it cannot go on as things are.
        reason: why it is not complete, in a sentence; '' if it is.
        series_planned: series that the cohort wants.
        series_complete: of these, how many are proven complete.
        series_failed: of these, how many lack something that could not be had.
        instances_expected: instances that the cohort wants; None where nobody states it for every series.
        instances_landed: instances that this run brought.
        instances_present: instances of the cohort that are there.
        instances_failed: instances known by name that could not be had.
        bytes_landed: bytes of `instances_landed`.
        bytes_discarded: bytes that came a second time, or were damaged, and were not kept.
        requests: requests sent, searches included.
        retries: exchanges that were tried again.
        throttled: times that the server asked for a slower pace.
        elapsed_s: seconds from start to end.
        series_moved: times that a series went on by its next route in this run.
        routes: what each route has brought of the cohort, in this run and before: complete series, their instances
            and bytes.
        series_added: series that a sync found new.
        series_revised: series of which a sync found another revision.
        series_withdrawn: series that a sync found wanted no more.
        instances_removed: instances that left for the trash, those of replaced revisions included.
        bytes_removed: their bytes.
        failures: what is missing, by name.
        failures_accepted: failures besides, that the user has said are known.
    """

    dest: Path
    state: RunState
    reason: str = ""
    series_planned: int = 0
    series_complete: int = 0
    series_failed: int = 0
    instances_expected: int | None = 0
    instances_landed: int = 0
    instances_present: int = 0
    instances_failed: int = 0
    bytes_landed: int = 0
    bytes_discarded: int = 0
    requests: int = 0
    retries: int = 0
    throttled: int = 0
    elapsed_s: float = 0.0
    series_moved: int = 0
    routes: dict[str, Amount] = field(default_factory=dict)
    series_added: int = 0
    series_revised: int = 0
    series_withdrawn: int = 0
    instances_removed: int = 0
    bytes_removed: int = 0
    failures: tuple[Failure, ...] = ()
    failures_accepted: int = 0

    @classmethod
    def at_rest(
        cls, dest: Path, state: RunState, reason: str, standing: "Standing", failures: Sequence[Failure]
    ) -> Self:
        """Say where a destination stands while nothing runs: nothing was asked for, and nothing landed."""
        return cls(
            dest=dest,
            state=state,
            reason=reason,
            series_planned=standing.series_planned,
            series_complete=standing.series_complete,
            series_failed=standing.series_failed,
            instances_expected=standing.instances_expected,
            instances_present=standing.instances_present,
            instances_failed=standing.instances_failed,
            failures=tuple(failures),
        )

    def as_json(self) -> dict[str, Any]:
        """The object that `--json` prints; only types that JSON has."""
        table = asdict(self)
        table["dest"] = str(self.dest)
        table["elapsed_s"] = round(self.elapsed_s, 3)
        table["routes"] = {name: amount.as_json() for name, amount in self.routes.items()}
        table["failures"] = [each.as_json() for each in self.failures]
        return table

    @property
    def paths(self) -> Iterator[Path]:
        """Yield the absolute path of every instance at the destination, by series.

        Raises LedgerError without an index.
        """
        self._require_index()
        import pyarrow.parquet as pq  # noqa: PLC0415 - heavy, and not every caller asks

        with pq.ParquetFile(self.dest / INDEX_NAME) as index:
            for batch in index.iter_batches(columns=["path"]):
                for path in batch.column(0).to_pylist():
                    yield self.dest / path

    def to_dataframe(self) -> "pd.DataFrame":
        """Return `DEST/index.parquet` as a pandas DataFrame: a row for each instance at the destination.

        Raises LedgerError without an index.
        """
        self._require_index()
        import pandas as pd  # noqa: PLC0415 - heavy, and not every caller asks

        return pd.read_parquet(self.dest / INDEX_NAME)

    def _require_index(self) -> None:
        if not (self.dest / INDEX_NAME).is_file():
            raise LedgerError(f"{self.dest} has no {INDEX_NAME}: nothing landed, or the run was stopped; run it again")
