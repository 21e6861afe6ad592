"""Compiled code: imported late, cached where it can be, and right where it cannot."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from trialml.survival import compile as compiling

ROOT = Path(__file__).parents[2]

DOUBLED = """
from trialml.survival.compile import compiled


@compiled("float64(float64)")
def doubled(x):
    return 2.0 * x


print(doubled(21.0))
"""


def run(code, cwd, **environment):
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=cwd,
        env={name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
        | {"PYTHONPATH": str(ROOT)} | environment,
    ).stdout  # fmt: skip


def package(folder):
    """A folder with a copy of the package, in which no cache folder can be made, whoever runs the test."""
    shutil.copytree(ROOT / "trialml", folder / "trialml", ignore=shutil.ignore_patterns("__pycache__"))
    for place in ("trialml", "trialml/survival"):
        (folder / place / "__pycache__").write_text("a file where the folder would stand")
    (folder / "trialml" / "survival" / "twice.py").write_text(DOUBLED)
    return folder


def test_a_package_folder_that_cannot_be_written_to_leaves_the_cache_to_the_user_folder(tmp_path):
    folder, home = package(tmp_path / "package"), tmp_path / "cache"
    places = {"XDG_CACHE_HOME": str(home), "HOME": str(tmp_path), "PYTHONPATH": str(folder)}
    done = run("import trialml.survival.twice", folder, PYTHONDONTWRITEBYTECODE="1", **places)
    assert done == "42.0\n"
    assert list(home.rglob("*.nbi"))


def test_a_function_does_not_call_the_old_code_of_another_file_that_has_changed(tmp_path):
    """What numba's own cache gets wrong: it looks at the file of the function alone, never at those that it calls."""
    folder = tmp_path / "package"
    shutil.copytree(ROOT / "trialml", folder / "trialml", ignore=shutil.ignore_patterns("__pycache__"))
    inner, outer = (folder / "trialml" / "survival" / name for name in ("twice.py", "four_times.py"))
    inner.write_text(DOUBLED)
    outer.write_text(
        "from trialml.survival.compile import compiled\nfrom trialml.survival.twice import doubled\n\n\n"
        '@compiled("float64(float64)")\ndef four_times(x):\n    return 2.0 * doubled(x)\n\n\nprint(four_times(1.0))\n'
    )
    places = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path), "PYTHONPATH": str(folder)}
    code = "import trialml.survival.four_times"
    assert run(code, folder, **places) == "42.0\n4.0\n"
    inner.write_text(DOUBLED.replace("2.0 * x", "3.0 * x"))
    assert run(code, folder, **places) == "63.0\n6.0\n"


def test_without_any_folder_for_a_cache_the_code_is_compiled_and_right(tmp_path):
    folder = package(tmp_path / "package")
    nowhere = tmp_path / "file"
    nowhere.write_text("")
    places = {"XDG_CACHE_HOME": str(nowhere), "HOME": str(nowhere), "PYTHONPATH": str(folder)}
    done = run("import trialml.survival.twice", folder, PYTHONDONTWRITEBYTECODE="1", **places)
    assert done == "42.0\n"


def test_a_cox_model_is_right_in_a_package_folder_without_a_cache(tmp_path):
    """The loops themselves, uncompiled by an earlier process: the same bits as with the cache."""
    shutil.copytree(ROOT / "trialml", tmp_path / "trialml", ignore=shutil.ignore_patterns("__pycache__"))
    for place in ("trialml", "trialml/survival"):
        (tmp_path / place / "__pycache__").write_text("no folder can stand here")
    nowhere = tmp_path / "file"
    nowhere.write_text("")
    code = (
        "from trialml.survival.cox import fit_cox; import trialml;"
        "print(trialml.__file__); print(repr(fit_cox([3, 1, 2, 5.], [1, 1, 0, 1], [[1], [0], [1], [0.]]).coefficients))"
    )
    bare = run(code, tmp_path, XDG_CACHE_HOME=str(nowhere), HOME=str(nowhere), PYTHONPATH=str(tmp_path)).splitlines()
    assert bare[0].startswith(str(tmp_path))
    assert bare[1] == run(code, ROOT).splitlines()[1]


def test_importing_the_cox_model_imports_neither_the_compiler_nor_lifelines():
    code = (
        "import sys, trialml.survival.cox, trialml.survival.parametric, trialml.survival.proportional_hazards;"
        "print(sorted({'numba', 'lifelines', 'matplotlib'} & set(sys.modules)))"
    )
    assert run(code, ROOT) == "[]\n"


def test_an_interruption_that_comes_while_a_function_is_compiled_is_raised_after_it():
    usual = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    ended = []

    def compile_and_be_interrupted():
        with compiling._interruption_held():
            signal.raise_signal(signal.SIGINT)
            ended.append("the block")

    try:
        with pytest.raises(KeyboardInterrupt):
            compile_and_be_interrupted()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, usual)
    assert ended == ["the block"]
