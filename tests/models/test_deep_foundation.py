"""A foundation model in context: from a file at hand, weighted for censoring, and without a patient in its state."""

import hashlib
import json
import socket

import numpy as np
import pandas as pd
import pytest

from trialml.errors import AnalysisError, ModelInputError
from trialml.models.deep_foundation import FoundationSurvival, _rising, _systematic
from trialml.models.outcome import survival_outcome

torch = pytest.importorskip("torch", reason="torch, of the extra [foundation], is not installed")
pytest.importorskip("tabicl", reason="tabicl, of the extra [foundation], is not installed")

TINY = {
    "embed_dim": 16, "col_num_blocks": 1, "col_nhead": 2, "col_num_inds": 4, "row_num_blocks": 1, "row_nhead": 2,
    "row_num_cls": 2, "icl_num_blocks": 1, "icl_nhead": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A network as it comes from the generator, its zeros made random: then the context matters."""
    from tabicl._model.tabicl import TabICL

    torch.manual_seed(1)
    network = TabICL(**TINY)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.ckpt"
    torch.save({"config": TINY, "state_dict": network.state_dict()}, path)
    return path


@pytest.fixture(scope="module")
def trial():
    rng = np.random.default_rng(3)
    X = pd.DataFrame({"age": rng.normal(60, 9, 90), "site": rng.choice(["lung", "liver"], 90)})
    X.loc[0, "age"] = np.nan
    event, censored = rng.exponential(20, 90), rng.exponential(40, 90)
    return X.assign(arm=rng.integers(0, 2, 90)), survival_outcome(np.minimum(event, censored), event <= censored)


@pytest.fixture(scope="module")
def fitted(checkpoint, trial):
    return FoundationSurvival(treatment="arm", checkpoint=checkpoint, grid=3, members=2, seed=1).fit(*trial)


def test_nothing_is_fetched_from_anywhere(checkpoint, trial, monkeypatch):
    def called(*args, **kwargs):
        pytest.fail("the network was called")

    monkeypatch.setattr(socket.socket, "connect", called)
    monkeypatch.setattr(socket, "getaddrinfo", called)
    monkeypatch.setattr("tabicl._sklearn.classifier.hf_hub_download", called)
    model = FoundationSurvival(treatment="arm", checkpoint=checkpoint, horizons=[10.0], members=1).fit(*trial)
    assert np.isfinite(model.risk(trial[0][:3], 10.0)).all()


def test_survival_starts_at_1_never_rises_and_differs_between_patients(fitted, trial):
    curve = fitted.survival(trial[0][:10], np.linspace(0, fitted.horizon_limit_, 30))
    assert (curve[:, 0] == 1).all()
    assert (np.diff(curve, axis=1) <= 1e-12).all()
    assert ((curve >= 0) & (curve <= 1)).all()
    assert np.ptp(curve[:, -1]) > 1e-4, "the checkpoint reads the covariates"
    np.testing.assert_allclose(fitted.risk(trial[0][:10], fitted.horizon_limit_), 1 - curve[:, -1], atol=1e-12)
    with pytest.raises(AnalysisError, match="choose a horizon within the follow-up"):
        fitted.risk(trial[0][:2], fitted.horizon_limit_ * 2)


def test_the_seed_gives_the_bits_again_and_the_draws_their_error(fitted, checkpoint, trial):
    again = FoundationSurvival(treatment="arm", checkpoint=checkpoint, grid=3, members=2, seed=1).fit(*trial)
    np.testing.assert_array_equal(again.predict(trial[0][:5]), fitted.predict(trial[0][:5]))
    error = fitted.resampling_error(trial[0][:5])
    two = fitted._risks(trial[0][:5])
    # With two draws the standard error is half their distance.
    np.testing.assert_allclose(error, np.abs(two[0] - two[1]) / 2, atol=1e-12)


def test_rows_are_drawn_as_often_as_their_weights_say():
    """The mean over seeds is the expectation m w / sum(w); one draw is within one of it, and weight 0 is never drawn."""
    rng = np.random.default_rng(5)
    weight = rng.exponential(1, 40) * (rng.random(40) < 0.8)
    expected = 40 * weight / weight.sum()
    counts = np.array(
        [np.bincount(_systematic(weight, 10_000, np.random.default_rng(s)), minlength=40) for s in range(2000)]
    )
    assert (np.abs(counts - expected) < 1).all()
    assert (counts[:, weight == 0] == 0).all()
    # A count of floor or ceil has a standard deviation of 1/2 at most; 5 of them over 2,000 seeds.
    assert (np.abs(counts.mean(axis=0) - expected) < 5 * 0.5 / np.sqrt(2000)).all()
    assert len(_systematic(weight, 7, rng)) == 7


def test_risks_that_fall_are_pooled():
    np.testing.assert_allclose(_rising(np.array([[0.1, 0.4, 0.2, 0.5], [0.3, 0.2, 0.1, 0.0]])),
                               [[0.1, 0.3, 0.3, 0.5], [0.15] * 4])  # fmt: skip


def test_the_state_holds_no_patient_and_scores_with_its_own_files_alone(fitted, checkpoint, trial, tmp_path):
    text = json.dumps(fitted.state())
    ages = trial[0]["age"].dropna()
    assert not any(f"{age}" in text for age in ages)
    assert fitted.state()["checkpoint_sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert fitted.state()["licence"] == "not stated"
    again = FoundationSurvival.from_state(json.loads(text))
    with pytest.raises(ModelInputError, match="patients' data and stays outside the registry"):
        again.predict(trial[0][:5])
    context = tmp_path / "context.safetensors"
    fitted.write_context(context)
    assert hashlib.sha256(context.read_bytes()).hexdigest() == fitted.context_sha256_
    np.testing.assert_array_equal(again.attach(checkpoint, context).predict(trial[0][:5]), fitted.predict(trial[0][:5]))
    context.write_bytes(context.read_bytes() + b" ")
    with pytest.raises(ModelInputError, match=r"context '.*' has the sha256"):
        FoundationSurvival.from_state(json.loads(text)).attach(checkpoint, context)


def test_a_checkpoint_that_is_absent_another_or_of_another_shape_is_refused(checkpoint, trial, tmp_path):
    def refused(words, **asked):
        with pytest.raises(ModelInputError, match=words):
            FoundationSurvival(treatment="arm", **asked).fit(*trial)

    refused("checkpoint: no file is named, and none is ever downloaded")
    refused("is no file, and none is ever downloaded", checkpoint=tmp_path / "absent.ckpt")
    refused("has the sha256 .*, not 0000", checkpoint=checkpoint, sha256="0" * 64)
    torch.save({"config": TINY | {"embed_dim": 32}, "state_dict": torch.load(checkpoint)["state_dict"]}, tmp_path / "a")
    refused("has not the shape of a TabICL classifier", checkpoint=tmp_path / "a")
    from tabicl._model.tabicl import TabICL

    regression = TINY | {"max_classes": 0}
    torch.save({"config": regression, "state_dict": TabICL(**regression).state_dict()}, tmp_path / "c")
    refused("is of a regression, with no classes", checkpoint=tmp_path / "c")
    (tmp_path / "b").write_bytes(b"no checkpoint")
    refused("has not the shape of a TabICL classifier", checkpoint=tmp_path / "b")
