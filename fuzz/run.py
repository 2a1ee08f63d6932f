"""Run targets: `python -m fuzz.run [--target NAME]... [--executions N] [--seed N] [--engine atheris|mutations]`.

Each target runs in a process of its own, since atheris ends the process that it ran in. What broke a promise is left
in the folder that `--findings` names, with the traceback on stderr, and the exit code is 1.
"""

import argparse
import importlib.util
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fuzz.mutate import iter_mutations
from fuzz.target import CORPUS, NAMES, load, seeds

_INPUT_TIMEOUT_S = 600


def main() -> int:
    """Read the command line, run, and return the exit code."""
    guided = importlib.util.find_spec("atheris") is not None
    parser = argparse.ArgumentParser(prog="python -m fuzz.run", description="Attack what reads foreign bytes.")
    parser.add_argument("--target", action="append", choices=NAMES, help="may be repeated; without it: all of them")
    parser.add_argument("--executions", type=int, default=100_000, help="for each target (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="another one tries other inputs (default: %(default)s)")
    parser.add_argument(
        "--engine", choices=("atheris", "mutations"), default="atheris" if guided else "mutations",
        help="atheris where it is installed",
    )  # fmt: skip
    found = Path(tempfile.gettempdir(), "dicomhaul-fuzz")
    parser.add_argument("--findings", type=Path, default=found, help="folder for what broke a promise (%(default)s)")
    parser.add_argument("--keep", type=Path, help="folder for the inputs that atheris found worth keeping")
    options = parser.parse_args()
    targets = options.target or list(NAMES)
    if len(targets) > 1:
        codes = [subprocess.run(_command(options, name), check=False).returncode for name in targets]
        return int(any(codes))
    (name,) = targets
    print(f"== {name}: {options.executions} executions, {options.engine}, seed {options.seed}", flush=True)
    if options.engine == "atheris":
        return _run_guided(name, options.executions, options.seed, options.findings, options.keep)
    return _run_mutations(name, options.executions, options.seed, options.findings)


def _command(options: argparse.Namespace, name: str) -> list[str]:
    given = {"executions": options.executions, "seed": options.seed, "engine": options.engine,
             "findings": options.findings}  # fmt: skip
    if options.keep is not None:
        given["keep"] = options.keep / name
    words = [f"--{key}={value}" for key, value in given.items()]
    return [sys.executable, "-m", "fuzz.run", f"--target={name}", *words]


def _run_guided(name: str, executions: int, seed: int, findings: Path, keep: Path | None) -> int:
    import atheris  # noqa: PLC0415 - only who asks for it needs it

    with atheris.instrument_imports(include=["dicomhaul"]):
        target = load(name)
    findings.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        kept = Path(scratch, "kept") if keep is None else keep
        kept.mkdir(parents=True, exist_ok=True)
        words = Path(scratch, "words")
        words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words), encoding="ascii")
        arguments = [f"-runs={executions}", f"-seed={seed}", f"-max_len={target.max_bytes}", f"-dict={words}",
                     f"-timeout={_INPUT_TIMEOUT_S}", f"-artifact_prefix={findings}/{name}-", "-print_final_stats=1",
                     "-verbosity=1", str(kept), str(CORPUS / name)]  # fmt: skip
        atheris.Setup([f"fuzz.{name}", *arguments], target.check)
        atheris.Fuzz()
    return 0


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def _run_mutations(name: str, executions: int, seed: int, findings: Path) -> int:
    target = load(name)
    corpus = seeds(name)
    changed = iter_mutations(corpus, target.words, target.max_bytes, seed)
    began = time.monotonic()
    for number in range(executions):
        data = corpus[number] if number < len(corpus) else next(changed)
        try:
            target.check(data)
        except BaseException:
            findings.mkdir(parents=True, exist_ok=True)
            place = findings / f"{name}-{seed}-{number}"
            place.write_bytes(data)
            print(f"{name}: execution {number} broke a promise; its input is {place}", file=sys.stderr)
            raise
    elapsed = time.monotonic() - began
    print(f"{name}: {executions} executions, {elapsed:.1f} s, {executions / elapsed:.0f} a second, no finding")
    return 0


if __name__ == "__main__":
    sys.exit(main())
