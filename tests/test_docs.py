"""What the documentation says is tried: Python is run, command lines are parsed, profiles and links are read."""

import ast
import asyncio
import re
import shlex
from collections.abc import Iterator
from itertools import dropwhile, groupby
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
import typer
from pydantic import BaseModel
from typer.testing import CliRunner

from dicomhaul import read_profile
from dicomhaul.cli.main import app
from dicomhaul.origin import synthetic_catalog
from dicomhaul.profile import MULTIPART_STORED, Profile
from support.made_up import made_up_rows
from support.origin_process import origin_thread

ROOT: Final = Path(__file__).resolve().parents[1]
PAGES: Final = tuple(path for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))))

_SERVER = re.compile(r"https?://(?:pacs\.example|localhost:8042)/dicom-web")  # whom examples ask

FAULTS: Final = 56  # in the table of docs/chaos.md

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?://|mailto:)([^)#\s]*)(?:#([^)\s]*))?\)")


class Block(NamedTuple):
    """A fenced block, and the line in its page where it begins."""

    language: str
    text: str
    line: int


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        yield Block(found[1], found[2], text.count("\n", 0, found.start(2)))


def command_lines(text: str) -> Iterator[list[str]]:
    """The `dicomhaul` command lines of a shell block, or of a help text."""
    for line in text.replace("\\\n", " ").splitlines():
        if not re.match(r"\s*(?:\$ )?(?:[A-Z_]+=\S+ )*[a-z]+ ", line):
            continue
        lexer = shlex.shlex(line.strip().removeprefix("$ "), posix=True, punctuation_chars="|;&>")
        lexer.whitespace_split = True
        for is_break, words in groupby(lexer, lambda word: set(word) <= set("|;&>")):
            if not is_break:
                command = list(dropwhile(lambda word: "=" in word, words))
                if command[:1] == ["dicomhaul"] and command[1:] not in (["--help"], ["--version"]):
                    yield command[1:]


def parse(words: list[str]) -> None:
    """Parse a command line as the command does, without running it. Raises click's errors."""
    group = typer.main.get_command(app)
    command = group.commands[words[0]]  # type: ignore[attr-defined]  # typer has its own copy of click's classes
    command.make_context(words[0], words[1:])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patients = "4711", "4711", "123"
    rows = [row._replace(patient=patient) for row, patient in zip(made_up_rows(3, 2, 4), patients, strict=True)]
    monkeypatch.chdir(tmp_path)
    with origin_thread(synthetic_catalog(rows)) as origin:
        for block in blocks(page):
            if block.language != "python":
                continue
            source = "\n" * block.line + _SERVER.sub(origin.url, block.text)
            code = compile(source, page.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            if "idc-google" in block.text or "idc-proxy" in block.text:
                continue  # nobody may be asked over the internet
            result = eval(code, {"__name__": "__main__"})
            if result is not None:
                asyncio.run(result)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_command_lines_parse(page: Path) -> None:
    for block in blocks(page):
        if block.language in {"sh", "bash", "console"}:
            for words in command_lines(block.text):
                parse(words)


def test_command_lines_in_help_parse() -> None:
    group: Any = typer.main.get_command(app)
    found = [words for command in group.commands.values() for words in command_lines(command.help or "")]
    named = {words[0] for words in found}
    commands = "plan delta pull sync resume status verify check merge adopt cite report doctor run daemon audit"
    assert named == set(commands.split())
    for words in found:
        parse(words)


@pytest.mark.parametrize("name", ["idc.md", "python.md", "reliability.md", "servers.md"])
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / "docs" / name
    for target, anchor in _LINK.findall(page.read_text(encoding="utf-8")):
        path = page.parent / target if target else page
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("folder", ["src", "configs"])
def test_what_the_code_refers_to_is_a_heading_of_a_page(folder: str) -> None:
    wrong = []
    for path in sorted(each for each in (ROOT / folder).rglob("*") if each.suffix in {".py", ".toml", ".sql"}):
        text = re.sub(r"\s+(?:# )?", " ", path.read_text(encoding="utf-8"))
        for found in re.finditer(r"[\w/]*\b\w+\.md\b(?:, \"([^\"]+)\")?", text):
            page = ROOT / found[0].partition(",")[0]
            there = page.read_text(encoding="utf-8") if page.is_file() else ""
            headings = re.findall(r"^#+ (?:\d+\. )?(.*)$", there, re.MULTILINE)
            if found[1] not in headings:
                wrong.append(f"{path.relative_to(ROOT)}: {found[0]}")
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tests_that_are_named_exist(page: Path) -> None:
    for name in re.findall(r"`(tests/[\w/.]+)`", page.read_text(encoding="utf-8")):
        assert (ROOT / name).exists(), name


def test_every_fault_of_the_table_has_its_tests() -> None:
    """The table in docs/chaos.md: each test is named by its module, and by its case or function if not alike."""
    page = (ROOT / "docs/chaos.md").read_text(encoding="utf-8")
    legend = {
        word: (ROOT / path).read_text(encoding="utf-8")
        for words, paths in re.findall(r"^- ([a-z, ]+): ((?:`tests/[\w/.]+`(?:, )?)+)", page, re.MULTILINE)
        for word, path in zip(words.split(", "), re.findall(r"`([^`]+)`", paths), strict=True)
    }
    rows = [line.strip("| ").split(" | ") for line in page.partition("| fault | where")[2].splitlines()[2:]]
    assert len(rows) == len({row[0] for row in rows}) == FAULTS
    for fault, _passes, _stays, tests in rows:
        for test in tests.split("; "):
            module, _, name = test.removesuffix(" (siege)").partition(": ")
            case = name or fault
            assert f'"{case}"' in legend[module] or f"def {case}(" in legend[module], f"{fault}: {test}"


def test_profiles_can_be_read(tmp_path: Path) -> None:
    found = [block for block in blocks(ROOT / "docs/servers.md") if block.language == "toml"]
    assert found
    for block in found:
        path = tmp_path / "mine.toml"
        path.write_text(block.text)
        assert read_profile(path).name


def fields_of(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every field of a profile with its default, tables opened."""
    for name, field in model.model_fields.items():
        default = field.default
        if isinstance(default, BaseModel):
            yield from fields_of(type(default), f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", default


def test_every_field_of_a_profile_is_described_with_its_default() -> None:
    section = (
        (ROOT / "docs/servers.md").read_text(encoding="utf-8").partition("### Every field")[2].partition("\n## ")[0]
    )
    described = {
        name: default.strip().strip("`")
        for name, default in re.findall(r"^\| `([\w.]+)` \|[^|]*\|([^|]*)\|", section, re.MULTILINE)
    }
    written = {None: "none", True: "true", False: "false", "": '""', "none": '"none"'}
    expected = {}
    for name, default in fields_of(Profile):
        if default == [MULTIPART_STORED]:
            expected[name] = "multipart, as stored"
        elif isinstance(default, list | dict):
            expected[name] = str(default)
        else:
            expected[name] = written.get(default, str(default))
    assert described == expected | {"name": "required", "extends": "none"}


def test_the_shipped_profiles_are_listed_as_they_are() -> None:
    text = (ROOT / "docs/servers.md").read_text(encoding="utf-8").partition("## The shipped")[2].partition("\n### ")[0]
    for path in sorted((ROOT / "configs").glob("*.toml")):
        profile = read_profile(path)
        limits, page = profile.limits, profile.search.page
        (row,) = re.findall(rf"^\| `{profile.name}` \|(.*)\|$", text, re.MULTILINE)
        _, at_once, pages, auth = (cell.strip() for cell in row.split("|"))
        assert at_once == f"{limits.concurrency_start}, {limits.concurrency_max}"
        assert pages == f"{page.studies}, {page.series}, {page.instances}"
        assert auth.lower() == profile.auth.kind


@pytest.mark.parametrize(
    "name", ["plan", "delta", "pull", "resume", "status", "verify", "check", "merge", "adopt", "cite", "doctor"]
)
def test_a_help_text_has_its_examples_each_on_a_line(name: str) -> None:
    shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "120", "TERM": "dumb"}).stdout
    lines = [line.strip() for line in shown.splitlines()]
    begin = lines.index("Examples:") + 1
    assert all(line.startswith("dicomhaul ") for line in lines[begin : lines.index("", begin)])
    assert "\\b" not in shown
