"""One real store in a temporary folder, with two tracked versions of one model: MLflow is slow, so it is made once."""

import hashlib
import io
import json
import math
import sys
import types
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from trialml.cli import main
from trialml.result import Result, plain_text
from trialml.tracking.records import Dataset, ModelInput, ModelVersion, TrackedRun
from trialml.tracking.store import open_store

HERE = Path(__file__).parent
OFF_LIST = "OFFLIST-4410-"
"""How every value of a column starts that the study file does not list."""
LONG_PARAM = "word " * 2000


@dataclass(frozen=True)
class Performance(Result):
    """An invented result of the chapter validation."""

    chapter = "validation"
    title = "Discrimination"
    c_index: float
    heading_suffix: str = ""

    def heading(self):
        return f"{self.title}: {self.heading_suffix}" if self.heading_suffix else self.title

    def frame(self):
        return pd.DataFrame({"what": ["c_index"], "value": [self.c_index]})

    def text(self):
        return f"The C-index is {self.c_index:.3f}."

    def scalars(self):
        return {
            "c_index_crossfit": self.c_index,
            "c_index_crossfit_low": self.c_index - 0.0312345,
            "c_index_crossfit_high": self.c_index + 0.0312345,
            "median": float("nan"),
            "upper": float("inf"),
        }

    def draw(self, figure):
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1])
        axes.set_title(plain_text("costs of $5 and $6"))
        axes.set_xlabel("a_1 and $x^2$ left as they are")


@pytest.fixture(scope="session")
def performance():
    """The class of invented results."""
    return Performance


def _write(threshold):
    def write(folder):
        (folder / "threshold.json").write_text(json.dumps({"threshold": threshold}))

    return write


@pytest.fixture(scope="session")
def make_run(tmp_path_factory, patients):
    """A factory of runs to track; keywords replace fields of the run."""
    sys.path.insert(0, str(HERE))
    folder = tmp_path_factory.mktemp("trial")
    data = folder / "trial.csv"
    patients(60).to_csv(data, index=False)
    (folder / "report.html").write_text("<p>the report</p>")
    digest = hashlib.sha256(data.read_bytes()).hexdigest()

    def make(c_index=0.7, **fields):
        run = TrackedRun(
            experiment="INVENTED/risk",
            run_name="20300101-000000",
            description=f"PASS  C-index {c_index} crossfit\n\n- **Discrimination.** {Performance(c_index).text()}",
            params={"cohort.n": "60", "cohort.sha256": digest, "model.covariates": LONG_PARAM},
            tags={"trialml.kind": "risk", "trialml.study": "INVENTED"},
            results=[Performance(c_index)],
            dataset=Dataset("INVENTED", str(data), digest, 60, 30, {"age": "double", "site": "string"}),
            model=ModelVersion(
                name="INVENTED-risk",
                write=_write(50.0),
                loader_module="threshold_loader",
                inputs=[ModelInput("age", "any", True), ModelInput("site", "string", False)],
                outputs=[("risk", "double"), ("refused", "string")],
                params={"shift": 0.0},
                requirements=["pandas"],
                description=f"PASS  C-index {c_index} crossfit",
                tags={"trialml.kind": "risk"},
                example={"age": 60.5, "site": "lung"},
            ),
            files={"report/index.html": folder / "report.html"},
            texts={"model_card.md": "# INVENTED-risk\n", "lineage.json": "{}\n"},
        )
        return replace(run, **fields)

    yield make
    sys.path.remove(str(HERE))


@pytest.fixture(scope="session")
def stored(tmp_path_factory, make_run):
    """A local store with two runs of one model: `out`, `store`, `client`, `first`, `second`, `sha256`."""
    out = tmp_path_factory.mktemp("a folder with spaces, 50% and \u00fc")
    store = open_store(out)
    run = make_run()
    first, second = store.track(run), store.track(make_run(0.75))
    return SimpleNamespace(
        out=out, store=store, client=store.client, first=first, second=second, sha256=run.dataset.sha256
    )


@pytest.fixture
def mlflow_at(stored, monkeypatch):
    """MLflow as a user of the store has it, with the global address set, and as it was afterwards."""
    import mlflow

    before = mlflow.get_tracking_uri() if mlflow.is_tracking_uri_set() else None
    mlflow.set_tracking_uri(stored.store.address)
    mlflow.set_registry_uri(stored.store.address)
    yield mlflow
    mlflow.set_registry_uri("")
    mlflow.set_tracking_uri(before)


@dataclass(frozen=True, eq=False)
class Tally(Result):
    """A table with headline numbers and no figure."""

    numbers: tuple[tuple[str, float], ...] = (("patients", 1054.0),)
    named: str = "Tally"

    title = "Tally"
    chapter = "data"

    def heading(self):
        return self.named

    def frame(self):
        return pd.DataFrame(self.numbers, columns=["what", "value"])

    def text(self):
        return "1,054 patients were counted."

    def scalars(self):
        return dict(self.numbers)


@dataclass(frozen=True, eq=False)
class Discrimination(Tally):
    """Numbers with intervals, some undefined, and a figure."""

    numbers: tuple[tuple[str, float], ...] = (
        ("c_index_crossfit", 0.699312345),
        ("c_index_crossfit_low", 0.6665),
        ("c_index_crossfit_high", 0.732),
        ("median", math.nan),
        ("median_high", math.inf),
    )
    named: str = "Discrimination"

    title = "Discrimination"
    chapter = "validation"

    def draw(self, figure):
        figure.subplots().plot([0, 1], [0, 0.7])


class Doubler:
    """A model that doubles: its state is one number in a file."""

    def __init__(self, factor):
        self.factor = factor

    def predict(self, patients, params=None):
        del params
        return pd.DataFrame({"risk": patients["age"] * self.factor})


def _write_doubler(folder):
    (folder / "factor.json").write_text(json.dumps(2.0))


def _load_doubler(path):
    return Doubler(json.loads((Path(path) / "factor.json").read_text()))


@pytest.fixture(scope="session")
def make_fake_model():
    """A factory of models whose loader is found by name; keywords replace fields."""
    module = types.ModuleType("doubler_of_the_tests")
    module._load_pyfunc = _load_doubler
    sys.modules[module.__name__] = module

    def make(**changes):
        model = ModelVersion(
            name="FAKE-risk",
            write=_write_doubler,
            loader_module="doubler_of_the_tests",
            inputs=[ModelInput("age", "any", True), ModelInput("site", "string", False)],
            outputs=[("risk", "double")],
            params={"horizon": 730.0},
            requirements=["numpy"],
            description="PASS  C-index 0.699\nand more",
            tags={"trialml.kind": "risk"},
        )
        return replace(model, **changes)

    yield make
    del sys.modules[module.__name__]


@pytest.fixture(scope="session")
def make_fake_run(make_fake_model):
    """A factory of small runs to track; keywords replace fields."""

    def make(**changes):
        run = TrackedRun(
            experiment="FAKE/risk",
            run_name="20261123-220400",
            description="PASS  C-index 0.699 (0.667 to 0.732) cross-fitted\n\n- more",
            params={"cohort.n": "1054", "horizon": "730 days"},
            tags={"trialml.kind": "risk", "trialml.review": "pending"},
            results=[Tally(), Discrimination()],
            dataset=Dataset("FAKE", "fake.csv", "0123456789abcdef" * 4, 1054, 284),
            model=make_fake_model(),
            texts={"model_card.md": "# FAKE-risk\n"},
        )
        return replace(run, **changes)

    return make


@pytest.fixture(scope="session")
def off_list():
    """How every value of a column starts that the study file does not list."""
    return OFF_LIST


@pytest.fixture(scope="session")
def make_tally():
    """The class of the smallest invented result."""
    return Tally


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """One sqlite store for a whole module."""
    return open_store(tmp_path_factory.mktemp("store"))


@pytest.fixture
def at_store(monkeypatch):
    """Point MLflow's global address to a store, as a user's own script would."""
    return lambda address: monkeypatch.setenv("MLFLOW_TRACKING_URI", address)


@pytest.fixture(scope="session")
def quick_run(tmp_path_factory, write_study):
    """The output folder of one real quick run on an invented trial; what it printed is in `printed.txt`."""
    folder = tmp_path_factory.mktemp("quick")
    study = write_study(folder / "study", rows=400, change=_with_a_column_outside_the_whitelist)
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        assert main(["run", str(study), "--quick", "--out", str(folder / "out")]) == 0
    (folder / "out" / "printed.txt").write_text(said.getvalue(), encoding="utf-8")
    return folder / "out"


def _with_a_column_outside_the_whitelist(patients):
    patients["nickname"] = [f"{OFF_LIST}{number}" for number in range(len(patients))]
