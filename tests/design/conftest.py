"""The reference cases of the survival chapter, for designs: a case knows which of its numbers a test has compared."""

import importlib.util
from pathlib import Path

_SOURCE = Path(__file__).parents[1] / "survival" / "conftest.py"
_spec = importlib.util.spec_from_file_location("reference_cases", _SOURCE)
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)

reference_case, oracle = _module.reference_case, _module.oracle
