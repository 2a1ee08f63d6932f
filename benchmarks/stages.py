"""Puts a workload on: its data, its server, what lies between; has each contender run once, and judges what came."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks import machine, peers
from benchmarks.data import Data, Shape, build, clear
from benchmarks.measure import Measured, measure
from benchmarks.origin_nginx import Limit, Served, nginx
from benchmarks.origin_orthanc import orthanc
from benchmarks.peers import Command, Scene
from benchmarks.relay import relay
from benchmarks.workloads import DICOMHAUL_BUCKET, DICOMHAUL_MD5, DICOMWEB_CLIENT, IDC_INDEX, S5CMD, Workload

_FROM_BUCKETS: Final = frozenset({S5CMD, IDC_INDEX, DICOMHAUL_BUCKET, DICOMHAUL_MD5})
_OURS: Final = (".dicomhaul", "index.parquet")


@dataclass(frozen=True)
class Run:
    """One run of one contender.

    Attributes:
        problem: what is wrong with what it left; '': nothing.
        more: further figures, by name.
    """

    measured: Measured
    problem: str = ""
    more: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """A workload that can be run.

    Attributes:
        size_bytes, instances: what each contender has to bring; 0 where that is not what is measured.
        contenders: what runs each of them once.
    """

    title: str
    size_bytes: int
    instances: int
    contenders: Mapping[str, Callable[[], Run]]


def needed_bytes(workload: Workload, shapes: tuple[Shape, ...]) -> int:
    """Return the room that a workload takes: as bodies, as objects, once more as what came, and in its contenders."""
    kinds = 1 + _has_bodies(workload) + _has_objects(workload)
    held = 0
    if DICOMWEB_CLIENT in workload.contenders:
        largest = max(each.instance_bytes for each in shapes)
        held = peers.threads_of_dicomweb_client(workload.at_once, largest) * peers.HELD_TIMES * largest
    return kinds * sum(each.instances * each.instance_bytes for each in shapes) + held


def _has_bodies(workload: Workload) -> bool:
    return workload.server == "orthanc" or not _FROM_BUCKETS.issuperset(workload.contenders)


def _has_objects(workload: Workload) -> bool:
    return not _FROM_BUCKETS.isdisjoint(workload.contenders)


@contextmanager
def transfer(
    workload: Workload,
    root: Path,
    *,
    quick: bool,
    options: tuple[str, ...] = (),
    contenders: tuple[str, ...] | None = None,
) -> Iterator[Stage]:
    """Put `workload` on below `root`. `options` are more words for dicomhaul; `contenders`: only these."""
    shapes = workload.quick if quick else workload.shapes
    names = tuple(each for each in workload.contenders if contenders is None or each in contenders)
    with served_scene(workload, shapes, root, options=options) as (scene, served):
        running = {name: _runner(name, scene, workload, served) for name in names}
        yield Stage(workload.title, scene.data.size_bytes, scene.data.instances, running)


@contextmanager
def served_scene(
    workload: Workload, shapes: tuple[Shape, ...], root: Path, *, options: tuple[str, ...] = ()
) -> Iterator[tuple[Scene, Served | None]]:
    """Build the data below `root` and serve it as `workload` says; the server is None where it is not nginx."""
    with ExitStack() as stack:
        if workload.server == "orthanc":
            data = build(root, shapes, bodies=False, objects=False)
            url = stack.enter_context(orthanc(root, shapes))
            served = None
        else:
            data = build(root, shapes, bodies=_has_bodies(workload), objects=_has_objects(workload))
            served = stack.enter_context(nginx(root, limit=workload.limit, logs=workload.limit is not None))
            url = served.url
            if workload.line is not None:
                url = f"https://127.0.0.1:{stack.enter_context(relay(served.port, workload.line))}"
        scene = Scene(
            data=data,
            url=url,
            dicomweb=url if served is not None else f"{url}/dicom-web",
            ca=None if served is None else served.ca,
            out=root / "out",
            at_once=workload.at_once,
            throttled=workload.limit is not None,
            options=options,
        )
        yield scene, served


@contextmanager
def room(scene: Scene) -> Iterator[None]:
    """Empty the folder to which everything goes, and have memory at hand for it; empty it again in the end."""
    clear(scene.out)
    scene.out.mkdir()
    with machine.memory_at_hand(scene.data.root, scene.data.size_bytes):
        yield
    clear(scene.out)


def _runner(name: str, scene: Scene, workload: Workload, served: Served | None) -> Callable[[], Run]:
    def run() -> Run:
        with room(scene):
            command = peers.COMMANDS[name](scene)
            if served is not None:
                served.take_log()
            measured = run_command(command)
            problem = problem_of(measured) or _lacking(command, scene.data, scene.out)
        more: dict[str, float] = {}
        if workload.line is not None:
            more["line_share"] = scene.data.size_bytes / workload.line.bytes_per_s / measured.wall_s
        if workload.limit is not None and served is not None:
            more |= _manners(served, workload.limit)
        return Run(measured, problem, more)

    return run


def run_command(command: Command) -> Measured:
    """Run a command and measure it."""
    return measure(command.words, environ=command.environ, aside=command.aside)


def problem_of(measured: Measured) -> str:
    """Return what a run says itself to be wrong with it."""
    if measured.code is None:
        return f"not done after {measured.wall_s:.0f} s"
    if measured.code != 0:
        lines = measured.said.strip().splitlines()
        return f"exit {measured.code}: {lines[-1][:120] if lines else 'it said nothing'}"
    return ""


def _lacking(command: Command, data: Data, out: Path) -> str:
    """Return what is not there: each instance has to have its size, unless it was written anew."""
    paths = [path for path in out.rglob("*") if path.is_file() and path.relative_to(out).parts[0] not in _OURS]
    sizes = sorted(path.stat().st_size for path in paths)
    expected = len(data.series) if command.saves == "bodies" else data.instances
    if len(sizes) != expected:
        return f"{len(sizes):,} of {expected:,} are there"
    if command.saves == "instances" and sizes != sorted(size for each in data.series for size in each.sizes):
        return "instances are there that have another size"
    if sum(sizes) < data.size_bytes * 0.99:  # what is written anew has another length
        return f"{sum(sizes):,} of {data.size_bytes:,} bytes are there"
    return ""


def _manners(served: Served, limit: Limit) -> dict[str, float]:
    """How much of what the server allowed was used, from the first request to the last, and how much was refused."""
    asked = served.take_log()
    if len(asked) < 2:
        return {}
    given = sum(each.status in {200, 206} for each in asked)
    refused = sum(each.status == 429 for each in asked)
    span_s = asked[-1].at_s - asked[0].at_s
    return {
        "allowed_share": given / (limit.burst + limit.requests_per_s * span_s),
        "wasted_share": refused / len(asked),
        "requests": float(len(asked)),
    }
