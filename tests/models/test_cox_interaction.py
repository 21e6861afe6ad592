"""A Cox model with treatment-by-covariate interactions: R's coefficients, penalties, restricted means, shrinkage."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trialml.data.folds import fold_labels
from trialml.errors import AnalysisError, DataError, ModelInputError
from trialml.models.cox_interaction import CoxInteraction
from trialml.models.outcome import scored_outcome, survival_outcome
from trialml.models.outcome_benefit import areas_to
from trialml.survival.cox import baseline_cumulative_hazard, fit_cox

REFERENCE = Path(__file__).parent.parent / "reference"
FREE = {"prognosis_penalties": (0.0,), "modification_penalties": (0.0,), "repeats": 1, "folds": 2}


def trial(n, seed, modified=0.8, p=3):
    generator = np.random.default_rng(seed)
    X = pd.DataFrame(generator.normal(size=(n, p)), columns=[f"x{j}" for j in range(p)])
    arm = generator.permutation(np.arange(n) % 2)
    rate = np.exp(0.5 * X["x0"] - arm * (0.3 + modified * X["x1"]))
    time, last = generator.exponential(1 / rate), generator.uniform(0.5, 3, n)
    truth = 0.2 + 0.3 * modified * X["x1"].to_numpy()
    scores = truth + generator.normal(scale=0.8, size=n)
    y = scored_outcome(survival_outcome(np.minimum(time, last), time <= last), scores)
    return X.assign(arm=arm.astype(float)), y


def test_without_penalties_the_log_hazard_ratios_are_those_of_coxph():
    """Oracle: R's coxph(Surv(time, event) ~ w * x7 + x2) on the simulated trial (survival 3.5.3)."""
    coef = json.loads((REFERENCE / "resp_rct_cox_interaction.json").read_text())["outputs"]["coef"]
    table = pd.read_csv(REFERENCE / "data" / "rct_sim.csv")
    X = table[["x7", "x2", "w"]]
    y = scored_outcome(survival_outcome(table["time"], table["event"] == 1), np.zeros(len(table)))
    model = CoxInteraction(treatment="w", modifiers=("x7",), **FREE).fit(X, y)
    new = pd.DataFrame({"x7": [0.0, 1.0], "x2": [0.0, 0.0]})
    np.testing.assert_allclose(model.log_hazard_ratio(new), [coef["w"], coef["w"] + coef["w:x7"]], rtol=1e-7)
    # Between patients of one arm: the main effects, and that of x7 as it is under treatment.
    control, treated = model.survival(pd.DataFrame({"x7": [0.0, 1.0, 0.0], "x2": [0.0, 0.0, 1.0]}), [12.0])
    hazard, under = -np.log(control[:, 0]), -np.log(treated[:, 0])
    np.testing.assert_allclose(np.log(hazard[1:] / hazard[0]), [coef["x7"], coef["x2"]], rtol=1e-7)
    np.testing.assert_allclose(
        np.log(under[1:] / under[0]), [coef["x7"] + coef["w:x7"], coef["x2"]], rtol=1e-7, atol=1e-10
    )


def test_the_benefit_is_the_area_between_the_two_curves_up_to_tau():
    """Oracle: step by step over the event times, from the coefficients and Breslow's baseline of an unpenalised fit."""
    X, y = trial(120, 1)
    tau = 0.9
    model = CoxInteraction(tau=tau, **FREE).fit(X, y)
    z = X[["x0", "x1", "x2"]].to_numpy()
    w = X["arm"].to_numpy() - 0.5
    design = np.column_stack([w, z, w[:, None] * z])
    beta = fit_cox(y["time"], y["event"], design).coefficients
    times, hazard = baseline_cumulative_hazard(y["time"], y["event"], design @ beta)
    contrast = []
    for row in z[:15]:
        means = []
        for side in (-0.5, 0.5):
            eta = np.concatenate([[side], row, side * row]) @ beta
            area, before, alive = 0.0, 0.0, 1.0
            for at, level in zip(times, hazard, strict=True):
                if at > tau:
                    break
                area += alive * (at - before)
                before, alive = at, np.exp(-level * np.exp(eta))
            means.append(area + alive * (tau - before))
        contrast.append(means[1] - means[0])
    said = model.benefit_score(X) - model.average_ + model.centre_
    np.testing.assert_allclose(said[:15], contrast, rtol=1e-7)


def test_without_an_event_before_tau_a_restricted_mean_is_tau():
    np.testing.assert_array_equal(areas_to(np.empty(0), np.empty((3, 0)), 2.5), [2.5, 2.5, 2.5])
    # By hand: 1 to 1, then 0.5 to 3.
    np.testing.assert_allclose(areas_to(np.array([1.0]), np.array([[0.5]]), 3.0), [2.0], rtol=1e-12)


def criterion(design, y, penalty):
    """The log-likelihood at the penalised maximum less tr(I (I + P)^-1), by definition."""
    from trialml.survival.cox_fit import CoxProblem

    problem = CoxProblem(y["time"], y["event"], design)
    likelihood, _, information = problem.derivatives(problem.fit(ridge=penalty).coefficients)
    return likelihood - np.trace(information @ np.linalg.inv(information + np.diag(penalty)))


def test_the_penalties_are_those_with_the_largest_likelihood_less_effective_parameters():
    X, y = trial(200, 2)
    grid = (1.0, 10.0, 100.0, 1000.0)
    model = CoxInteraction(prognosis_penalties=grid, modification_penalties=grid, repeats=1, folds=2).fit(X, y)
    z = model.learned_.encoder.transform(X)
    w = X["arm"].to_numpy() - 0.5
    main = np.column_stack([w, z])
    first = max(grid, key=lambda one: criterion(main, y, np.array([0.0] + 3 * [one])))
    design = np.column_stack([main, w[:, None] * z])
    second = max(grid, key=lambda one: criterion(design, y, np.array([0.0] + 3 * [first] + 3 * [one])))
    assert model.learned_.penalties == (first, second)
    beta = fit_cox(y["time"], y["event"], design, ridge=np.array([0.0] + 3 * [first] + 3 * [second])).coefficients
    np.testing.assert_allclose(model.learned_.modification, beta[4:], rtol=1e-6, atol=1e-10)
    np.testing.assert_allclose(model.learned_.prognosis, beta[1:4], rtol=1e-6, atol=1e-10)


def test_the_slope_is_that_of_the_scores_on_what_models_of_the_other_folds_say():
    X, y = trial(150, 3)
    settings = {"prognosis_penalties": (10.0,), "modification_penalties": (30.0,), "folds": 3, "tau": 1.0}
    model = CoxInteraction(repeats=1, seed=5, **settings).fit(X, y)
    source = np.random.default_rng(np.random.SeedSequence(5).spawn(1)[0])
    cells = np.char.add(X["arm"].eq(1).to_numpy().astype(np.str_), y["event"].astype(np.str_))
    fold = fold_labels(cells, 3, source)
    along = spread = 0.0
    for label in range(3):
        part = CoxInteraction(repeats=1, **settings).fit(X[fold != label], y[fold != label])
        out = part.benefit_score(X[fold == label])
        out = out - out.mean()
        along += out @ (y["score"][fold == label] - y["score"].mean())
        spread += out @ out
    assert model.slope_ == pytest.approx(along / spread, rel=1e-7)


def test_a_real_modification_is_kept_and_with_a_constant_ratio_the_prognosis_still_moves_the_benefit():
    X, y = trial(600, 4)
    model = CoxInteraction(repeats=2, tau=1.5).fit(X, y)
    assert model.shrinkage > 0.6
    assert np.corrcoef(model.predict(X), X["x1"])[0, 1] > 0.9
    same = CoxInteraction(repeats=1, tau=1.5, modification_penalties=(1e6,)).fit(*trial(600, 5, modified=0.0))
    assert np.ptp(same.log_hazard_ratio(X)) < 0.01
    assert same.benefit_score(X).std() > 0.01


def test_the_expected_benefit_averages_to_that_of_the_scores():
    X, y = trial(200, 6)
    model = CoxInteraction(repeats=1).fit(X, y)
    assert model.average_ == pytest.approx(y["score"].mean(), rel=1e-12)
    assert model.predict(X).mean() == pytest.approx(y["score"].mean(), rel=1e-10)
    assert model.tau_ == min(y["time"][X["arm"] == 1].max(), y["time"][X["arm"] == 0].max())


def test_what_it_cannot_use_is_refused_in_words():
    X, y = trial(100, 7)
    with pytest.raises(AnalysisError, match="tau is 9, but the follow-up of one arm ends at"):
        CoxInteraction(tau=9.0).fit(X, y)
    with pytest.raises(DataError, match="the modifier 'y1' is no covariate; the nearest name is 'x1'"):
        CoxInteraction(modifiers=("y1",)).fit(X, y)
    with pytest.raises(ModelInputError, match="'arm' is neither 0 nor 1 in 2 of 100 patients"):
        CoxInteraction().fit(X.assign(arm=np.where(np.arange(100) < 2, 2.0, X["arm"])), y)
    for copy in (1 - X["arm"], X["arm"].map({0.0: "old", 1.0: "new"}), X["arm"].where(X["arm"] > 0)):
        with pytest.raises(
            AnalysisError, match=r"'drug' has one value in all patients of one arm .* it is the treatment"
        ):
            CoxInteraction().fit(X.assign(drug=copy), y)
    with pytest.raises(ModelInputError, match="lack the column 'arm'"):
        CoxInteraction().fit(X.drop(columns="arm"), y)
    with pytest.raises(
        AnalysisError, match="An arm has 12 patients: a response model that learns from outcomes needs 20"
    ):
        CoxInteraction().fit(X.assign(arm=(np.arange(100) < 12).astype(float)), y)
    with pytest.raises(DataError, match="make y with scored_outcome"):
        CoxInteraction().fit(X, survival_outcome(y["time"], y["event"]))
    few = scored_outcome(survival_outcome(y["time"], np.arange(100) < 3), y["score"])
    with pytest.raises(AnalysisError, match="fitted to 3 events"):
        CoxInteraction().fit(X, few)
    with pytest.raises(AnalysisError, match=r"beyond tau = 0\.4"):
        CoxInteraction(tau=0.4, **FREE).fit(X, y).survival(X, [0.5])
