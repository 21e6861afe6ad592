"""The censored Brier score against riskRegression::Score (2022.11.28)."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trialml.errors import AnalysisError, DataError
from trialml.survival.brier import brier
from trialml.survival.cox import baseline_cumulative_hazard, fit_cox
from trialml.survival.kaplan_meier import censoring_curve, step_at

REFERENCE = Path(__file__).parents[1] / "reference"


@pytest.fixture(scope="module")
def split():
    table = pd.read_csv(REFERENCE / "data" / "gbsg2_split.csv").assign(horTh=lambda d: (d["horTh"] == "yes") * 1.0)
    return table[table["train"]], table[~table["train"]]


@pytest.fixture(scope="module")
def oracle():
    return json.loads((REFERENCE / "surv_score_gbsg2.json").read_text())["outputs"]


def risks(split, columns, horizon):
    train, test = split
    beta = fit_cox(train["time"], train["cens"] == 1, train[columns]).coefficients
    score = train[columns].to_numpy() @ beta
    times, hazard = baseline_cumulative_hazard(train["time"], train["cens"] == 1, score)
    at = step_at(times, hazard, horizon, initial=0.0)
    return 1 - np.exp(-at * np.exp(test[columns].to_numpy() @ beta))


@pytest.mark.parametrize("horizon", [365, 730, 1095, 1461, 1826])
@pytest.mark.parametrize(("model", "columns"), [("full", ["horTh", "age", "pnodes", "progrec"]), ("nodes", ["pnodes"])])
def test_scores_errors_and_ipa_are_riskregressions(split, oracle, model, columns, horizon):
    """Score(..., cens.model = "km", se.fit = TRUE, summary = "ipa") on the test half, with the null model's."""
    rows = pd.DataFrame(oracle["Brier"])
    wanted = rows[rows["times"] == horizon].set_index("model")
    test = split[1]
    found = brier(test["time"], test["cens"] == 1, risks(split, columns, horizon), horizon)
    np.testing.assert_allclose(found.value, wanted["Brier"][model], rtol=1e-8)
    np.testing.assert_allclose(found.se, wanted["se"][model], rtol=1e-8)
    np.testing.assert_allclose(found.null, wanted["Brier"]["Null model"], rtol=1e-8)
    np.testing.assert_allclose(found.null_se, wanted["se"]["Null model"], rtol=1e-8)
    np.testing.assert_allclose(found.ipa, wanted["IPA"][model], rtol=1e-7)


def test_influences_of_two_models_give_the_error_of_their_difference(split, oracle):
    """Score()$Brier$contrasts: nodes against full."""
    rows = pd.DataFrame(json.loads(json.dumps(oracle["Brier_contrasts"])))
    test = split[1]
    for horizon in (730, 1461):
        full = brier(
            test["time"],
            test["cens"] == 1,
            risks(split, ["horTh", "age", "pnodes", "progrec"], horizon),
            horizon,
        )
        nodes = brier(test["time"], test["cens"] == 1, risks(split, ["pnodes"], horizon), horizon)
        wanted = rows[(rows["times"] == horizon) & (rows["model"] == "nodes") & (rows["reference"] == "full")].iloc[0]
        gap = nodes.influence - full.influence
        np.testing.assert_allclose(nodes.value - full.value, wanted["delta.Brier"], rtol=1e-7)
        np.testing.assert_allclose(np.std(gap, ddof=1) / np.sqrt(len(gap)), wanted["se"], rtol=1e-7)


def test_the_baseline_of_the_training_fit_gives_riskregressions_risks(split, oracle):
    """predictRisk(coxph(...), times = c(365, 1095, 1826)) of the first ten test patients."""
    wanted = np.array(oracle["risk_full_first10"]["rows"])
    columns = ["horTh", "age", "pnodes", "progrec"]
    found = np.column_stack([risks(split, columns, t)[:10] for t in (365, 1095, 1826)])
    np.testing.assert_allclose(found, wanted, rtol=1e-7)


def test_without_censoring_it_is_the_mean_square():
    rng = np.random.default_rng(3)
    time, risk = rng.exponential(10, 200), rng.random(200)
    found = brier(time, np.ones(200, bool), risk, 5.0)
    square = ((time <= 5) - risk) ** 2
    assert found.value == pytest.approx(square.mean(), abs=1e-14)
    assert found.se == pytest.approx(square.std(ddof=1) / np.sqrt(200), abs=1e-14)
    assert found.null == pytest.approx(found.null_risk * (1 - found.null_risk))


def test_the_error_is_that_of_the_jackknife():
    """Leaving out each patient in turn, censoring curve and all: the same error to 1 part in 100."""
    rng = np.random.default_rng(4)
    n = 300
    risk = rng.random(n)
    time, cut = rng.exponential(1 / (0.2 + risk)), rng.exponential(2.0, n)
    event, time = time <= cut, np.minimum(time, cut)
    full = brier(time, event, risk, 1.0, null_risk=0.4)
    without = [brier(np.delete(time, i), np.delete(event, i), np.delete(risk, i), 1.0, null_risk=0.4) for i in range(n)]
    left_out = np.array([(found.value, found.null, found.ipa) for found in without])
    jackknife = np.sqrt((n - 1) ** 2 / n * left_out.var(axis=0, ddof=1))
    np.testing.assert_allclose([full.se, full.null_se, full.ipa_se], jackknife, rtol=0.01)


def test_a_censoring_curve_and_a_null_risk_can_come_from_the_training_data(split):
    train, test = split
    curve = censoring_curve(train["time"], train["cens"] == 1)
    risk = risks(split, ["pnodes"], 730)
    own = brier(test["time"], test["cens"] == 1, risk, 730)
    other = brier(test["time"], test["cens"] == 1, risk, 730, censoring=curve, null_risk=0.2)
    assert other.null_risk == 0.2
    assert other.value != own.value
    assert other.value == pytest.approx(own.value, rel=0.1)


def test_what_cannot_be_scored_is_refused(split):
    test = split[1]
    event = test["cens"] == 1
    with pytest.raises(AnalysisError, match="at least 10"):
        brier(test["time"], event, np.full(len(test), 0.5), 2600)
    with pytest.raises(DataError, match="between 0 and 1"):
        brier(test["time"], event, np.full(len(test), 1.5), 730)
    with pytest.raises(DataError, match="finite number"):
        brier(test["time"], event, np.full(len(test), np.nan), 730)
