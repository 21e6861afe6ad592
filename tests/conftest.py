"""Invented trials for every test: a data file and the study file that goes with it, made from a seed."""

import copy
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import settings

# The same examples every time, so that a test fails for the change at hand; `--hypothesis-profile explore` draws others.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("explore", max_examples=2000, deadline=None)
settings.load_profile("repeatable")

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.pop("MLFLOW_TRACKING_URI", None)

SUBJECT_MARK = "SUBJ-7731-"
"""Every invented identifier starts so, so that a test can look for one where none may be."""

STUDY = {
    "study": {"name": "INVENTED", "title": "An invented trial", "seed": 11},
    "estimand": {
        "population": "Adults, as randomised",
        "treatment": "Assignment to the new drug against the old",
        "variable": "Time from randomisation to progression",
        "intercurrent_events": "Treatment policy",
        "summary": "Stratified hazard ratio",
    },
    "data": {"source": "trial.csv", "subject": "usubjid", "post_baseline": ["week8"]},
    "treatment": {
        "column": "arm",
        "control": "old",
        "experimental": "new",
        "secondary": ["other"],
        "stratification": ["region"],
    },
    "endpoints": {
        "name": "progression",
        "label": "Progression",
        "kind": "time to event",
        "time": "days",
        "event": "progressed",
        "unit": "days",
        "horizon": 365,
        "tau": 365,
    },
    "covariates": {"numeric": ["age", "marker"], "binary": ["prior"], "categorical": ["site"]},
    "models": {"risk": {"folds": 2, "repeats": 1}, "response": {"folds": 2, "repeats": 6, "permutations": 199}},
    "design": {"screened_per_month": 20},
}


def make_patients(rows=240, *, arms=("old", "new", "other"), seed=7) -> pd.DataFrame:
    """Return invented patients: arms dealt in turn, a marker that moves risk and benefit, some values missing."""
    draw = np.random.default_rng(seed)
    arm = np.resize(np.asarray(arms, dtype=object), rows)
    age, marker = draw.normal(60, 9, rows).round(), draw.normal(0, 1, rows).round(3)
    prior = draw.integers(0, 2, rows)
    log_hazard = 0.5 * marker + 0.3 * prior + (arm == "new") * (-0.5 - 0.4 * marker)
    event_time = draw.exponential(380 / np.exp(log_hazard))
    censoring = draw.uniform(250, 900, rows)
    frame = pd.DataFrame(
        {
            "usubjid": [f"{SUBJECT_MARK}{number:04d}" for number in range(1, rows + 1)],
            "arm": arm,
            "region": draw.choice(["north", "south"], rows),
            "days": np.ceil(np.minimum(event_time, censoring)).astype(int),
            "progressed": (event_time <= censoring).astype(int),
            "age": age.astype(int),
            "marker": marker,
            "prior": prior,
            "site": draw.choice(["lung", "liver", "None"], rows, p=[0.5, 0.3, 0.2]),
            "week8": draw.normal(0, 1, rows).round(3),
        }
    ).astype(object)
    frame.loc[draw.random(rows) < 0.08, "marker"] = None
    return frame


def _toml(value) -> str:
    return json.dumps(value, ensure_ascii=False)


def _tables(tables: dict, place: str = "") -> list[str]:
    lines = []
    for name, value in tables.items():
        here = f"{place}{name}"
        if isinstance(value, dict):
            plain = {key: one for key, one in value.items() if not isinstance(one, dict)}
            lines.append(f"[[{here}]]" if here == "endpoints" else f"[{here}]")
            lines += [f"{_toml(str(key))} = {_toml(one)}" for key, one in plain.items()]
            lines += _tables({key: one for key, one in value.items() if isinstance(one, dict)}, f"{here}.")
    return lines


def study_text(changes=None) -> str:
    """Return the study file's text; `changes` maps ``table.key`` to a value, or to None for a key to leave out."""
    tables = copy.deepcopy(STUDY)
    for key, value in (changes or {}).items():
        *above, last = key.split(".")
        table = tables
        for name in above:
            table = table.setdefault(name, {})
        if value is None:
            table.pop(last, None)
        else:
            table[last] = value
    return "\n".join(_tables(tables)) + "\n"


@pytest.fixture(scope="session")
def write_study():
    """A factory: write a trial's two files to a folder, with one thing changed, and return the study file's path.

    Keywords: `rows`, `arms`, `seed` of the invented patients; `change`, a function that alters their frame (in place or
    by returning another); `data`, the data file's text or bytes instead; `separator`; and `study`, a mapping of
    ``table.key`` to a value, or None for a key to leave out.
    """

    def write(folder: Path, *, rows=240, change=None, data=None, separator=",", study=None, **patients) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        if data is None:
            frame = make_patients(rows, **patients)
            changed = change(frame) if change else None
            data = (frame if changed is None else changed).to_csv(index=False, sep=separator)
        content = data if isinstance(data, bytes) else data.encode()
        (folder / "trial.csv").write_bytes(content)
        path = folder / "study.toml"
        path.write_text(study_text(study), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def patients():
    """The factory of invented patients."""
    return make_patients


@pytest.fixture(scope="session")
def subject_mark():
    """How every invented identifier starts."""
    return SUBJECT_MARK
