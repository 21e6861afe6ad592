"""Concordance against R's survival::concordance (3.5.3) and against counting every pair."""

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trialml.errors import AnalysisError, DataError
from trialml.survival.concordance import concordance
from trialml.survival.cox import fit_cox
from trialml.survival.kaplan_meier import censoring_curve, step_at

REFERENCE = Path(__file__).parents[1] / "reference"


@pytest.fixture(scope="module")
def scored():
    gbsg2 = pd.read_csv(REFERENCE / "data" / "gbsg2.csv").assign(horTh=lambda d: d["horTh"] == "yes")
    lung = pd.read_csv(REFERENCE / "data" / "lung.csv").dropna(subset=["ph.ecog"])
    found = {}
    for name, table, event, columns in (
        ("gbsg2", gbsg2, gbsg2["cens"] == 1, ["horTh", "age", "pnodes", "progrec"]),
        ("lung", lung, lung["status"] == 2, ["age", "sex", "ph.ecog"]),
    ):
        X = table[columns].astype(float)
        risk = X.to_numpy() @ fit_cox(table["time"], event, X).coefficients
        found[name] = (table["time"].to_numpy(float), event.to_numpy(), risk)
    return found


@pytest.mark.parametrize(
    ("case", "weighting", "tau"),
    [
        ("gbsg2_harrell", "harrell", None),
        ("gbsg2_uno", "uno", None),
        ("gbsg2_uno_ymax1826", "uno", 1826),
        ("lung_harrell", "harrell", None),
        ("lung_uno", "uno", None),
    ],
)
def test_value_and_error_are_survivals(scored, case, weighting, tau):
    """concordance(coxph(...), timewt = "n" or "n/G2", ymax = tau): value and infinitesimal-jackknife error."""
    wanted = json.loads((REFERENCE / "surv_concordance.json").read_text())["outputs"][case]
    found = concordance(*scored[case.split("_")[0]], weighting=weighting, tau=tau)
    np.testing.assert_allclose([found.value, found.se], [wanted["concordance"], wanted["se"]], rtol=1e-8)
    if weighting == "harrell":
        assert found.comparable == sum(wanted["counts"][key] for key in ("concordant", "discordant", "tied.x"))


def test_actg175_agrees_with_survival():
    """tests/reference/actg175.R: a Cox model of age, CD4 and Karnofsky over all arms; Harrell, and Uno to 1,000."""
    wanted = json.loads((REFERENCE / "actg175.json").read_text())["concordance"]
    trial = pd.read_csv(str(files("lifelines") / "datasets" / "ACTG175.csv"))
    X, event = trial[["age", "cd40", "karnof"]], trial["cens"] == 1
    risk = X.to_numpy(float) @ fit_cox(trial["days"], event, X).coefficients
    harrell = concordance(trial["days"], event, risk)
    uno = concordance(trial["days"], event, risk, weighting="uno", tau=1000)
    np.testing.assert_allclose(
        [harrell.value, harrell.se, uno.value, uno.se],
        [wanted[key] for key in ("value", "se", "uno_1000", "uno_1000_se")],
        rtol=1e-8,
    )


def pair_by_pair(time, event, risk, weight):
    """Return the concordance, its influences and the number of comparable pairs by looking at each pair."""
    n = len(time)
    won, taken, pairs = np.zeros(n), np.zeros(n), 0
    for i in range(n):
        for j in range(n):
            if event[i] and (time[j] > time[i] or (time[j] == time[i] and not event[j])) and weight[i] > 0:
                score = weight[i] * (1.0 if risk[i] > risk[j] else 0.5 if risk[i] == risk[j] else 0.0)
                pairs += 1
                for k in (i, j):
                    won[k] += score
                    taken[k] += weight[i]
    value = won.sum() / taken.sum()
    return value, (won - value * taken) / (taken.sum() / 2), pairs


@pytest.mark.parametrize("seed", range(12))
def test_merging_counts_what_looking_at_each_pair_counts(seed):
    """Small samples full of tied times and tied risks, both weightings."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 70))
    time, risk = rng.integers(1, 12, n).astype(float), rng.integers(0, 5, n).astype(float)
    event = rng.random(n) < 0.6
    time[0], event[0], time[1] = 1.0, True, 5.0
    curve = censoring_curve(time, event)
    uno = step_at(curve.time, curve.survival, time, left=True)
    weights = {"harrell": np.ones(n), "uno": np.where(uno > 0, np.maximum(uno, 1e-9), 1.0) ** -2}
    tau = float(rng.integers(3, 12))
    for weighting, weight in weights.items():
        found = concordance(time, event, risk, weighting=weighting, tau=tau)
        value, influence, pairs = pair_by_pair(time, event, risk, np.where(time <= tau, weight, 0.0))
        assert found.comparable == pairs
        np.testing.assert_allclose(found.value, value, rtol=1e-12)
        np.testing.assert_allclose(found.influence, influence, atol=1e-13)


def test_turning_the_score_round_mirrors_the_value(scored):
    time, event, risk = scored["gbsg2"]
    up, down = concordance(time, event, risk), concordance(time, event, -risk)
    assert up.value + down.value == pytest.approx(1, abs=1e-14)
    assert up.se == pytest.approx(down.se)


def test_the_influences_add_up_to_nothing(scored):
    assert abs(concordance(*scored["gbsg2"], weighting="uno").influence.sum()) < 1e-12


def test_a_constant_score_is_one_half():
    found = concordance([1, 2, 3, 4], [True, True, False, True], [7, 7, 7, 7])
    assert (found.value, found.se) == (0.5, 0.0)


def test_unusable_scores_are_refused():
    with pytest.raises(DataError, match="finite number"):
        concordance([1, 2], [True, False], [0.1, np.nan])
    with pytest.raises(DataError, match="harrell"):
        concordance([1, 2], [True, False], [0.1, 0.2], weighting="gini")
    with pytest.raises(AnalysisError, match="no two patients"):
        concordance([1, 1], [True, True], [0.1, 0.2])
