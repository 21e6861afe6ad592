"""Optimism by the bootstrap: R's rms on the same samples, the definition by hand, copies kept together, order of work."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trialml.data.folds import fold_labels, splits
from trialml.errors import AnalysisError
from trialml.models.cox_ridge import CoxRidge
from trialml.models.outcome import survival_outcome
from trialml.result import Result
from trialml.survival.brier import brier
from trialml.survival.concordance import concordance
from trialml.survival.cox_fit import fit_cox
from trialml.validation.optimism import bootstrap_rows, cox_fit, optimism

REFERENCE = Path(__file__).parents[1] / "reference"


def trial(n=200, p=4, seed=3, effect=0.5):
    draw = np.random.default_rng(seed)
    X = pd.DataFrame(draw.normal(size=(n, p)), columns=[f"x{k}" for k in range(p)])
    time, last = draw.exponential(np.exp(-effect * X["x0"])), draw.uniform(0.3, 3, n)
    return X, np.minimum(time, last), np.asarray(time <= last)


@pytest.fixture(scope="module")
def case():
    stored = json.loads((REFERENCE / "optimism.json").read_text(encoding="utf-8"))
    data = pd.read_csv(REFERENCE / "data" / "gbsg2_split.csv").head(300)
    X = data.assign(hormone=(data["horTh"] == "yes").astype(float))[
        ["hormone", "age", "pnodes", "progrec", "estrec", "tsize"]
    ]
    time, event = data["time"].to_numpy(float), data["cens"].to_numpy(bool)
    found = optimism(cox_fit(X, time, event), X, time, event, horizon=1000, unit="days", samples=stored["samples"])
    return stored, found


def test_every_sample_agrees_with_coxph_and_concordance_of_r(case):
    stored, found = case
    assert found.failed == 0
    assert np.allclose(found.samples["Harrell's C in sample"], stored["C_sample"], rtol=1e-7)
    assert np.allclose(found.samples["Harrell's C in original"], stored["C_original"], rtol=1e-7)
    assert np.allclose(found.samples["calibration slope in original"], stored["slope_original"], rtol=1e-7)
    assert np.allclose(found.samples["calibration slope in sample"], 1, rtol=1e-7)


def test_rms_validate_on_the_same_samples_differs_by_what_its_early_stop_costs(case):
    """validate() stops a sample's fit once the log-likelihood moves by 1e-4 of itself. With that rule R's own coxph gives its
    numbers to ten digits (`stopped_early`); driven to the root, on the same samples, R gives ours."""
    stored, found = case
    c, slope = found.measures.iloc[0], found.measures.iloc[1]
    dxy, slopes, early = stored["validate"]["Dxy"], stored["validate"]["Slope"], stored["stopped_early"]
    assert 2 * c["apparent"] - 1 == pytest.approx(dxy["index.orig"], rel=1e-7)
    assert 2 * early["C_original"] - 1 == pytest.approx(dxy["test"], rel=1e-10)
    assert early["slope_original"] == pytest.approx(slopes["test"], rel=1e-10)
    stop = np.mean(stored["slope_original"]) - early["slope_original"]
    assert slope["corrected"] - slopes["index.corrected"] == pytest.approx(stop, rel=1e-6)
    assert abs(stop) < 0.02
    assert c["corrected"] == pytest.approx((dxy["index.corrected"] + 1) / 2, abs=1e-3)


def test_all_four_measures_of_a_sample_and_the_shifted_interval_by_their_definition():
    X, time, event = trial()
    found = optimism(cox_fit(X, time, event), X, time, event, horizon=1.0, unit="years", tau=1.0, bootstraps=25, seed=4)
    gaps, inside = [], []
    for rows in bootstrap_rows(200, 25, 4):
        model = cox_fit(X, time, event)(rows)
        pair = []
        for own in (rows, np.arange(200)):
            score = model.log_hazard(X.iloc[own])
            scored = brier(time[own], event[own], model.risk(X.iloc[own], 1.0), 1.0)
            slope = fit_cox(time[own], event[own], score[:, None]).coefficients[0]
            pair.append([concordance(time[own], event[own], score, tau=1.0).value, slope, scored.value, scored.ipa])
        gaps.append(np.subtract(*pair))
        inside.append(pair[0])
    mean = np.mean(gaps, axis=0)
    assert np.allclose(found.measures["optimism"], mean, rtol=1e-8, atol=1e-10)
    assert np.allclose(found.measures["mc_error"], np.std(gaps, axis=0, ddof=1) / 5, rtol=1e-7, atol=1e-10)
    for k in (0, 2, 3):
        limits = np.quantile([row[k] for row in inside], [0.025, 0.975]) - mean[k]
        assert found.measures.loc[k, ["low", "high"]].to_list() == pytest.approx(limits.tolist(), rel=1e-8)


def test_covariates_of_no_meaning_have_optimism_and_are_corrected_towards_no_discrimination():
    X, time, event = trial(150, 10, effect=0.0)
    found = optimism(cox_fit(X, time, event), X, time, event, horizon=1.0, unit="years", bootstraps=60)
    c = found.estimate("Harrell's C")
    assert found.measures["apparent"][0] > 0.57
    assert abs(c.value - 0.5) < 0.05
    assert c.kind == "corrected"
    assert 0 < c.mc_error < 0.01
    assert found.estimate("calibration slope").value < 0.7


def test_the_numbers_do_not_depend_on_the_number_of_processes():
    X, time, event = trial()
    arguments = {"horizon": 1.0, "unit": "years", "bootstraps": 20, "seed": 9}
    ticks = []
    one = optimism(cox_fit(X, time, event), X, time, event, **arguments, advance=lambda: ticks.append(1))
    two = optimism(cox_fit(X, time, event), X, time, event, **arguments, workers=2)
    assert len(ticks) == 20
    pd.testing.assert_frame_equal(one.samples, two.samples, check_exact=True)


def test_copies_of_a_patient_are_never_in_training_and_test_of_an_inner_fold():
    rows = bootstrap_rows(80, 20, 1)[0]
    cells = np.where(rows % 3 == 0, "a", "b")
    fold = fold_labels(cells, 5, 2, groups=rows)
    for train, test in splits(fold):
        assert not set(rows[train]) & set(rows[test])
    assert sorted(set(fold)) == [0, 1, 2, 3, 4]
    every = np.arange(80)
    assert np.array_equal(fold_labels(every % 3, 5, 2, groups=every), fold_labels(every % 3, 5, 2))


def test_the_package_model_tunes_with_copies_together(monkeypatch):
    X, time, event = trial(60)
    seen = []

    def spy(cells, folds, seed, groups=None):
        seen.append(groups)
        return fold_labels(cells, folds, seed, groups)

    monkeypatch.setattr("trialml.models.cox_model.fold_labels", spy)
    rows = bootstrap_rows(60, 20, 1)[0]
    CoxRidge(penalties=(1.0, 10.0)).fit(X.iloc[rows], survival_outcome(time[rows], event[rows]))
    CoxRidge(penalties=(1.0, 10.0)).fit(X, survival_outcome(time, event))
    assert np.array_equal(seen[0], rows)
    assert seen[1] is None


def test_whole_patients_are_drawn_where_a_patient_has_several_rows():
    groups = np.repeat(["u", "v", "w", "x"], [1, 2, 3, 4])
    for rows in bootstrap_rows(10, 20, 1, groups):
        counts = np.bincount(rows, minlength=10)
        assert all(len(set(counts[groups == name])) == 1 for name in "uvwx")


def test_a_model_that_fails_too_often_or_too_few_samples_are_refused():
    X, time, event = trial(60)
    fit, calls = cox_fit(X, time, event), []

    def frail(rows):
        calls.append(1)
        if len(calls) > 1:
            raise AnalysisError("no")
        return fit(rows)

    with pytest.raises(AnalysisError, match="20 of 20 bootstrap samples"):
        optimism(frail, X, time, event, horizon=1.0, unit="years", bootstraps=20)
    with pytest.raises(AnalysisError, match="3 bootstrap samples say too little"):
        optimism(fit, X, time, event, horizon=1.0, unit="years", bootstraps=3)


def test_the_result_returns_from_json_and_says_its_kind(case):
    found = case[1]
    back = Result.from_dict(json.loads(json.dumps(found.to_dict())))
    assert back.text() == found.text()
    assert "harrell_c_corrected_low" in found.scalars()
    assert len(found.table()) == 4
