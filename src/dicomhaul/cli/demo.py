"""`dicomhaul demo`: the main job, killed half-way and resumed, on this machine alone."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

from dicomhaul.cli.output import human_bytes
from dicomhaul.errors import HaulError

if TYPE_CHECKING:
    from dicomhaul.demo import Account, Snapshot

_DEST: Final = "data"
_PROFILE: Final = "demo.toml"
_FAULTS: Final = "faults.toml"
_LOOK_S: Final = 0.05
_HALF_WAY_TIMEOUT_S: Final = 120.0
_FETCH_TIMEOUT_S: Final = 30.0
_PAUSED: Final = 4  # the exit code of `status` where work is left
_SHOW_CURSOR: Final = "\x1b[?25h"

# `python -m` puts the working folder first on the path of modules; that folder holds data only.
_PROGRAM: Final = (sys.executable, "-P", "-m", "dicomhaul")


class _Failed(Exception):
    """The demo cannot go on; says why."""


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Keep the folder, to look around in it.")] = False,
) -> None:
    """See it at work in half a minute, without the internet: pull, kill, resume, verify. Exit 0 if all of it held."""
    signal.signal(signal.SIGTERM, _end)
    began_s = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="dicomhaul-demo-"))
    try:
        account = _play(folder)
    except (_Failed, HaulError) as error:
        _line(f"The demo failed: {error}", fg=typer.colors.RED)
        raise typer.Exit(1) from None
    finally:
        if keep:
            _line(f"\nEverything is kept in {folder} (its server has stopped).")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    _print_account(account, time.monotonic() - began_s)
    raise typer.Exit(1 if account.broken else 0)


def _play(folder: Path) -> "Account":
    from dicomhaul import demo as room  # noqa: PLC0415 - with the ledger, not for --help

    (folder / _FAULTS).write_text(room.FAULTS, encoding="utf-8")
    cohort = (room.COLLECTION, "--where", room.CONDITION)
    origin = (room.COLLECTION, "--faults", _FAULTS)
    _step(
        "A DICOMweb server of our own",
        "It serves made-up instances under the real UIDs of an IDC collection, and misbehaves: it answers 503, asks "
        "for patience (429, Retry-After: 1) and cuts connections.",
    )
    with _origin(folder, *origin) as url:
        _line(f"It listens on {url}; {_PROFILE} describes it.")
        (folder / _PROFILE).write_text(room.profile_toml(url), encoding="utf-8")

        _step("Plan: what would come?", "The cohort is looked up in IDC's index, which is installed with dicomhaul.")
        _run(folder, "plan", *cohort, "--source", _PROFILE, wanted=0)

        _step("Pull, and be killed", "When half of the instances have landed, the process gets SIGKILL.")
        _pull_until_half_way(folder, "pull", *cohort, "--source", _PROFILE, "-o", _DEST)
        at_kill = _look(folder)
        until_kill = len(_fetch_journal(url))
        _line(f"\nKilled: {len(at_kill.landed)} of {at_kill.expected} instances had landed.", fg=typer.colors.YELLOW)

        _step("Status: where does it stand?", "The ledger knows; no server is asked.")
        _run(folder, "status", _DEST, wanted=_PAUSED)

        _step("Resume", "The same `pull` once more would do the same: only what is missing is asked for.")
        _run(folder, "resume", _DEST, wanted=0)

        _step("Verify", "Every instance is read again, held against the ledger, and parsed with pydicom.")
        _run(folder, "verify", _DEST, "--deep", wanted=0)
        return room.account_of(at_kill, _look(folder), _fetch_journal(url), until_kill=until_kill)


@contextmanager
def _origin(folder: Path, *words: str) -> Iterator[str]:
    _show("origin", *words)
    with _running(folder, "origin", *words, stdout=subprocess.PIPE) as process:
        url = process.stdout.readline().strip() if process.stdout is not None else ""
        if not url:
            raise _Failed("the origin does not start")
        yield url


def _pull_until_half_way(folder: Path, *words: str) -> None:
    _show(*words)
    end_s = time.monotonic() + _HALF_WAY_TIMEOUT_S
    with _running(folder, *words) as process:
        while not _is_half_way(folder):
            if process.poll() is not None:
                raise _Failed(f"the pull ended before it could be killed, with exit code {process.returncode}")
            if time.monotonic() > end_s:
                raise _Failed("the pull does not get half-way")
            time.sleep(_LOOK_S)
        process.kill()
    if sys.stderr.isatty():  # a progress bar that is killed cannot give the cursor back
        sys.stderr.write(_SHOW_CURSOR)


def _is_half_way(folder: Path) -> bool:
    from dicomhaul.record.ledger import Ledger  # noqa: PLC0415 - as in _play
    from dicomhaul.record.place import place_of  # noqa: PLC0415

    try:
        with closing(Ledger.open(place_of(folder / _DEST).ledger, read_only=True)) as ledger:
            standing = ledger.standing()
    except HaulError:  # not there yet, or just being made
        return False
    return bool(standing.instances_expected) and 2 * standing.instances_present >= (standing.instances_expected or 0)


def _look(folder: Path) -> "Snapshot":
    from dicomhaul.demo import Snapshot  # noqa: PLC0415 - as in _play
    from dicomhaul.record.ledger import Ledger  # noqa: PLC0415
    from dicomhaul.record.place import place_of  # noqa: PLC0415

    with closing(Ledger.open(place_of(folder / _DEST).ledger, read_only=True)) as ledger:
        return Snapshot(
            landed={(row.series, row.sop): (row.size_bytes, row.xxh3) for row in ledger.iter_files()},
            complete=frozenset(row.series for row in ledger.iter_landed()),
            expected=ledger.standing().instances_expected,
        )


def _fetch_journal(url: str) -> list[dict[str, Any]]:
    place = url.removesuffix("/dicom-web") + "/_origin/journal"
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(place, timeout=_FETCH_TIMEOUT_S) as response:
        entries: list[dict[str, Any]] = json.load(response)
    return entries


def _run(folder: Path, *words: str, wanted: int) -> None:
    _show(*words)
    with _running(folder, *words) as process:
        code = process.wait()
    if code != wanted:
        raise _Failed(f"`dicomhaul {words[0]}` ended with exit code {code}; {wanted} was to be")


@contextmanager
def _running(folder: Path, *words: str, stdout: int | None = None) -> Iterator["subprocess.Popen[str]"]:
    """Run a command; whatever ends the block ends the command."""
    # The origin is on this machine: whatever proxy leads to the internet does not lead there.
    environment = {**os.environ, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    command = [*_PROGRAM, *words]
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=stdout, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def _end(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def _step(title: str, what: str) -> None:
    _line(f"\n{title}", fg=typer.colors.CYAN, bold=True)
    _line(textwrap.fill(what, shutil.get_terminal_size().columns))


def _show(*words: str) -> None:
    _line(f"  $ dicomhaul {shlex.join(words)}", bold=True)


def _line(text: str, **style: Any) -> None:
    """Print a line at once: other processes print between ours."""
    typer.secho(text, **style)
    sys.stdout.flush()


def _print_account(account: "Account", elapsed_s: float) -> None:
    faults = account.faults
    again = "no instance that was there"
    if account.again:
        again = f"{account.again} instances that were there: their series had come in part"
    table = {
        "landed before the kill": f"{account.before} of {account.expected} instances",
        "landed after it": f"{account.after} instances",
        "asked for again after it": again,
        "requests": f"{account.requests_before} before the kill, {account.requests_after} after it",
        "retries": f"{faults['503']} after a 503, {faults['cut']} after a cut connection",
        "throttles": f"{faults['429']}: 429, Retry-After: 1",
        "bytes": f"{human_bytes(account.size_bytes)} are there, the origin sent {human_bytes(account.sent_bytes)}",
        "verified": f"{account.before + account.after} of {account.expected} instances",
    }
    _line("\nWhat happened", fg=typer.colors.CYAN, bold=True)
    for name, value in table.items():
        _line(f"  {name:<26}{value}")
    _line("")
    for sentence in account.broken:
        _line(f"DID NOT HOLD: {sentence}", fg=typer.colors.RED, bold=True)
    if not account.broken:
        held = f"All of it held, in {elapsed_s:.0f} s. Now with real data: dicomhaul plan qin_pet_phantom"
        _line(held, fg=typer.colors.GREEN, bold=True)
