"""Covariates that a model on a linear predictor cannot use: refused, or left out and named, in words."""

import json

import numpy as np
import pandas as pd
import pytest

from trialml.errors import AnalysisError, ModelInputError
from trialml.models import model_named
from trialml.models.cause_specific_cox import CauseSpecificCox
from trialml.models.cox_elastic_net import CoxElasticNet
from trialml.models.cox_ridge import CoxRidge
from trialml.models.encode import CovariateEncoder
from trialml.models.fine_gray_ridge import FineGrayRidge
from trialml.models.linear_ridge import LinearRidge
from trialml.models.logistic_elastic_net import LogisticElasticNet
from trialml.models.logistic_ridge import LogisticRidge
from trialml.models.outcome import competing_outcome, survival_outcome, window_outcome
from trialml.survival.spline import restricted_cubic, spline_knots

SURVIVAL = [CoxRidge, CoxElasticNet]
COMPETING = [CauseSpecificCox, FineGrayRidge]
BINARY = [LogisticRidge, LogisticElasticNet]
EVERY = [*SURVIVAL, *COMPETING, *BINARY, LinearRidge]


def patients(n=200, seed=1):
    generator = np.random.default_rng(seed)
    X = pd.DataFrame({"age": generator.normal(60, 9, n), "marker": generator.normal(size=n)})
    time, last = generator.exponential(np.exp(-0.5 * X["marker"])), generator.uniform(0.3, 3, n)
    return X, np.minimum(time, last), time <= last


def outcome(kind, time, event):
    if kind in SURVIVAL:
        return survival_outcome(time, event)
    if kind in COMPETING:
        return competing_outcome(time, np.where(event, 1, np.where(np.arange(len(time)) % 3 == 0, 2, 0)))
    return event if kind in BINARY else np.log(time)


def predicted(kind, model, X):
    return model.risk(X, 0.3) if kind in SURVIVAL + COMPETING else model.predict(X)


def encoder_of(kind, model):
    return model.event_.encoder_ if kind is CauseSpecificCox else model.encoder_


@pytest.mark.parametrize("kind", EVERY)
def test_constant_missing_and_duplicate_columns_change_nothing_and_are_named(kind):
    X, time, event = patients()
    y = outcome(kind, time, event)
    odd = X.assign(flat=3.0, empty=np.nan, blank=None, twin=X["marker"], word="yes")
    plain, model = kind().fit(X, y), kind().fit(odd, y)
    np.testing.assert_allclose(predicted(kind, model, odd), predicted(kind, plain, X), rtol=1e-10)
    assert encoder_of(kind, model).dropped_ == {
        "flat": "the same in every patient",
        "empty": "missing in every patient",
        "blank": "missing in every patient",
        "twin": "a copy of 'marker'",
        "word": "the same in every patient",
    }
    kept = CovariateEncoder.from_state(json.loads(json.dumps(encoder_of(kind, model).state())))
    assert kept.dropped_ == encoder_of(kind, model).dropped_


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_column_that_predicts_perfectly_is_refused_by_name(kind, sign):
    X, time, event = patients()
    y = outcome(kind, time, event)
    if kind in BINARY:
        known = event.astype(float)
    else:
        known = np.log(time) if kind is LinearRidge else np.where(event, -time, -time.max())
    with pytest.raises(AnalysisError, match=r"'told' alone .* baseline value does"):
        kind().fit(X.assign(told=sign * known), y)


@pytest.mark.parametrize("kind", [*SURVIVAL, *COMPETING, *BINARY])
def test_a_rare_category_without_events_is_no_perfect_predictor(kind):
    X, time, event = patients()
    rare = np.zeros(len(X))
    rare[np.flatnonzero(~event)[:4]] = 1
    model = kind().fit(X.assign(rare=rare), outcome(kind, time, event))
    assert np.isfinite(predicted(kind, model, X.assign(rare=rare))).all()


@pytest.mark.parametrize("kind", EVERY)
def test_ten_thousand_categories_are_refused_unless_some_are_frequent(kind):
    X, time, event = patients(10_000)
    y = outcome(kind, time, event)
    names = np.array([f"c{place}" for place in range(10_000)], dtype=object)
    with pytest.raises(AnalysisError, match="'code' has 10,000 categories, none of them in 2 % of the patients"):
        kind().fit(X.assign(code=names), y)
    names[:5000] = "common"
    columns = CovariateEncoder().fit(X.assign(code=names)).get_feature_names_out()
    assert list(columns) == ["age", "marker", "code=other"]


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_values_are_refused_in_training_and_at_prediction(kind, value):
    X, time, event = patients()
    y = outcome(kind, time, event)
    bad = X.assign(age=np.where(np.arange(200) < 3, value, X["age"]))
    with pytest.raises(ModelInputError, match="'age' is infinite in 3 of 200 patients"):
        kind().fit(bad, y)
    model = kind().fit(X, y)
    with pytest.raises(ModelInputError, match="'age' is infinite in 3 of 200 patients"):
        predicted(kind, model, bad)


@pytest.mark.parametrize("kind", EVERY)
def test_a_frame_with_columns_missing_twice_or_of_another_type_is_refused(kind):
    X, time, event = patients()
    X = X.assign(site=np.where(np.arange(200) % 2, "a", "b"))
    model = kind().fit(X, outcome(kind, time, event))
    with pytest.raises(ModelInputError, match="lack the column 'marker'; the nearest name is 'markr'"):
        predicted(kind, model, X.rename(columns={"marker": "markr"}))
    with pytest.raises(ModelInputError, match="the column 'age' twice"):
        predicted(kind, model, pd.concat([X, X[["age"]]], axis=1))
    with pytest.raises(ModelInputError, match="'age' holds values that are no numbers"):
        predicted(kind, model, X.assign(age="old"))
    with pytest.raises(ModelInputError, match="'site' holds numbers, but the model learned it as text"):
        predicted(kind, model, X.assign(site=1.0))
    np.testing.assert_array_equal(predicted(kind, model, X[["site", "marker", "age"]]), predicted(kind, model, X))
    text = X.assign(age=X["age"].astype(str).astype(object))
    np.testing.assert_array_equal(predicted(kind, model, text), predicted(kind, model, X))


@pytest.mark.parametrize("kind", EVERY)
def test_an_arm_that_is_absent_or_neither_nought_nor_one_is_refused(kind):
    X, time, event = patients()
    y = outcome(kind, time, event)
    with pytest.raises(ModelInputError, match="lack the column 'arm'"):
        kind(treatment="arm").fit(X, y)
    with pytest.raises(ModelInputError, match="'arm' is neither 0 nor 1 in 200 of 200 patients"):
        kind(treatment="arm").fit(X.assign(arm="new"), y)
    with pytest.raises(ModelInputError, match="'arm' is neither 0 nor 1 in 1 of 200 patients"):
        kind(treatment="arm").fit(X.assign(arm=np.where(np.arange(200) == 7, np.nan, np.arange(200) % 2)), y)


@pytest.mark.parametrize("kind", EVERY)
def test_more_columns_than_patients_give_finite_predictions(kind):
    X, time, event = patients(60)
    generator = np.random.default_rng(2)
    X = X.assign(**{f"noise{place}": generator.normal(size=60) for place in range(80)})
    model = (kind() if kind is LinearRidge else kind(folds=3)).fit(X, outcome(kind, time, event))
    assert np.isfinite(predicted(kind, model, X)).all()


@pytest.mark.parametrize("kind", [*SURVIVAL, *COMPETING, *BINARY])
def test_five_events_are_fitted_with_shrinkage_though_folds_are_without_events_and_four_are_refused(kind):
    """With 10 folds, five of them hold no event."""
    X, time, event = patients()
    happened = np.flatnonzero(event)
    few = np.isin(np.arange(200), happened[:5])
    model = kind(folds=10).fit(X, outcome(kind, time, few))
    assert np.isfinite(predicted(kind, model, X)).all()
    if kind in (CoxRidge, LogisticRidge, FineGrayRidge):
        assert (
            np.abs(model.coefficients_).max()
            < np.abs(kind(penalties=(1e-3,)).fit(X, outcome(kind, time, few)).coefficients_).max()
        )
    with pytest.raises(AnalysisError, match="to 4 "):
        kind().fit(X, outcome(kind, time, np.isin(np.arange(200), happened[:4])))


@pytest.mark.parametrize("kind", SURVIVAL + COMPETING)
def test_a_horizon_before_which_all_are_censored_is_refused(kind):
    X, time, event = patients()
    model = kind().fit(X, outcome(kind, time, event))
    with pytest.raises(AnalysisError, match=r"A risk at 3\.5 was asked for, but the training data end at"):
        model.risk(X, 3.5)
    with pytest.raises(AnalysisError, match=r"0 patients are followed through the window 3\.5"):
        window_outcome(time, event, 3.5)


def test_unseen_and_rare_categories_are_flagged_and_read_as_other():
    X = pd.DataFrame({"site": ["lung"] * 60 + ["liver"] * 39 + ["skin"]})
    encoder = CovariateEncoder().fit(X)
    new = pd.DataFrame({"site": ["lung", "bone", "skin", None]})
    np.testing.assert_array_equal(encoder.unseen(new)["site"], [False, True, True, False])


def test_a_spline_has_its_knots_from_the_training_patients_who_have_a_value():
    """Oracle: `restricted_cubic`, which is compared with rms::rcspline.eval, standardised by hand."""
    X, _, _ = patients()
    X.loc[::5, "marker"] = np.nan
    X = X.assign(grade=np.arange(200) % 4)
    encoder = CovariateEncoder(knots=4).fit(X)
    names = [
        "age",
        "age (bend 1)",
        "age (bend 2)",
        "marker",
        "marker (bend 1)",
        "marker (bend 2)",
        "marker missing",
        "grade",
    ]
    assert list(encoder.get_feature_names_out()) == names
    known = X["marker"].dropna()
    filled = X["marker"].fillna(known.median())
    raw = restricted_cubic(filled, spline_knots(known, 4))
    np.testing.assert_allclose(encoder.transform(X)[:, 3:6], (raw - raw.mean(axis=0)) / raw.std(axis=0), rtol=1e-9)
    again = CovariateEncoder.from_state(json.loads(json.dumps(encoder.state())))
    np.testing.assert_array_equal(again.transform(X.iloc[:5]), encoder.transform(X)[:5])


def test_a_spline_finds_a_risk_that_no_line_can():
    generator = np.random.default_rng(5)
    X = pd.DataFrame({"x": generator.normal(size=600)})
    time = generator.exponential(np.exp(-(X["x"] ** 2)))
    y = survival_outcome(time, np.ones(600))
    line, bent = (CoxRidge(knots=knots).fit(X, y).score(X, y) for knots in (0, 4))
    assert line < 0.58 < 0.68 < bent


@pytest.mark.parametrize("kind", [*SURVIVAL, *COMPETING, *BINARY])
def test_copies_of_a_patient_stay_together_in_the_folds_of_the_tuning(kind, monkeypatch):
    """A bootstrap sample, seen through the folds: rows of one index share a fold."""
    from trialml.data import folds
    from trialml.models import cox_model, logistic_model

    X, time, event = patients()
    rows = np.random.default_rng(3).integers(0, 200, 200)
    seen = []

    def watched(*arguments):
        seen.append(folds.fold_labels(*arguments))
        return seen[-1]

    monkeypatch.setattr(cox_model, "fold_labels", watched)
    monkeypatch.setattr(logistic_model, "fold_labels", watched)
    kind(folds=3).fit(X.iloc[rows], outcome(kind, time, event)[rows])
    assert seen
    for fold in seen:
        assert pd.Series(fold).groupby(X.index[rows]).nunique().max() == 1


def test_copies_of_a_patient_are_left_out_together_by_the_linear_ridge():
    """Spelled out: all copies of a patient predicted from the other patients, by the normal equations."""
    X, time, _ = patients(40)
    rows = np.random.default_rng(4).integers(0, 40, 40)
    X, y = X.iloc[rows], np.log(time)[rows]
    model = LinearRidge().fit(X, y)
    design = np.column_stack([np.ones(40), model.encoder_.transform(X)])
    errors = []
    for penalty in model.penalties:
        ridge, total = 40 * penalty * np.diag([0, 1, 1]), 0.0
        for patient in set(rows):
            rest = rows != patient
            beta = np.linalg.solve(design[rest].T @ design[rest] + ridge, design[rest].T @ y[rest])
            total += ((y[~rest] - design[~rest] @ beta) ** 2).sum()
        errors.append(total)
    assert model.penalty_ == pytest.approx(model.penalties[int(np.argmin(errors))])


@pytest.mark.parametrize("name", ["linear_ridge", "boosted_continuous"])
def test_a_column_that_orders_a_continuous_outcome_without_an_error_is_refused(name):
    draw = np.random.default_rng(4)
    outcome = draw.normal(10, 2, 120)
    X = pd.DataFrame({"age": draw.normal(60, 9, 120), "later": -(outcome**3)})
    with pytest.raises(AnalysisError, match="'later' alone explains the outcome without an error"):
        model_named(name, "risk").estimator().fit(X, outcome)
