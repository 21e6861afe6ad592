"""Effects in strata: against direct calculation, without events, and against the naive effect where there is none."""

import dataclasses
import json
import math

import numpy as np
import pytest

from trialml.strata.effects import (
    DEPENDENCE,
    StratumEffects,
    StratumOutcomes,
    population_numbers,
    stratum_effects,
    stratum_members,
)
from trialml.strata.strata import quantile_strata
from trialml.survival.cox import fit_cox, score_residuals
from trialml.survival.product_limit import product_limit, step_at
from trialml.validation.benefit import HeldOutBenefit

Z = 1.959963984540054


def outcomes(n=240, seed=1):
    generator = np.random.default_rng(seed)
    treated = np.arange(n) % 2 == 0
    time, last = generator.exponential(np.exp(0.6 * treated) * 300, n), generator.uniform(200, 900, n)
    factor = generator.choice(["a", "b"], n)
    return StratumOutcomes(np.minimum(time, last), time <= last, treated, factor)


def held(n=240, repeats=1, seed=2):
    generator = np.random.default_rng(seed)
    score, rank = generator.normal(40, 200, (repeats, n)), generator.random((repeats, n))
    return HeldOutBenefit(score, rank, rank, rank)


STRATA = quantile_strata(np.arange(90.0), 3, model="T-response", unit="days")


def effects(known, out, *, p=0.5, strata=STRATA):
    score = out.score.mean(axis=0)
    members = stratum_members(out, len(strata.strata))[0]
    return stratum_effects(
        known, out, strata, naive_scores=score, naive_members=members, heterogeneity_p=p, horizon=365, tau=365,
        unit="days", months_per_unit=1 / 30.4375,
    )  # fmt: skip


def test_one_repeat_gives_the_direct_numbers_of_each_stratum():
    """Mean score, stratified Cox with a sandwich error, Kaplan-Meier control risk, control events per month."""
    known, out = outcomes(), held()
    found = effects(known, out).frame()
    members = stratum_members(out, 3)[0]
    for place in range(3):
        row, inside = found.iloc[place], members == place
        own = out.score[0, inside]
        arm = known.treated[inside].astype(float)[:, None]
        data = (known.time[inside], known.event[inside], arm)
        fit = fit_cox(*data, strata=known.factor[inside])
        dfbeta = score_residuals(*data, fit.coefficients, strata=known.factor[inside]) @ fit.covariance
        control = inside & ~known.treated
        curve = product_limit(known.time[control], known.event[control])
        wanted = {
            "n": inside.sum(),
            "events": known.event[inside].sum(),
            "share": inside.mean(),
            "rmst_difference": own.mean(),
            "log_hazard_ratio": fit.coefficients[0],
            "log_hazard_ratio_se": math.sqrt(float((dfbeta**2).sum())),
            "hazard_ratio_low": math.exp(fit.coefficients[0] - Z * math.sqrt(float((dfbeta**2).sum()))),
            "control_risk": 1 - float(step_at(curve.time, curve.survival, 365)),
            "control_hazard_per_month": known.event[control].sum() / known.time[control].sum() * 30.4375,
        }
        assert {name: row[name] for name in wanted} == pytest.approx(wanted, rel=1e-9)


def test_the_outer_difference_is_that_of_two_means_with_an_error_enlarged_for_what_the_folds_share():
    known, out = outcomes(), held()
    found, members = effects(known, out).difference, stratum_members(out, 3)[0]
    high, low = out.score[0, members == 2], out.score[0, members == 0]
    assert found.value == pytest.approx(high.mean() - low.mean(), rel=1e-10)
    independent = math.hypot(high.std() / len(high) ** 0.5, low.std() / len(low) ** 0.5)
    assert found.se == pytest.approx(DEPENDENCE * independent, rel=0.01)


def test_trap_38_the_gradient_that_one_hazard_ratio_gives_stands_beside_the_difference():
    """Exponential arms with one hazard ratio of e^-0.6: the gain is the area between S^HR and S in closed form."""
    known, out = outcomes(20_000), held(20_000)
    found = effects(known, out)
    ratio, rate, tau = math.exp(-0.6), 1 / 300, 365
    area = (1 - math.exp(-ratio * rate * tau)) / (ratio * rate) - (1 - math.exp(-rate * tau)) / rate
    assert found.one_hazard_ratio.value == pytest.approx(ratio, rel=0.05)
    assert found.frame()["gain_at_one_hazard_ratio"].to_numpy() == pytest.approx(area, rel=0.1)
    assert not found.risk_explains
    assert "would by themselves" not in found.text()


def test_no_gradient_is_explained_where_no_effect_was_shown():
    known, out = outcomes(), held()
    found = effects(known, out)
    rows = found.rows.assign(gain_at_one_hazard_ratio=[10.0, 20.0, 50.0])
    difference = dataclasses.replace(found.difference, value=60.0)
    shown = dataclasses.replace(found.one_hazard_ratio, value=0.5, low=0.4, high=0.6)
    unsure = dataclasses.replace(found.one_hazard_ratio, value=0.9, low=0.7, high=1.2)
    with_effect = dataclasses.replace(found, rows=rows, difference=difference, one_hazard_ratio=shown)
    assert "gains of 10.0 and 50.0 days, a difference of 40.0 beside the 60.0 found" in with_effect.text()
    assert not dataclasses.replace(with_effect, one_hazard_ratio=unsure).risk_explains


def test_trap_32_a_stratum_without_events_is_shown_as_such():
    known, out = outcomes(), held()
    members = stratum_members(out, 3)[0]
    known = StratumOutcomes(known.time, known.event & (members != 0), known.treated, known.factor)
    found = effects(known, out)
    assert found.table().iloc[0]["Events"] == "none"
    assert found.table().iloc[0]["Hazard ratio (95% CI)"] == "not estimable"
    assert np.isfinite(found.frame()["rmst_difference"]).all()
    again = StratumEffects.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.text() == found.text()


def test_the_whole_population_has_the_numbers_of_the_whole_trial():
    known, out = outcomes(), held(repeats=3)
    found = population_numbers(known, out, np.ones((3, 240), dtype=bool), 365, 1 / 30.4375)
    fit = fit_cox(known.time, known.event, known.treated.astype(float)[:, None], strata=known.factor)
    assert found["log_hazard_ratio"] == pytest.approx(fit.coefficients[0], rel=1e-9)
    assert found["share"] == 1.0
    assert found["rmst_difference"] == pytest.approx(out.score.mean(), rel=1e-12)


def test_trap_43_strata_without_a_significant_global_test_only_describe():
    known, out = outcomes(), held()
    assert "they describe, and do not establish a subgroup" in effects(known, out, p=0.3).text()
    assert "exploratory" not in effects(known, out, p=0.01).text()


def test_a_single_stratum_has_no_difference_and_says_so():
    one = quantile_strata(np.ones(40), 3, model="T-response", unit="days")
    found = effects(outcomes(), held(), strata=one)
    assert len(found.frame()) == 1
    assert np.isnan(found.difference.value)
    assert "there is one stratum" in found.text()
    assert not any("highest_less_lowest" in name for name in found.scalars())


def test_a_stratum_that_a_repeat_left_empty_has_no_effect_and_no_number_is_printed_for_it():
    out = held(repeats=2)
    out.rank[1] = np.maximum(out.rank[1], 0.4)
    found = effects(outcomes(), out)
    assert np.isnan(found.frame()["rmst_difference"].iloc[0])
    assert "RMST difference over 365 days is not estimable in the stratum 'Lower benefit score'" in found.text()
    assert "The difference cannot be estimated: a repeat left an outer stratum empty." in found.text()
    assert "n/a" not in found.text()
    assert "Under control the risk" in effects(outcomes(), held()).text()
    for place in (0, -1):
        rows = found.rows.copy()
        rows.iloc[place, rows.columns.get_loc("control_risk")] = np.nan
        assert "nan" not in dataclasses.replace(found, rows=rows).text()
    assert found.table()["RMST difference (95% CI), days"].iloc[0] == "not estimable"


def test_trap_44_the_naive_effect_is_too_extreme_where_nobody_differs_and_the_cross_fitted_one_is_not():
    """30 sets of 200 scores without any order, ranked by a line of 8 noise covariates, in and out of its folds."""
    generator = np.random.default_rng(7)
    naive, crossfitted = [], []
    for _ in range(30):
        X, score = generator.normal(size=(200, 8)), generator.normal(50, 250, 200)
        own = X @ np.linalg.lstsq(X, score - score.mean(), rcond=None)[0]
        rank = np.empty(200)
        for fold in range(5):
            test = np.arange(200) % 5 == fold
            line = np.linalg.lstsq(X[~test], score[~test] - score[~test].mean(), rcond=None)[0]
            rank[test] = np.searchsorted(np.sort(X[~test] @ line), X[test] @ line) / (~test).sum()
        out = HeldOutBenefit(*(np.atleast_2d(one) for one in (score, rank, rank, rank)))
        found = stratum_effects(
            outcomes(200), out, STRATA, naive_scores=score,
            naive_members=quantile_strata(own, 3, model="m", unit="days").assign(own), heterogeneity_p=0.5,
            horizon=365, tau=365, unit="days", months_per_unit=1 / 30.4375,
        )  # fmt: skip
        naive.append(found.rows["naive"].iloc[-1] - found.rows["naive"].iloc[0])
        crossfitted.append(found.difference.value)
    assert np.mean(naive) > 60
    assert abs(np.mean(crossfitted)) < 4 * np.std(crossfitted, ddof=1) / math.sqrt(30)
