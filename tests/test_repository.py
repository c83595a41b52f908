"""What holds for every file of this repository, checked by reading it."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from dataplane_emitter import spelling
from dataplane_tailer.config import TailerConfig
from elastinats.config import SinkConfig

ROOT = Path(__file__).parents[1]
_LISTED = subprocess.run(
    ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
)
FILES = [ROOT / name for name in _LISTED.stdout.splitlines() if (ROOT / name).is_file()]
SOURCES = [file for file in FILES if file.suffix == ".py"]
MAX_FILE_LINES = 300
MAX_FUNCTION_LINES = 60


def _functions(file: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(file.read_text())
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (function.end_lineno or 0) - function.lineno + 1


def test_files_are_short_enough_to_read() -> None:
    """No source file has more than 300 lines; the data of one example does not count."""
    assert {str(file): n for file in SOURCES if (n := len(file.read_text().splitlines())) > MAX_FILE_LINES} == {}


def test_functions_are_short() -> None:
    """No function has more than 60 lines; in the product half of them have at most 7."""
    product = [function for file in SOURCES if "/src/" in str(file) for function in _functions(file)]
    lengths = sorted(_length(function) - len((ast.get_docstring(function) or "").splitlines()) for function in product)
    assert max(_length(function) for function in product) <= MAX_FUNCTION_LINES
    assert lengths[len(lengths) // 2] <= 7


def test_every_test_says_its_rule() -> None:
    """A test's docstring is the rule that it holds the code to."""
    silent = [
        f"{file}:{function.lineno}"
        for file in SOURCES
        if file.name.startswith("test_")
        for function in _functions(file)
        if function.name.startswith("test_") and not ast.get_docstring(function)
    ]
    assert silent == []


def test_no_module_is_a_drawer() -> None:
    """A module is named for what it does or owns."""
    drawers = {"utils", "util", "helpers", "manager", "base", "core", "misc", "common"}
    assert [file for file in SOURCES if file.stem in drawers] == []


def test_no_file_names_a_registrys_host_or_a_machines_path() -> None:
    """A checkout works with any mirror, and on any machine."""
    words = ["pythonho" + "sted", "pypi" + ".org", "maven" + ".org", "/root" + "/", "/work" + "/"]
    texts = {file: file.read_bytes() for file in FILES}
    assert [(str(file), word) for file, text in texts.items() for word in words if word.encode() in text] == []


@pytest.mark.parametrize("package", sorted((ROOT / "packages").iterdir()), ids=lambda path: path.name)
def test_every_package_stands_alone(package: Path) -> None:
    """Each package has its own version, README, changelog with that version, type marker and tests."""
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    assert f"## {project['version']}" in (package / "CHANGELOG.md").read_text()
    assert len((package / "README.md").read_text().splitlines()) > 5
    assert list(package.glob("src/*/py.typed"))
    assert list(package.glob("tests/**/test_*.py"))


def test_links_in_infra_lead_somewhere() -> None:
    """`infra/` shows the data files of the packages by links that work in a checkout."""
    assert [link for link in (ROOT / "infra").rglob("*") if link.is_symlink() and not link.exists()] == []


@pytest.mark.parametrize("command", ["dataplane", "dataplane-tailer", "dataplane-emit", "elastinats"])
def test_each_command_tells_its_version(command: str) -> None:
    """`--version` is what one asks for first where something does not work."""
    done = subprocess.run(
        [Path(sys.executable).parent / command, "--version"], capture_output=True, text=True, timeout=60, check=True
    )
    assert re.fullmatch(rf"{command} \d+\.\d+\.\d+\n", done.stdout)


def test_no_name_in_use_is_taken_for_a_misspelt_setting() -> None:
    """The emitter doubts none of the variables that this repository speaks of, nor any other program's settings."""
    texts = [file.read_bytes() for file in FILES if file.name != "test_spelling.py"]
    names = {name.decode() for text in texts for name in re.findall(rb"\bDATAPLANE_[A-Z0-9_]*[A-Z0-9]\b", text)}
    fields = {*TailerConfig.__struct_fields__, *SinkConfig.__struct_fields__}
    names |= {f"DATAPLANE_{field.upper()}" for field in fields}
    assert "DATAPLANE_STACK_DIR" in names
    assert spelling.doubtful(names) == {"DATAPLANE_DATASETT": "DATAPLANE_DATASET"}  # the README's example of one
