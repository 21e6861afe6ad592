"""Compiled code: imported late, cached where it can be, and right where it cannot."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

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


def module(folder):
    """A folder with the module, in which no cache folder can be made, whoever runs the test."""
    folder.mkdir()
    (folder / "twice.py").write_text(DOUBLED)
    (folder / "__pycache__").write_text("a file where the folder would stand")
    return folder


def test_a_package_folder_that_cannot_be_written_to_leaves_the_cache_to_the_user_folder(tmp_path):
    folder = module(tmp_path / "package")
    home = tmp_path / "cache"
    done = run("import twice", folder, XDG_CACHE_HOME=str(home), HOME=str(tmp_path), PYTHONDONTWRITEBYTECODE="1")
    assert done == "42.0\n"
    assert list(home.rglob("*.nbi"))


def test_without_any_folder_for_a_cache_the_code_is_compiled_and_right(tmp_path):
    folder = module(tmp_path / "package")
    nowhere = tmp_path / "file"
    nowhere.write_text("")
    done = run("import twice", folder, XDG_CACHE_HOME=str(nowhere), HOME=str(nowhere), PYTHONDONTWRITEBYTECODE="1")
    assert done == "42.0\n"


def test_a_cox_model_is_right_in_a_package_folder_without_a_cache(tmp_path):
    """The loops themselves, uncompiled by an earlier process: the same bits as with the cache."""
    shutil.copytree(ROOT / "trialml", tmp_path / "trialml", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "trialml" / "survival" / "__pycache__").write_text("no folder can stand here")
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
