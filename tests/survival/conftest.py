"""A reference case that fails its test where any stored number was left unchecked."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

REFERENCE = Path(__file__).parents[1] / "reference"
NOT_NUMBERS = {"NaN": np.nan, "Inf": np.inf, "-Inf": -np.inf}


class CheckedCase:
    """The outputs of one stored case and what of them has been compared.

    A leaf is a number, a word, a list, or a whole matrix; its path is the keys that lead to it.
    """

    def __init__(self, name):
        self.name = name
        self.outputs = json.loads((REFERENCE / f"{name}.json").read_text(encoding="utf-8"))["outputs"]
        self.left = set(self._leaves(self.outputs, ()))

    @classmethod
    def _leaves(cls, node, path):
        if isinstance(node, dict) and "dim" not in node:
            for key, below in node.items():
                yield from cls._leaves(below, (*path, key))
        else:
            yield path

    def take(self, *path):
        """Return what stands at a path, a matrix as an array; everything under it counts as compared."""
        node = self.outputs
        for key in path:
            node = node[key]
        self.left -= {leaf for leaf in self.left if leaf[: len(path)] == path}
        return self._plain(node)

    @classmethod
    def _plain(cls, node):
        if isinstance(node, dict) and "rows" in node:
            return np.array([[cls._plain(cell) for cell in row] for row in node["rows"]], dtype=float)
        if isinstance(node, dict):
            return [cls._plain(below) for below in node.values()]
        if isinstance(node, list):
            return [cls._plain(below) for below in node]
        return np.nan if node is None else NOT_NUMBERS.get(node, node) if isinstance(node, str) else node

    def agrees(self, found, *path, rtol=1e-8, null=np.nan):
        """Compare `found` with the numbers at a path; R's NA stands for `null`."""
        wanted = np.asarray(self.take(*path), dtype=float)
        wanted = np.where(np.isnan(wanted), null, wanted)
        found = np.asarray(found, dtype=float).reshape(wanted.shape)
        np.testing.assert_allclose(found, wanted, rtol=rtol, atol=1e-10, err_msg=f"{self.name}: {' > '.join(path)}")


@pytest.fixture
def oracle():
    """A factory: open a case by its name; at the test's end none of its numbers may be unchecked."""
    opened = []

    def open_case(name):
        opened.append(CheckedCase(name))
        return opened[-1]

    yield open_case
    for case in opened:
        assert not case.left, (
            f"{case.name}: nothing was compared with {sorted(' > '.join(map(str, p)) for p in case.left)}"
        )


@pytest.fixture(scope="session")
def reference_data():
    """A factory: read a data set of the reference cases."""
    return lambda name: pd.read_csv(REFERENCE / "data" / f"{name}.csv")
