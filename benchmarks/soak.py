"""A long run against an origin of which one answer in twenty is wrong: nothing may be lost, and nothing may grow.

    python benchmarks/soak.py [--minutes 60] [--rate 250] [--series 8000] [--json soak.json] [--folder /dev/shm]

Three processes: this one, which judges; the origin (`--serve`); and one that hauls (`--haul`), with a single `Hauler`
that pulls the same cohort again and again, each time to a fresh destination, and reads every file that landed. Every
few seconds it notes its memory, descriptors, threads, tasks and connections. It is well if

* every round is complete, and each file is what the origin serves: nothing lost, nothing wrong;
* the median memory of the last quarter is at most 5 % above that of the first;
* at the end there are no more descriptors, connections, threads and tasks than after the first round;
* four fifths of the requests a second that were asked for were sent, start and end of the rounds included.

Exit 1 if not. With `--minutes 0 --series 500` it is a test of some seconds, which judges neither memory nor speed.
"""

import argparse
import asyncio
import gc
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final

INSTANCE_BYTES: Final = 8_000
SAMPLE_S: Final = 5.0
WARM_UP_S: Final = 30.0
GROWTH: Final = 1.05
RATE_REACHED: Final = 0.8  # planning, the index and reading the files are part of the time
_ROUNDS: Final = 2  # at least: what is there after the first one is what the last is held against
_POOL: Final = 4  # asyncio's and anyio's threads for files come as they are needed, up to a fixed number
PROFILE: Final = """
name = "soak"
extends = "generic"
url = "{url}"
[limits]
concurrency_start = 12
concurrency_max = 12
stall_timeout_s = 2.0
attempts = 8
"""


def _script() -> Any:
    """Return faults that strike one request in twenty, most kinds that a line and a busy server have."""
    # Each process loads only what it needs: the one that hauls is measured.
    from dicomhaul.origin import Cut, Multipart, Part, Rule, Script, Stall, Status, Truncate  # noqa: PLC0415
    from dicomhaul.origin.faults.script import Action  # noqa: PLC0415

    half = INSTANCE_BYTES // 2
    shares: list[tuple[float, Action]] = [
        (0.006, Cut(reset=True)),
        (0.006, Cut(after_bytes=half, reset=True)),
        (0.006, Cut(after_bytes=half, outer="length")),
        (0.005, Cut(after_bytes=half, outer="close")),
        (0.005, Cut(after_bytes=half, outer="chunked", torn_chunk=True)),
        (0.006, Truncate()),
        (0.006, Status(status=500)),
        (0.002, Status(status=502)),
        (0.002, Status(status=504)),
        # Each halves the pace for half a minute: more of them, and the run would only be slow.
        (0.00001, Status(status=429, retry_after_s=1)),
        (0.00001, Status(status=503, retry_after_s=1)),
        (0.001, Stall(after_bytes=half)),
        (0.0025, Part(wrong="omit")),
        (0.001, Part(wrong="cut")),
        (0.001, Part(wrong="duplicate")),
        (0.0005, Multipart(wrong="boundary_wrong")),
    ]
    # Chances are drawn one after the other, of what the rules before have left.
    rules, left = [], 1.0
    for share, action in shares:
        rules.append(Rule(level="series", chance=share / left, action=action))
        left -= share
    return Script(rules, seed=11)


def _serve(series: int, told: Path) -> None:
    """Serve until standard input ends; say where, and what is right, in `told`; count faults in standard output."""
    from dicomhaul.model import SeriesUID, StudyUID  # noqa: PLC0415
    from dicomhaul.origin import Series, in_thread, serve, synthetic_catalog  # noqa: PLC0415

    rows = [
        Series(
            study=StudyUID(f"1.2.826.0.1.{number // 8}"),
            series=SeriesUID(f"1.2.826.0.1.{number // 8}.{number}"),
            modality="CT",
            expected=1 + number % 2,
            size_bytes=(1 + number % 2) * INSTANCE_BYTES,
        )
        for number in range(series)
    ]
    catalog = synthetic_catalog(rows)

    async def digests() -> dict[str, str]:
        right = {}
        for each in catalog.series():
            for instance in each:
                content = b"".join([chunk async for chunk in instance.chunks()])
                right[instance.sop] = hashlib.blake2b(content, digest_size=16).hexdigest()
        return right

    right = asyncio.run(digests())
    manifest = ["StudyInstanceUID,SeriesInstanceUID,instanceCount"]
    manifest += [f"{row.study},{row.series},{row.expected}" for row in rows]
    faults: Counter[str] = Counter()
    with in_thread(serve(catalog, faults=_script())) as origin:
        facts = {"url": origin.url, "right": right, "manifest": "\n".join([*manifest, ""])}
        written = told.with_suffix(".part")
        written.write_text(json.dumps(facts))
        written.rename(told)
        ended = threading.Thread(target=sys.stdin.read, daemon=True)
        ended.start()
        while ended.is_alive():
            ended.join(timeout=2.0)
            entries = origin.requests[:-100]  # the journal of an hour would fill the memory
            del origin.requests[: len(entries)]
            faults.update(entry.fault or "none" for entry in entries)
        faults.update(entry.fault or "none" for entry in origin.requests)
    print(json.dumps(faults))


def _look(began: float) -> dict[str, float]:
    """What this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    names = []
    for each in Path("/proc/self/fd").iterdir():
        try:
            names.append(str(each.readlink()))
        except FileNotFoundError:  # the one that lists
            continue
    return {
        "at_s": time.monotonic() - began,
        "rss_mb": pages * os.sysconf("SC_PAGE_SIZE") / 1e6,
        "descriptors": len(names),
        "connections": sum(name.startswith("socket:") for name in names),
        "threads": threading.active_count(),
        "tasks": len(asyncio.all_tasks()),
    }


async def _haul(told: Path, root: Path, minutes: float, rate: float) -> dict[str, Any]:
    """Pull in rounds until the time is over; return samples and rounds."""
    from dicomhaul import Cohort, Hauler  # noqa: PLC0415

    facts = json.loads(told.read_text())  # noqa: ASYNC240 - nothing else runs yet
    right: dict[str, str] = facts.pop("right")
    manifest = root / "cohort.csv"
    manifest.write_text(facts["manifest"])
    profile = root / "soak.toml"
    profile.write_text(PROFILE.format(url=facts["url"]))
    del facts
    began = time.monotonic()
    samples: list[dict[str, float]] = []
    rounds: list[dict[str, float]] = []

    async def sample() -> None:
        while True:
            samples.append(_look(began))
            await asyncio.sleep(SAMPLE_S if minutes > 2 else 0.5)

    def check(dest: Path) -> int:
        """Count the instances that are not there, or not what they should be; anything else counts, too."""
        wrong, seen = 0, set()
        for path in dest.rglob("*.dcm"):
            seen.add(path.stem)
            with path.open("rb") as file:
                wrong += hashlib.blake2b(file.read(), digest_size=16).hexdigest() != right.get(path.stem)
        shutil.rmtree(dest)
        return wrong + len(right.keys() - seen)

    before: dict[str, float] = {}
    async with Hauler(str(profile), requests_per_s=rate) as hauler:
        sampler = asyncio.create_task(sample())
        while time.monotonic() - began < minutes * 60 or len(rounds) < _ROUNDS:
            dest = root / f"round-{len(rounds)}"
            report = await hauler.pull(Cohort.manifest(manifest), dest, check=False)
            wrong = await asyncio.to_thread(check, dest)
            rounds.append(
                {
                    "state": str(report.state) == "complete",
                    "wrong": wrong,
                    "requests": report.requests,
                    "retries": report.retries,
                    "throttled": report.throttled,
                    "elapsed_s": report.elapsed_s,
                }
            )
            before = before or _look(began)  # the first round starts threads that stay
        sampler.cancel()
        await asyncio.gather(sampler, return_exceptions=True)
    gc.collect()
    return {"before": before, "after": _look(began), "samples": samples, "rounds": rounds}


def _judge(told: dict[str, Any], *, rate: float, minutes: float) -> list[str]:
    """Say what is not as it should be."""
    problems = []
    rounds, samples, before, after = told["rounds"], told["samples"], told["before"], told["after"]
    if not all(each["state"] for each in rounds):
        problems.append("a round was not complete")
    if lost := sum(each["wrong"] for each in rounds):
        problems.append(f"{lost} instances lost or wrong")
    warm = [each["rss_mb"] for each in samples if each["at_s"] > (WARM_UP_S if minutes > 2 else 0.0)]
    quarter = max(1, len(warm) // 4)
    first, last = statistics.median(warm[:quarter]), statistics.median(warm[-quarter:])
    told["rss_mb"] = {"first_quarter": first, "last_quarter": last, "peak": max(warm)}
    if minutes > 2 and last > first * GROWTH:
        problems.append(f"memory grew from {first:.1f} to {last:.1f} MB")
    for what in ("descriptors", "threads", "tasks", "connections"):
        spare = _POOL if what == "threads" else 0
        if after[what] > before[what] + spare:
            problems.append(f"{what}: {before[what]:.0f} after the first round, {after[what]:.0f} at the end")
    reached = sum(each["requests"] for each in rounds) / sum(each["elapsed_s"] for each in rounds)
    told["requests_per_s"] = reached
    if minutes > 2 and reached < rate * RATE_REACHED:
        problems.append(f"only {reached:.0f} requests a second")
    return problems


def main() -> None:
    """Print a summary; exit 1 if something is not well."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--minutes", type=float, default=60.0)
    arguments.add_argument("--rate", type=float, default=250.0, help="requests a second")
    arguments.add_argument("--series", type=int, default=8_000)
    arguments.add_argument("--folder", type=Path, default=Path("/dev/shm"))
    arguments.add_argument("--json", type=Path)
    arguments.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    arguments.add_argument("--haul", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.serve:
        _serve(options.series, options.serve)
        return
    if options.haul:
        print(json.dumps(asyncio.run(_haul(options.haul[0], options.haul[1], options.minutes, options.rate))))
        return
    root = Path(tempfile.mkdtemp(dir=options.folder))
    try:
        told = root / "told.json"
        words = [sys.executable, __file__, "--minutes", str(options.minutes), "--rate", str(options.rate)]
        origin = subprocess.Popen(
            [*words, "--series", str(options.series), "--serve", str(told)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        try:
            while not told.exists():
                if origin.poll() is not None:
                    sys.exit("the origin did not start")
                time.sleep(0.1)
            # As the command sets it for itself.
            environ = os.environ | {"MALLOC_ARENA_MAX": "1"}
            haul = [*words, "--haul", str(told), str(root)]
            done = subprocess.run(haul, stdout=subprocess.PIPE, check=True, env=environ)
        finally:
            faults = json.loads(origin.communicate()[0] or b"{}")
    finally:
        shutil.rmtree(root, ignore_errors=True)
    result = json.loads(done.stdout)
    problems = _judge(result, rate=options.rate, minutes=options.minutes)
    asked = sum(faults.values())
    result["faults"] = faults
    print(f"rounds            {len(result['rounds'])}, of {options.series:,} series each")
    print(f"requests          {asked:,}, {result['requests_per_s']:.0f} a second while pulling")
    print(f"of which faulty   {1 - faults.get('none', 0) / max(1, asked):.1%}")
    memory = result["rss_mb"]
    print(f"memory            {memory['first_quarter']:.1f} MB at first, {memory['last_quarter']:.1f} MB at last")
    for what in ("descriptors", "connections", "threads", "tasks"):
        print(f"{what:17} {result['before'][what]:.0f} after the first round, {result['after'][what]:.0f} at the end")
    print(f"lost or wrong     {sum(each['wrong'] for each in result['rounds'])}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    if problems:
        sys.exit("not well: " + "; ".join(problems))


if __name__ == "__main__":
    main()
