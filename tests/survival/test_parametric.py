"""Parametric survival regression against R's survreg (survival 3.5.3)."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trialml.errors import AnalysisError, DataError
from trialml.survival.parametric import parametric
from trialml.survival.parametric_fit import DISTRIBUTIONS, fit_parametric

DATA = Path(__file__).parents[1] / "reference" / "data"


def models():
    lung, breast = pd.read_csv(DATA / "lung.csv"), pd.read_csv(DATA / "gbsg2.csv")
    return {
        "lung": (lung["time"], lung["status"] == 2, lung[["age", "sex"]]),
        "gbsg2": (breast["time"], breast["cens"], breast[["horTh", "age", "pnodes"]]),
    }


def test_coefficients_scale_covariance_and_quantiles_are_survregs(reference_case):
    with reference_case("surv_survreg") as case:
        for distribution in DISTRIBUTIONS:
            for name, (time, event, covariates) in models().items():
                place = (distribution.replace("-", ""), name)
                found = parametric(time, event, covariates, distribution=distribution)
                free = distribution != "exponential"
                case.compare(found.frame()["coefficient"], *place, "coef", rtol=1e-5)
                case.compare(found.scale, *place, "scale", rtol=1e-5)
                case.compare(np.sqrt(np.diag(found.covariance)), *place, "se", rtol=1e-5)
                case.compare(found.covariance, *place, "vcov", rtol=1e-5)
                case.compare([found.log_likelihood_null, found.log_likelihood], *place, "loglik", rtol=1e-9)
                case.compare(
                    found.quantiles(covariates.head(3), [0.1, 0.5, 0.9]), *place, "predict_quantiles", rtol=1e-5
                )
                assert found.aic == -2 * found.log_likelihood + 2 * (len(found.frame()) + free)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_the_gradient_is_nothing_at_the_maximum_whatever_the_units(distribution):
    time, event, X = models()["lung"]
    plain = fit_parametric(time, event, X, distribution)
    scaled = fit_parametric(time * 365.25, event, X * [1e-4, 1e3], distribution)
    np.testing.assert_allclose(scaled.coefficients[1:] * [1e-4, 1e3], plain.coefficients[1:], rtol=1e-9)
    np.testing.assert_allclose(scaled.coefficients[0], plain.coefficients[0] + np.log(365.25), rtol=1e-9)
    np.testing.assert_allclose(scaled.scale, plain.scale, rtol=1e-9)


def test_exponential_rate_without_covariates_is_events_over_time():
    time, event, X = models()["lung"]
    found = fit_parametric(time, event, X.iloc[:, :0], "exponential")
    np.testing.assert_allclose(np.exp(-found.coefficients[0]), event.sum() / time.sum(), rtol=1e-12)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_doubled_weights_are_doubled_rows(distribution):
    time, event, X = models()["lung"]
    weighted = fit_parametric(time, event, X, distribution, weights=np.full(len(X), 2.0))
    doubled = fit_parametric(np.repeat(time, 2), np.repeat(event, 2), np.repeat(X.to_numpy(), 2, axis=0), distribution)
    np.testing.assert_allclose(weighted.coefficients, doubled.coefficients, rtol=1e-9)
    np.testing.assert_allclose(weighted.covariance, doubled.covariance, rtol=1e-8, atol=1e-12)


def test_survival_is_the_quantiles_inverse_and_its_limits_enclose_it():
    time, event, covariates = models()["gbsg2"]
    found = parametric(time, event, covariates, distribution="log-logistic")
    profiles = covariates.head(2).set_axis(["first", "second"])
    at = found.quantiles(profiles, [0.3])
    for place, name in enumerate(profiles.index):
        rows = found.survival(profiles.loc[[name]], at[place])
        np.testing.assert_allclose(rows["survival"], 0.7, rtol=1e-12)
        assert (rows["low"] < 0.7).all()
        assert (rows["high"] > 0.7).all()


def test_the_limits_of_survival_are_those_of_the_delta_method_by_differences():
    time, event, covariates = models()["lung"]
    found = parametric(time, event, covariates, distribution="weibull")
    rows = found.survival(covariates.head(1), 300.0).iloc[0]
    at = np.concatenate((found.frame()["coefficient"], [np.log(found.scale)]))

    def reach(b):
        return (np.log(300.0) - b[0] - covariates.iloc[0].to_numpy() @ b[1:3]) / np.exp(b[3])

    slope = np.array([(reach(at + 1e-6 * one) - reach(at - 1e-6 * one)) / 2e-6 for one in np.eye(4)])
    width = 1.959963984540054 * np.sqrt(slope @ found.covariance @ slope)
    wanted = np.exp(-np.exp(reach(at) + np.array([0, width, -width])))
    np.testing.assert_allclose(rows[["survival", "low", "high"]].to_numpy(float), wanted, rtol=1e-7)


def test_the_remission_models_of_kleinbaum_and_klein():
    """Chapter 7 of Survival Analysis: A Self-Learning Text (3rd ed., Springer 2012), data of Freireich et al. 1963."""
    drug = [35, 34, 32, 32, 25, 23, 22, 20, 19, 17, 16, 13, 11, 10, 10, 9, 7, 6, 6, 6, 6]
    relapse = [0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 1, 0, 1, 0, 1, 1, 1]
    placebo = [23, 22, 17, 15, 12, 12, 11, 11, 8, 8, 8, 8, 5, 5, 4, 4, 3, 2, 2, 1, 1]
    table = pd.DataFrame({"treated": np.repeat([1.0, 0.0], 21)})
    printed = {"exponential": (2.159, 1.527, 1.0), "weibull": (2.248, 1.267, 1 / 1.366)}
    for distribution, (intercept, treated, scale) in printed.items():
        found = parametric(drug + placebo, relapse + [1] * 21, table, distribution=distribution)
        np.testing.assert_allclose(found.frame()["coefficient"], [intercept, treated], atol=0.00051)
        assert found.scale == pytest.approx(scale, abs=0.0003)


def test_the_result_survives_json():
    found = parametric(*models()["gbsg2"], distribution="weibull")
    again = type(found).from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.text() == found.text()
    profile = models()["gbsg2"][2].head(1)
    pd.testing.assert_frame_equal(again.survival(profile, [365]), found.survival(profile, [365]))
    assert list(found.table()["Covariate"]) == ["horTh=yes", "age", "pnodes"]
    assert "scale" in found.scalars()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"distribution": "gamma"}, "distribution is 'gamma'"),
        ({"event": 0}, "none of the 228 patients has had the event"),
        ({"extra": 1.0}, "'extra' is the same in every row"),
        ({"extra": "copy"}, "linear combination"),
        ({"time": -1.0}, "must be above 0"),
        ({"weights": 0.0}, "weights must hold one number above 0"),
    ],
)
def test_bad_input_is_refused(change, message):
    time, event, X = models()["lung"]
    if "extra" in change:
        X = X.assign(extra=3 * X["age"] if change["extra"] == "copy" else change["extra"])
    time = time * 0 + change["time"] if "time" in change else time
    event = event & False if "event" in change else event
    weights = np.full(len(X), change["weights"]) if "weights" in change else None
    with pytest.raises((AnalysisError, DataError), match=message):
        parametric(time, event, X, distribution=change.get("distribution", "weibull"), weights=weights)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_a_column_that_separates_is_refused_and_never_a_number(distribution):
    rng = np.random.default_rng(2)
    arm = np.repeat([0.0, 1.0], 60)
    event = (arm == 1) & (rng.random(120) < 0.7)
    with pytest.raises(AnalysisError, match=r"runs away|did not converge|no maximum"):
        parametric(rng.exponential(5, 120), event, pd.DataFrame({"arm": arm}), distribution=distribution)


def test_a_profile_with_an_unknown_level_is_refused():
    found = parametric(*models()["gbsg2"], distribution="weibull")
    with pytest.raises(DataError, match="'horTh' = 'maybe'"):
        found.survival(pd.DataFrame({"horTh": ["maybe"], "age": [50], "pnodes": [1]}), [365])


@pytest.mark.parametrize("distribution", ["weibull", "log-normal", "log-logistic"])
def test_times_that_are_all_one_have_no_scale(distribution):
    """R's survreg returns scales of 1e-16 and 2e-23 and a coefficient of 3e6."""
    x = pd.DataFrame({"x": np.linspace(-1, 1, 40)})
    with pytest.raises(AnalysisError, match=f"every time is 7, so the {distribution} model has no scale"):
        parametric(np.full(40, 7.0), np.arange(40) % 2, x, distribution=distribution)
