"""Arrays of a model apart from its JSON: the same bits again, and no change of either file goes unseen."""

import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

import trialml.models
from trialml.data.roles import Covariate
from trialml.errors import ModelInputError, StudyFileError
from trialml.models import Model, usable_model
from trialml.models.input_contract import InputContract
from trialml.scoring import score_file
from trialml.stratifier import RiskPart, Stratifier
from trialml.stratifier_weights import put_back, taken_out, unpacked
from trialml.tracking.registry import state_digest

pytest.importorskip("safetensors", reason="the extra [deep] is not installed")


@dataclass
class Product:
    """A stand-in for a network: one matrix product, its weights arrays."""

    first: np.ndarray
    treatment: str | None = None
    horizon_limit_: float = 100.0

    def risk(self, X, horizon):
        scores = X.to_numpy(np.float32) @ self.first
        return (1 / (1 + np.exp(-scores.sum(axis=1) * np.float32(horizon / 100)))).astype(float)

    def state(self):
        return {"weights": {"layer/0": self.first}, "columns": ["a", "b"]}

    @classmethod
    def from_state(cls, state):
        return cls(state["weights"]["layer/0"])


@pytest.fixture
def stratifier(monkeypatch):
    model = Model("product", "risk", "a product", Product, extra="deep")
    real = trialml.models.models_for
    monkeypatch.setattr(
        trialml.models,
        "models_for",
        lambda question, endpoint=None: real(question, endpoint) | ({"product": model} if question == "risk" else {}),
    )
    rng = np.random.default_rng(1)
    baseline = pd.DataFrame(rng.normal(size=(60, 2)), columns=["a", "b"])
    contract = InputContract.learn(tuple(Covariate(name, "numeric", name) for name in "ab"), baseline)
    return Stratifier(
        "T", "days", contract, RiskPart("product", Product(rng.normal(size=(2, 3)).astype(np.float32)), 50.0)
    )


def test_arrays_come_back_with_their_bits_shapes_and_kinds():
    rng = np.random.default_rng(2)
    arrays = [
        rng.normal(size=(3, 2)).astype(np.float32).T,
        rng.normal(size=4),
        np.arange(3),
        np.array([True, False]),
        np.array(0.1),
        np.zeros((0, 2)),
    ]
    # Names with a stroke, and two that would meet if strokes were not told apart.
    state = {"a": {"b/c": arrays[0], "b": {"c": arrays[1]}}, "list": [arrays[2], {"x": arrays[3]}, 1.5], "s": arrays[4]}
    state |= {"empty": arrays[5], "covariate": {"array": "a"}}
    plain, content = taken_out(state)
    json.dumps(plain, allow_nan=False)
    assert sorted(unpacked(content)) == ["a/b/c", "a/b~1c", "empty", "list/0", "list/1/x", "s"]
    again = put_back(json.loads(json.dumps(plain)), unpacked(content))
    pairs = [
        (again["a"]["b/c"], arrays[0]),
        (again["a"]["b"]["c"], arrays[1]),
        (again["list"][0], arrays[2]),
        (again["list"][1]["x"], arrays[3]),
        (again["s"], arrays[4]),
        (again["empty"], arrays[5]),
    ]
    for got, wanted in pairs:
        assert got.dtype == wanted.dtype
        np.testing.assert_array_equal(got, wanted, strict=True)
    assert again["covariate"] == {"array": "a"}
    assert taken_out(state)[1] == content, "the same arrays, the same bytes"


def test_a_state_without_arrays_is_as_it_is():
    assert taken_out({"a": [1, {"b": None}]}) == ({"a": [1, {"b": None}]}, b"")


def test_an_array_of_another_kind_is_refused_with_its_path():
    with pytest.raises(ModelInputError, match="'a/0' is of object: a model's arrays are float32"):
        taken_out({"a": [np.array([None])]})


def test_a_model_with_weights_is_written_and_read_with_the_same_bits(stratifier, tmp_path):
    stratifier.write(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stratifier.json", "weights.safetensors"]
    content = (tmp_path / "weights.safetensors").read_bytes()
    state = json.loads((tmp_path / "stratifier.json").read_text())
    assert state["weights_sha256"] == hashlib.sha256(content).hexdigest()
    assert list(unpacked(content)) == ["risk/state/weights/layer~10"]
    patients = pd.DataFrame(np.random.default_rng(3).normal(size=(40, 2)), columns=["a", "b"])
    again = Stratifier.read(tmp_path)
    pd.testing.assert_frame_equal(again.predict(patients), stratifier.predict(patients), check_exact=True)
    assert again.written() == stratifier.written()
    assert again.extras == {"deep"}


@pytest.mark.parametrize("how", ["a bit", "another file", "no file"])
def test_weights_that_were_changed_are_refused_in_the_words_of_a_changed_state(stratifier, tmp_path, how):
    stratifier.write(tmp_path)
    path = tmp_path / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.unlink() if how == "no file" else path.write_bytes(content if how == "a bit" else b"pickle")
    with pytest.raises(ModelInputError, match=r"'weights.safetensors' was changed after it was written \(its sha256"):
        Stratifier.read(tmp_path)


def test_both_files_changed_to_fit_each_other_are_told_by_the_digest_that_was_logged(stratifier, tmp_path):
    data = tmp_path / "data" / "stratifier"
    stratifier.write(data)
    (tmp_path / "MLmodel").write_text(f"metadata:\n  trialml.model_sha256: {state_digest(data)}\n")
    assert Stratifier.read(tmp_path).study == "T"
    stratifier.risk.estimator.first = stratifier.risk.estimator.first * np.float32(2)
    stratifier.write(data)
    with pytest.raises(ModelInputError, match="was changed after it was written"):
        Stratifier.read(tmp_path)


def test_a_file_of_patients_scores_the_same_from_the_written_weights(stratifier, tmp_path):
    rows = pd.DataFrame(np.random.default_rng(4).normal(size=(300, 2)), columns=["a", "b"])
    rows.to_csv(tmp_path / "patients.csv", index=False)
    score_file(stratifier, str(tmp_path / "patients.csv"), tmp_path / "out.csv")
    scored = pd.read_csv(tmp_path / "out.csv", float_precision="round_trip")["risk"]
    read = pd.read_csv(tmp_path / "patients.csv", float_precision="round_trip")
    np.testing.assert_array_equal(scored, stratifier.predict(read)["risk"])


def test_without_the_extra_loading_says_which_to_install(stratifier, tmp_path, monkeypatch):
    stratifier.write(tmp_path)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(
        ModelInputError, match=r"product needs torch, which is not installed: pip install 'trialml\[deep\]'"
    ):
        Stratifier.read(tmp_path)


def test_asking_for_a_model_of_an_absent_extra_says_which_to_install(stratifier, monkeypatch):
    monkeypatch.setattr(trialml.models, "_there", lambda package: package not in ("torch", "safetensors"))
    with pytest.raises(
        StudyFileError,
        match=r"\[models.risk\] candidates = 'product' cannot be used here. The model product needs safetensors and torch, which "
        r"are not installed: pip install 'trialml\[deep\]', or choose another model.",
    ):
        usable_model("product", "risk", key="candidates")
    assert usable_model("cox_ridge", "risk").name == "cox_ridge"


def test_every_model_is_known_and_no_command_fails_to_load_where_the_extra_is_blocked():
    """A finder refuses the packages; a module that is None would trip scipy, which looks at torch's."""
    code = (
        "import sys\n"
        "class Blocked:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'tabicl', 'safetensors'):\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Blocked())\n"
        "import trialml.cli, trialml.study, trialml.scoring, trialml.models as m\n"
        "assert 'cox_ridge' in m.models_for('risk') and m.models_for('response')\n"
        "print(sorted({'torch', 'tabicl', 'safetensors'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
