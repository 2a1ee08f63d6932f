"""The house has an order: a room imports from rooms above its own, and each third-party library lives in one room."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import dicomhaul

ROOT: Final = Path(dicomhaul.__file__).parent

# From what everything rests on to what rests on everything. A room may import from those before it.
ROOMS: Final = (
    "_version",
    "model",
    "errors",
    "events",
    "ports",
    "profile",
    "wire",
    "plan",
    "net",
    "config",
    "durable",
    "cohort",
    "land",
    "trail",
    "record",
    "audit",
    "source",
    "feed",
    "transfer",
    "destination",
    "report",
    "observe",
    "build",
    "crew",
    "planner",
    "doctor",
    "steps",
    "landed",
    "run",
    "sync",
    "adopting",
    "checking",
    "merging",
    "forecasting",
    "verification",
    "citation",
    "hauler",
    "page",
    "job",
    "daemon",
    "__init__",
    "origin",
    "demo",
    "cli",
    "__main__",
)

# Library -> the modules that may import it, each alone or with everything in it.
HOMES: Final = {
    "aiofiles": ("origin",),
    "aiohappyeyeballs": ("net.dial",),
    "aiohttp": ("net.connecting", "net.foreign", "net.response", "net.session", "origin", "daemon"),
    "azure": ("net.auth.azure",),
    "croniter": ("job.schedule",),
    "defusedxml": ("wire.listing",),
    "duckdb": ("cohort",),
    "google": ("net.auth.google",),
    "google_crc32c": ("land", "origin"),
    "httptools": ("net.direct",),
    "idc_index_data": ("cohort",),
    "jinja2": ("page",),
    "markupsafe": ("page",),
    "multidict": ("net.direct",),
    "pandas": ("cohort.wanted", "report"),
    "platformdirs": ("cohort",),
    "prometheus_client": ("observe.metrics",),
    "psutil": ("record.place",),
    "pyarrow": ("record.index_parquet", "report"),
    "pydantic": ("cohort.lock", "config", "daemon", "job", "page", "planner", "profile", "origin"),
    "pydantic_core": ("job",),
    "pydicom": ("origin", "audit.deep"),
    "rich": ("observe",),
    "tenacity": ("net.retry",),
    "tomlkit": ("doctor",),
    "trustme": ("origin",),
    "typer": ("cli",),
    "xxhash": ("land", "record", "audit"),
    "yarl": ("net.endpoint", "net.session"),
}

# Rooms that decide and never do, besides every module that calls itself pure.
PURE: Final = ("model", "errors", "events", "ports", "wire", "plan")
NOT_PURE: Final = frozenset(
    {
        "anyio",
        "asyncio",
        "io",
        "os",
        "pathlib",
        "random",
        "socket",
        "subprocess",
        "tempfile",
        "threading",
        "time",
    }
)
NO_WORLD: Final = frozenset({"pathlib.PurePath", "pathlib.PurePosixPath"})
CLOCK: Final = frozenset({"now", "today", "utcnow"})  # of `datetime`, whose values are pure
# The protocols describe async methods and futures without running any.
PROTOCOLS: Final = "ports"


class Import(NamedTuple):
    """One import statement: who imports what."""

    importer: str  # module below dicomhaul, dotted
    imported: str  # dotted, from its top-level package on
    eager: bool  # it runs when the importer is loaded

    @property
    def package(self) -> str:
        return self.imported.partition(".")[0]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def iter_modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(ROOT.rglob("*.py")):
        yield module_name(path), ast.parse(path.read_text(encoding="utf-8"))


def iter_imports() -> Iterator[Import]:
    for name, tree in iter_modules():
        lazy = {
            inner
            for node in ast.walk(tree)
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or _is_type_checking(node)
            for inner in ast.walk(node)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(name, alias.name, node not in lazy)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{name} has a relative import"
                assert node.module is not None
                for alias in node.names:
                    yield Import(name, f"{node.module}.{alias.name}", node not in lazy)


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def room_of(module: str) -> str:
    return module.partition(".")[0]


def imported_room(imported: str) -> str:
    """The room that `dicomhaul.x.y` lies in; a public name of the package itself lies in `__init__`."""
    room = imported.removeprefix("dicomhaul").lstrip(".").partition(".")[0]
    return room if room in ROOMS else "__init__"


def is_in(module: str, places: tuple[str, ...]) -> bool:
    return any(module == place or module.startswith(f"{place}.") for place in places)


IMPORTS: Final = tuple(iter_imports())


def test_every_room_has_its_place() -> None:
    rooms = {room_of(name) for name, _ in iter_modules()}
    assert rooms - set(ROOMS) == set()


def test_no_room_imports_from_below() -> None:
    wrong = [
        f"{each.importer} imports {each.imported}"
        for each in IMPORTS
        if each.package == "dicomhaul"
        and ROOMS.index(imported_room(each.imported)) > ROOMS.index(room_of(each.importer))
    ]
    assert wrong == []


def test_the_engine_knows_no_adapter() -> None:
    allowed = {"model", "errors", "events", "ports", "plan", "transfer"}
    rooms = {imported_room(each.imported) for each in IMPORTS if room_of(each.importer) == "transfer"
             and each.package == "dicomhaul"}  # fmt: skip
    assert rooms - allowed == set()


def test_nothing_but_the_command_line_and_the_demonstration_imports_the_origin() -> None:
    importers = {room_of(each.importer) for each in IMPORTS if imported_room(each.imported) == "origin"
                 and each.package == "dicomhaul"}  # fmt: skip
    assert importers - {"origin", "cli", "demo"} == set()


def test_each_library_has_its_home() -> None:
    wrong = []
    for each in IMPORTS:
        if each.package in sys.stdlib_module_names or each.package in {"dicomhaul", "anyio"}:
            continue
        assert each.package in HOMES, f"{each.importer} imports {each.package}, which has no home"
        if not is_in(each.importer, HOMES[each.package]):
            wrong.append(f"{each.importer} imports {each.imported}")
    assert wrong == []
    for package, homes in HOMES.items():
        for home in homes:
            used = any(each.package == package and is_in(each.importer, (home,)) for each in IMPORTS)
            assert used, f"nothing in {home} imports {package}"


def test_no_two_files_of_tests_have_one_name() -> None:
    """Pytest collects only one of them."""
    names = [path.name for path in Path(__file__).parent.rglob("test_*.py")]
    assert [name for name in names if names.count(name) > 1] == []


def test_what_is_slow_to_load_is_loaded_where_it_is_used() -> None:
    slow = {"azure", "google", "idc_index", "pandas"}
    assert [each for each in IMPORTS if each.package in slow and each.eager] == []


def is_pure(name: str, tree: ast.Module) -> bool:
    return is_in(name, PURE) or re.search(r"\bPure\b", ast.get_docstring(tree) or "") is not None


PURE_MODULES: Final = {name: tree for name, tree in iter_modules() if is_pure(name, tree)}


def test_who_decides_knows_neither_time_nor_the_world() -> None:
    wrong = [
        f"{each.importer} imports {each.imported}"
        for each in IMPORTS
        if each.importer in PURE_MODULES and each.package in NOT_PURE and each.imported not in NO_WORLD
    ]
    wrong += [
        f"{name}, line {node.lineno}: {node.attr}"
        for name, tree in PURE_MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in CLOCK
    ]
    assert wrong == []


def test_who_decides_awaits_nothing() -> None:
    wrong = [
        f"{name}, line {node.lineno}"
        for name, tree in PURE_MODULES.items()
        if name != PROTOCOLS
        for node in ast.walk(tree)
        if isinstance(node, (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await))
    ]
    assert wrong == []


def test_nothing_below_the_command_line_prints_or_reads_the_environment() -> None:
    wrong = []
    for name, tree in iter_modules():
        if is_in(name, ("cli", "demo", "__main__", "observe")):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                wrong.append(f"{name}, line {node.lineno}: print")
            if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}:
                wrong.append(f"{name}, line {node.lineno}: {node.attr}")
    # These stand for the user where no command line is: they hand the environment down, or answer by stderr.
    assert {each.partition(",")[0] for each in wrong} <= {
        "doctor.sources",
        "hauler",
        "planner.child",
        "record.index_child",
    }, wrong


def test_modules_stay_small() -> None:
    large = {name: lines for path in ROOT.rglob("*.py")
             if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 700
             for name in [module_name(path)]}  # fmt: skip
    assert large == {}
