"""Reference cases that know which of their numbers a test has compared."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

REFERENCE = Path(__file__).parents[1] / "reference"
NOT_NUMBERS = {"NaN": np.nan, "Inf": np.inf, "-Inf": -np.inf}


def leaves(value, place=()):
    """The places of a stored value's numbers, words, lists and whole matrices, each the keys that lead to it."""
    if isinstance(value, dict) and value and not {"rows", "dim"} & set(value):
        return [leaf for key, one in value.items() for leaf in leaves(one, (*place, key))]
    return [place]


def flat(value):
    """The numbers of a stored value in order: a matrix by rows, a mapping by its values, null as NaN."""
    if isinstance(value, dict) and "rows" in value:
        value = value["rows"]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [number for one in value for number in flat(one)]
    if value is None:
        return [math.nan]
    if isinstance(value, str):
        return [NOT_NUMBERS.get(value, value)]
    return [value]


def plain(node):
    """A stored value as arrays, lists and numbers."""
    if isinstance(node, dict) and "rows" in node:
        return np.array([[plain(cell) for cell in row] for row in node["rows"]], dtype=float)
    if isinstance(node, dict):
        return [plain(below) for below in node.values()]
    if isinstance(node, list):
        return [plain(below) for below in node]
    return np.nan if node is None else NOT_NUMBERS.get(node, node) if isinstance(node, str) else node


class Case:
    """One case's outputs; leaving the ``with`` block fails where an output was neither compared nor set aside."""

    def __init__(self, name):
        stored = json.loads((REFERENCE / f"{name}.json").read_text(encoding="utf-8"))
        self.name = name
        self.outputs = stored.get("outputs", stored)
        self.open = set(leaves(self.outputs))

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            left = sorted(" > ".join(map(str, place)) for place in self.open)
            assert not left, f"{self.name}: nothing was compared with {left}"

    def get(self, *place):
        """Return what stands at a place; everything under it counts as compared."""
        value = self.outputs
        for key in place:
            value = value[key]
        self.open -= {leaf for leaf in self.open if leaf[: len(place)] == place}
        return value

    def compare(self, found, *place, rtol=1e-7, atol=1e-10):
        """Compare with an output at Cox's tolerance; words must be equal, null is NaN or None."""
        wanted = flat(self.get(*place))
        if wanted and isinstance(wanted[0], str):
            assert [str(one) for one in np.ravel(found)] == wanted, place
            return
        found = np.ravel(np.asarray(np.nan if found is None else found, dtype=float))
        np.testing.assert_allclose(found, np.array(wanted, dtype=float), rtol=rtol, atol=atol, err_msg=str(place))

    def aside(self, *place, reason):
        """Leave an output out, for a reason."""
        assert reason
        self.get(*place)

    def take(self, *place):
        """Return what stands at a place, a matrix as an array."""
        return plain(self.get(*place))

    def agrees(self, found, *place, rtol=1e-8, null=np.nan):
        """Compare with an output at the tolerance of closed forms; R's NA stands for `null`."""
        wanted = np.asarray(self.take(*place), dtype=float)
        wanted = np.where(np.isnan(wanted), null, wanted)
        found = np.asarray(found, dtype=float).reshape(wanted.shape)
        np.testing.assert_allclose(found, wanted, rtol=rtol, atol=1e-10, err_msg=f"{self.name}: {' > '.join(place)}")


@pytest.fixture(scope="session")
def reference_case():
    """A factory: ``with reference_case("surv_cox_pbc") as case: case.compare(number, "aic")``."""
    return Case


@pytest.fixture
def oracle():
    """A factory: open a case by its name; at the test's end none of its numbers may be unchecked."""
    opened = []

    def open_case(name):
        opened.append(Case(name))
        return opened[-1]

    yield open_case
    for case in opened:
        case.__exit__(None)


@pytest.fixture(scope="session")
def reference_data():
    """A factory: read a data set of the reference cases."""
    return lambda name: pd.read_csv(REFERENCE / "data" / f"{name}.csv")
