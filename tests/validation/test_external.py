"""Patients of another site, time or study: closed forms of the pooled mean, sites by hand, splits by date."""

import json

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy import stats

from trialml.errors import AnalysisError, DataError
from trialml.result import Result
from trialml.survival.calibration import calibration_slope, observed_over_expected
from trialml.survival.concordance import concordance
from trialml.survival.cox_fit import fit_cox
from trialml.survival.kaplan_meier import kaplan_meier
from trialml.validation.external import external_performance, internal_external, pooled_mean, temporal_split
from trialml.validation.optimism import cox_fit
from trialml.validation.performance import performance


def trial(n=300, seed=3):
    draw = np.random.default_rng(seed)
    X = pd.DataFrame(draw.normal(size=(n, 2)), columns=["a", "b"])
    time, last = draw.exponential(np.exp(-0.7 * X["a"])), draw.uniform(0.5, 3, n)
    return X, np.minimum(time, last), np.asarray(time <= last), draw.choice(["u", "v", "w", "x"], n)


def test_with_equal_errors_the_pooled_mean_has_a_closed_form():
    """Paule-Mandel's variance is then var(y) - se^2, the mean the plain one, its error sd / sqrt(k)."""
    y, se = np.array([0.2, 0.9, 0.5, 1.4, 0.1]), np.full(5, 0.2)
    found = pooled_mean(y, se)
    assert found.value == pytest.approx(y.mean(), rel=1e-8)
    assert found.tau == pytest.approx(np.sqrt(y.var(ddof=1) - 0.04), rel=1e-8)
    error = y.std(ddof=1) / np.sqrt(5)
    assert found.high == pytest.approx(y.mean() + stats.t(4).ppf(0.975) * error, rel=1e-8)
    assert found.new_low == pytest.approx(y.mean() - stats.t(3).ppf(0.975) * np.sqrt(found.tau**2 + error**2), rel=1e-8)


def test_the_between_site_variance_solves_its_equation_and_is_0_where_sites_agree():
    y, se = np.array([0.2, 0.9, 0.5, 1.4]), np.array([0.1, 0.3, 0.2, 0.4])
    found = pooled_mean(y, se)
    w = 1 / (se**2 + found.tau**2)
    assert np.sum(w * (y - np.average(y, weights=w)) ** 2) == pytest.approx(3, rel=1e-8)
    same = pooled_mean(np.full(4, 0.7), se)
    assert same.tau == 0
    assert same.high - same.value == pytest.approx(stats.t(3).ppf(0.975) / np.sqrt(np.sum(se**-2.0)), rel=1e-8)
    with pytest.raises(DataError, match="2 sites"):
        pooled_mean([1, 2], [1, 1])


def test_each_site_is_judged_by_a_model_of_the_others():
    X, time, event, site = trial()
    found = internal_external(cox_fit(X, time, event), X, time, event, site)
    for row in found.sites.itertuples():
        own = site == row.site
        beta = fit_cox(time[~own], event[~own], X[~own]).coefficients
        score = X[own].to_numpy() @ beta
        assert row.harrell_c == pytest.approx(concordance(time[own], event[own], score).value, rel=1e-8)
        assert row.slope == pytest.approx(fit_cox(time[own], event[own], score[:, None]).coefficients[0], rel=1e-7)
        assert row.n == own.sum()
    c = found.estimate("Harrell's C")
    assert c.low < c.value < c.high
    assert c.kind == "external"
    assert Result.from_dict(json.loads(json.dumps(found.to_dict()))).text() == found.text()
    found.draw(Figure())
    two = internal_external(cox_fit(X, time, event), X, time, event, site, workers=2)
    pd.testing.assert_frame_equal(found.sites, two.sites, check_exact=True)


def test_small_sites_are_learned_from_and_not_judged_and_too_few_sites_are_refused():
    X, time, event, site = trial()
    site[:8] = "tiny"
    assert internal_external(cox_fit(X, time, event), X, time, event, site).left_out == 1
    with pytest.raises(AnalysisError, match="2 of 2 sites"):
        internal_external(cox_fit(X, time, event), X, time, event, np.where(site == "u", "u", "rest"))
    with pytest.raises(DataError, match="1 of 300 sites are missing"):
        internal_external(cox_fit(X, time, event), X, time, event, [None, *site[1:]])


def test_external_performance_is_that_of_the_models_risks_and_learns_nothing():
    X, time, event, _ = trial()
    new_X, new_time, new_event, _ = trial(seed=8)
    model = cox_fit(X, time, event)(np.arange(300))
    found = external_performance({"cox": model}, new_X, new_time, new_event, horizons=[0.5, 1.0], unit="years")
    risks = {"cox": np.column_stack([model.risk(new_X, 0.5), model.risk(new_X, 1.0)])}
    same = performance(new_time, new_event, risks, horizons=[0.5, 1.0], unit="years", kind="external")
    pd.testing.assert_frame_equal(found.measures, same.measures, check_exact=True)
    assert found.kind == "external"


def test_patients_are_parted_by_their_date_of_entry():
    dates = pd.to_datetime(["2020-01-05", "2021-03-01", "2019-07-01", "2021-02-28"])
    earlier, later = temporal_split(dates, pd.Timestamp("2021-03-01"))
    assert (earlier.tolist(), later.tolist()) == ([0, 2, 3], [1])
    with pytest.raises(DataError, match="all entries lie on one side"):
        temporal_split(dates, pd.Timestamp("2030-01-01"))
    with pytest.raises(DataError, match="1 entry dates are missing"):
        temporal_split([1.0, np.nan], 2)


def paule_mandel(y, se):
    """The random-effects mean, written again: the between-site variance by bisection, Hartung-Knapp limits."""
    k, low, high = len(y), 0.0, 100.0
    spread = 0.0
    for _ in range(200):
        spread = (low + high) / 2
        w = 1 / (se**2 + spread)
        if w @ (y - w @ y / w.sum()) ** 2 > k - 1:
            low = spread
        else:
            high = spread
    w = 1 / (se**2 + spread)
    mean = w @ y / w.sum()
    error = np.sqrt(max(1, w @ (y - mean) ** 2 / (k - 1)) / w.sum())
    half, new = stats.t(k - 1).ppf(0.975) * error, stats.t(k - 2).ppf(0.975) * np.sqrt(spread + error**2)
    return np.exp([mean, mean - half, mean + half, mean - new, mean + new])


def test_observed_over_expected_is_pooled_on_the_log_scale():
    X, time, event, _ = trial(400)
    site = np.repeat(list("ABCD"), 100)
    time = np.where(site == "A", time * 1.6, time)  # one site does better than the others' model says
    fit = cox_fit(X, time, event)
    found = internal_external(fit, X, time, event, site, horizon=1.0, unit="years")
    logs, errors = [], []
    for name in "ABCD":
        own = site == name
        risk = fit(np.flatnonzero(~own)).risk(X[own], 1.0)
        at = kaplan_meier(time[own], event[own]).at(1.0)
        share = 1 - at.value
        logs.append(np.log(share / risk.mean()))
        # Greenwood's sum, term by term.
        total = sum(
            d / (r * (r - d))
            for t in np.unique(time[own][event[own]])
            if t <= 1 and (r := np.sum(time[own] >= t)) > (d := np.sum((time[own] == t) & event[own]))
        )
        errors.append(at.value * np.sqrt(total) / share)
    assert np.allclose(np.log(found.sites["ratio"]), logs, rtol=1e-8)
    assert np.allclose(found.sites["ratio_se"], errors, rtol=1e-8)
    row = found.pooled.iloc[2]
    assert row["measure"] == "observed over expected"
    wanted = paule_mandel(np.asarray(logs), np.asarray(errors))
    assert np.allclose(row[["value", "low", "high", "new_low", "new_high"]].to_numpy(float), wanted, rtol=1e-7)
    assert found.sites["ratio"].iloc[0] < found.sites["ratio"].iloc[1:].min()
    assert "observed over expected by 1 years" in found.text()
    assert "internal_external_observed_over_expected_new_site_low" in found.scalars()
    assert Result.from_dict(json.loads(json.dumps(found.to_dict()))).text() == found.text()
    figure = Figure()
    found.draw(figure)
    assert len(figure.axes) == 3


def test_a_site_that_is_not_followed_so_long_has_no_ratio_and_two_such_of_four_none_is_pooled():
    X, time, event, _ = trial(400)
    site = np.repeat(list("ABCD"), 100)
    short = np.isin(site, ["A", "B"])
    cut, seen = np.where(short, np.minimum(time, 0.5), time), event & (~short | (time <= 0.5))
    found = internal_external(cox_fit(X, cut, seen), X, cut, seen, site, horizon=1.0, unit="years")
    assert found.sites["ratio"].isna().tolist() == [True, True, False, False]
    assert found.pooled["measure"].tolist() == ["Harrell's C", "calibration slope"]
    assert np.isfinite(found.pooled["value"]).all()


def test_with_competing_events_sites_are_judged_by_fine_gray_and_aalen_johansen():
    X, time, event, _ = trial(400)
    other = ~event & (np.arange(400) % 2 == 0)
    site = np.repeat(list("ABCD"), 100)
    fit = cox_fit(X, time, event)
    found = internal_external(fit, X, time, event, site, horizon=1.0, unit="years", competing=other)
    own = site == "B"
    model = fit(np.flatnonzero(~own))
    ratio = observed_over_expected(time[own], event[own], model.risk(X[own], 1.0), 1.0, competing=other[own])
    slope = calibration_slope(time[own], event[own], model.risk(X[own], 1.0), 1.0, competing=other[own])
    c = concordance(time[own], event[own], model.log_hazard(X[own]), competing=other[own])
    row = found.sites.iloc[1]
    assert row[["harrell_c", "slope", "slope_se", "ratio"]].tolist() == pytest.approx([c.value, *slope, ratio.value])
    with pytest.raises(DataError, match="competing events, but horizon is None"):
        internal_external(fit, X, time, event, site, competing=other)
