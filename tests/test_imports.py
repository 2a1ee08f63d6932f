"""What loads what: importing is quick, help is quick, and the process that transfers stays small."""

import json
import pkgutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import dicomhaul
from dicomhaul import errors, events
from dicomhaul.model import Series, SeriesUID, StudyUID
from dicomhaul.origin import synthetic_catalog
from support.origin_process import origin_thread

HEAVY = frozenset(
    {
        "aiohttp",
        "anyio",
        "asyncio",
        "azure",
        "duckdb",
        "google.auth",
        "idc_index",
        "idc_index_data",
        "pandas",
        "pyarrow",
        "pydantic",
        "pydicom",
        "rich",
        "sqlite3",
        "tenacity",
        "typer",
        "xxhash",
    }
)
NEVER_WHILE_TRANSFERRING = frozenset(
    {"azure", "duckdb", "google.auth", "idc_index", "idc_index_data", "numpy", "pandas", "pyarrow", "pydicom", "rich"}
)

_REPORT = "\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))\n"


def loaded_after(script: str, *arguments: str) -> frozenset[str]:
    """Run a script in a process of its own; return the modules that it had loaded at its end."""
    done = subprocess.run(
        [sys.executable, "-c", script + _REPORT, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return frozenset(json.loads(done.stdout.splitlines()[-1]))


def loaded_by_command(*words: str) -> frozenset[str]:
    return loaded_after(
        "import sys\nfrom dicomhaul.cli.main import app\n"
        "try:\n    app(sys.argv[1:])\nexcept SystemExit as end:\n    assert not end.code, end.code",
        *words,
    )


def test_the_package_loads_nothing_heavy() -> None:
    assert loaded_after("import dicomhaul") & HEAVY == set()


def test_errors_and_events_load_nothing_heavy() -> None:
    assert loaded_after("from dicomhaul import HaulError, SeriesLanded, Failure") & HEAVY == set()


def test_help_loads_no_engine() -> None:
    heavy = {"aiohttp", "azure", "duckdb", "google.auth", "pandas", "pyarrow", "pydicom", "tenacity"}
    assert loaded_by_command("--help") & heavy == set()
    assert loaded_by_command("pull", "--help") & heavy == set()


def test_nothing_that_asks_a_server_is_loaded_before_the_planning_child_has_its_request() -> None:
    assert "aiohttp" not in loaded_after("import dicomhaul.cli.pull, dicomhaul.hauler")


def test_the_start_of_the_command_is_light() -> None:
    assert loaded_after("import dicomhaul.__main__") & HEAVY == set()


def test_a_pull_and_a_status_load_no_duckdb_pandas_pydicom_or_pyarrow(tmp_path: Path) -> None:
    row = Series(StudyUID("2.25.1"), SeriesUID("2.25.2"), modality="CT", expected=3, size_bytes=300_000)
    with origin_thread(synthetic_catalog([row])) as origin:
        pulled = loaded_after(
            "import anyio, sys\nfrom dicomhaul import Cohort, Hauler\n"
            "async def main():\n"
            "    async with Hauler(sys.argv[1]) as hauler:\n"
            "        report = await hauler.pull(Cohort.search(), sys.argv[2])\n"
            "    assert report.instances_landed == 3, report\n"
            "anyio.run(main)",
            origin.url,
            str(tmp_path),
        )
        assert pulled & NEVER_WHILE_TRANSFERRING == set()
        assert "aiohttp" in pulled  # the script did what it says
        commanded = loaded_by_command("pull", "--all", "--source", origin.url, "-o", str(tmp_path), "-q")
    assert commanded & (NEVER_WHILE_TRANSFERRING - {"rich"}) == set()
    status = loaded_by_command("status", str(tmp_path))
    assert status & {"aiohttp", "duckdb", "pandas", "pyarrow", "pydicom", "tenacity"} == set()


def test_every_public_name_resolves_and_there_are_no_others() -> None:
    names: Sequence[str] = dicomhaul.__all__
    assert list(names) == sorted(names)
    assert len(set(names)) == len(names)
    for name in names:
        assert getattr(dicomhaul, name) is not None
    assert set(dir(dicomhaul)) == set(names)
    assert set(dicomhaul._HOME_OF) | {"__version__"} == set(names)


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(dicomhaul, "Downloader")


def test_every_error_and_event_is_public() -> None:
    classes = {
        name for room in (errors, events) for name, value in vars(room).items()
        if isinstance(value, type) and value.__module__ == room.__name__
    }  # fmt: skip
    assert classes - set(dicomhaul.__all__) == set()


def test_no_public_name_is_a_module_too() -> None:
    """A module takes its name's place in the package as soon as anything imports it."""
    assert {module.name for module in pkgutil.iter_modules(dicomhaul.__path__)} & set(dicomhaul.__all__) == set()
