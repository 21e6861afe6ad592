"""Reference cases that know which of their numbers a test has compared."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

REFERENCE = Path(__file__).parents[1] / "reference"


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
        return [float(value)] if value in ("Inf", "-Inf", "NaN") else [value]
    return [value]


def leaves(value, place=()):
    if isinstance(value, dict) and "rows" not in value and value:
        return [leaf for key, one in value.items() for leaf in leaves(one, (*place, key))]
    return [place]


class Case:
    """One case's outputs; leaving the ``with`` block fails where an output was neither compared nor set aside."""

    def __init__(self, name):
        stored = json.loads((REFERENCE / f"{name}.json").read_text())
        self.outputs = stored.get("outputs", stored)
        self.open = set(leaves(self.outputs))

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            assert not self.open, f"outputs that no test compares: {sorted(self.open)}"

    def get(self, *place):
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


@pytest.fixture(scope="session")
def reference_case():
    """A factory: ``with reference_case("surv_cox_pbc") as case: case.compare(number, "aic")``."""
    return Case
