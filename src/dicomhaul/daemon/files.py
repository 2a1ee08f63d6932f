"""The daemon's jobs: those of its job files that have a schedule. A file that is wrong stops no other one.

A file that was right when it was read last, and is wrong now, goes on as it was.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from dicomhaul.daemon.decide import TimedJob
from dicomhaul.errors import ConfigError
from dicomhaul.job.model import Job
from dicomhaul.job.reading import ENDING, examine_job


@dataclass(frozen=True, slots=True)
class Found:
    """What the job files say.

    Attributes:
        jobs: what is to be run.
        unscheduled: names of jobs that have no schedule.
        errors: by file, what is wrong with it.
    """

    jobs: tuple[TimedJob, ...]
    unscheduled: tuple[str, ...] = ()
    errors: Mapping[PurePath, tuple[str, ...]] = field(default_factory=dict)


def read_timed_jobs(places: Iterable[Path], before: Sequence[TimedJob] = ()) -> Found:
    """Read job files, and those in folders; of a file that is wrong, the job that it was `before`.

    Raises ConfigError where there is no job file at all.
    """
    files = list(dict.fromkeys(file.absolute() for place in places for file in _files(place)))
    if not files:
        raise ConfigError(f"there is no job file (*{ENDING})")
    read: list[tuple[Path, Job]] = []
    errors: dict[PurePath, tuple[str, ...]] = {}
    for file in files:
        job, wrong = examine_job(file)
        if job is None:
            errors[file] = wrong
        else:
            read.append((file, job))
    times = Counter(job.name for _, job in read)
    for file, job in read:
        if times[job.name] > 1:
            errors[file] = (f"{file}: job.name: {job.name} is the name of another file's job, too",)
    jobs = [
        TimedJob(job.name, file, job.dest, job.schedule, job.max_age_s, job.textfile, _host_of(job.source or "idc"))
        for file, job in read
        if file not in errors and job.schedule is not None
    ]
    names = {job.name for job in jobs}
    jobs += [job for job in before if job.file in errors and job.name not in names]
    unscheduled = [job.name for file, job in read if file not in errors and job.schedule is None]
    return Found(tuple(sorted(jobs, key=lambda job: job.name)), tuple(sorted(unscheduled)), errors)


def _host_of(source: str) -> str:
    """Return the host of a URL; a name or a profile stands for its own."""
    return source.partition("://")[2].partition("/")[0] or source


def _files(place: Path) -> list[Path]:
    return sorted(place.glob(f"*{ENDING}")) if place.is_dir() else [place]
