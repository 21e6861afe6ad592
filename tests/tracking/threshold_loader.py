"""The smallest model that MLflow can load without a pickle: one threshold in a JSON file."""

import json
from pathlib import Path

import pandas as pd


class Threshold:
    """Says whether a value is above the threshold; a missing value has no answer."""

    def __init__(self, threshold):
        self.threshold = threshold

    def predict(self, patients, params=None):
        shift = (params or {}).get("shift", 0.0)
        values = pd.to_numeric(patients["age"], errors="coerce") - self.threshold - shift
        return pd.DataFrame(
            {"risk": values, "refused": ["" if value == value else "age is missing" for value in values]}
        )


def _load_pyfunc(path):
    return Threshold(json.loads((Path(path) / "threshold.json").read_text())["threshold"])
