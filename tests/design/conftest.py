"""The reference cases of the survival chapter, for designs: a case knows which of its numbers a test has compared."""

import importlib.util
from pathlib import Path

import pytest


def _loaded(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_cases = _loaded("reference_cases", Path(__file__).parents[1] / "survival" / "conftest.py")
reference_case, oracle = _cases.reference_case, _cases.oracle


@pytest.fixture(scope="session")
def compare_with_rpact():
    """A function that compares plans of means or rates with all that rpact says of them."""
    return _loaded("rpact_plans", Path(__file__).parent / "rpact_plans.py").compare_with_rpact


@pytest.fixture(scope="session")
def bridge():
    """Invented evidence and settings of the bridge from a model to a design."""
    return _loaded("bridge_evidence", Path(__file__).parent / "bridge_evidence.py")
