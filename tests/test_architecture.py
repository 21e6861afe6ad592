"""The rules of the house that a machine can check."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "trialml"
CHAPTERS = ("data", "survival", "effects", "models", "validation", "explain", "strata", "design")
LEFTMOST = {"result", "errors"}
BLIND = ("report", "tracking")
FILES = sorted(PACKAGE.rglob("*.py"))
FORBIDDEN_NAMES = {"utils", "helpers", "common", "manager", "service", "handler", "core"}


def imported(path: Path) -> set[str]:
    """Return every module that a file imports, wherever in the file it does."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def rooms(path: Path) -> set[str]:
    """Return the first words after ``trialml.`` of what a file imports."""
    return {name.split(".")[1] for name in imported(path) if name.startswith("trialml.")}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_a_module_imports_only_from_its_own_folder_and_folders_to_its_left(path):
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if room in LEFTMOST:
        assert rooms(path) <= {"errors"} - {room}
    elif room in CHAPTERS:
        allowed = LEFTMOST | set(CHAPTERS[: CHAPTERS.index(room) + 1])
        assert rooms(path) <= allowed, f"{relative(path)} reaches to its right"
    elif room in BLIND:
        assert rooms(path) <= LEFTMOST | {room}, f"{relative(path)} sees more than results"


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_mlflow_is_imported_in_one_folder_and_shap_in_one_file(path):
    packages = {name.split(".")[0] for name in imported(path)}
    if path.parent.name != "tracking" or path.name == "records.py":
        assert "mlflow" not in packages
    if relative(path) != "trialml/explain/linear.py":
        assert "shap" not in packages
    if path.parent.name != "models" or not path.name.startswith("deep_"):
        assert not {"torch", "tabicl"} & packages
    assert not any(name.endswith("pyplot") for name in imported(path))


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_files_are_short_and_named_after_what_they_hold(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
    assert path.stem not in FORBIDDEN_NAMES


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_functions_are_shorter_than_fifty_lines_of_code(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            body = node.body
            if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
                body = body[1:]
            lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
            assert lines <= 50, f"{relative(path)}: {node.name} has {lines} lines"


def test_every_chapter_has_a_result():
    for chapter in CHAPTERS:
        text = "".join(path.read_text(encoding="utf-8") for path in (PACKAGE / chapter).glob("*.py"))
        assert "(Result)" in text, f"the folder {chapter} has no analysis"


def test_the_folder_mlflow_holds_no_python_file():
    assert not list((ROOT / "mlflow").rglob("*.py"))


def test_heavy_packages_are_not_imported_by_the_command_before_it_knows_what_to_do():
    code = (
        "import sys, trialml.cli; "
        "heavy = {'numpy', 'pandas', 'scipy', 'sklearn', 'matplotlib', 'mlflow', 'shap', 'lifelines', 'rich', 'pydantic'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_nothing_in_the_repository_names_a_path_of_one_machine_or_a_package_registry():
    home, registry = "/ro" + "ot/", "/sim" + "ple"
    for path in [*FILES, *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "mlflow").iterdir()]:
        text = path.read_text(encoding="utf-8")
        assert home not in text, relative(path)
        assert f"index{registry}" not in text, relative(path)


def test_no_code_promises_what_it_does_not_do():
    words = ("NotImplemented" + "Error", "TO" + "DO", "FIX" + "ME", "X" * 3)
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        assert not [word for word in words if word in text], relative(path)
