"""Restricted means with their adjusted and stratified forms, and milestone survival."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import special

from trialml.errors import AnalysisError, DataError
from trialml.survival.kaplan_meier import kaplan_meier, product_limit
from trialml.survival.milestone import milestone_survival
from trialml.survival.rmst import restricted_mean, restricted_mean_one
from trialml.survival.rmst_regression import adjusted_restricted_mean
from trialml.survival.two_arms import two_arms


def trial(read, name):
    """Return time, event, arm, control and experimental of one of rmst2's stored calls."""
    tables = {
        "pbc": ("pbc_rct", "time", "death", "trt", "2", "1"),
        "veteran": ("veteran", "time", "status", "trt", "1", "2"),
        "gbsg2": ("gbsg2", "time", "cens", "horTh", "no", "yes"),
        "colon_lev5fu_vs_obs": ("colon_death", "time", "status", "rx", "Obs", "Lev+5FU"),
    }
    table, time, event, arm, control, experimental = tables[name]
    frame = read(table)
    return frame[time], frame[event], frame[arm], control, experimental


def two_sided(z):
    return 2 * special.ndtr(-np.abs(z))


def test_means_contrasts_and_times_lost_are_survrm2s(oracle, reference_data):
    case = oracle("surv_rmst")
    for name in ("pbc", "veteran", "gbsg2", "colon_lev5fu_vs_obs"):
        time, event, arm, control, experimental = trial(reference_data, name)
        tau = case.take(name, "tau")
        found = restricted_mean(time, event, arm, control=control, experimental=experimental, tau=tau)
        for row, label in zip(found.arms.itertuples(), ("arm0", "arm1"), strict=True):
            case.agrees([row.rmst, row.se, row.low, row.high], name, label)
            case.agrees(row.se**2, name, f"{label}_var")
        contrasts = (
            (found.difference, found.p_difference),
            (found.ratio, found.p_ratio),
            (found.lost_ratio, found.p_lost_ratio),
        )
        case.agrees([[one.value, one.low, one.high, p] for one, p in contrasts], name, "contrasts")
    table = reference_data("pbc_rct")
    covariates = table[["age", "bili", "albumin"]]
    tau = case.take("pbc_adjusted", "tau")
    for scale in ("difference", "ratio"):
        found = adjusted_restricted_mean(
            table["time"], table["death"], table["trt"], covariates, control="2", experimental="1", tau=tau, scale=scale
        )
        rows = found.coefficients
        assert rows["term"].tolist() == case.outputs["pbc_adjusted"][scale]["rownames"]
        names = ["coefficient", "se", "z", "p", *(["exp_coefficient"] if scale == "ratio" else []), "low", "high"]
        # R prints 1 - pchisq, which is 0 below 1e-16: those p-values are compared through their z.
        case.agrees(rows[names].assign(p=rows["p"].where(rows["p"] > 1e-15, 0.0)), "pbc_adjusted", scale)
        np.testing.assert_allclose(rows["p"], two_sided(rows["z"]))
    table = reference_data("veteran")
    rows = []
    for arm in (1, 2):
        mine = table["trt"] == arm
        mean = restricted_mean_one(table["time"][mine], table["status"][mine], 365)
        median = kaplan_meier(table["time"][mine], table["status"][mine], interval="log").median()
        n = int(mine.sum())
        rows.append([n, n, n, int(table["status"][mine].sum()), *mean, median.value, median.low, median.high])
    case.agrees(rows, "survfit_rmean_veteran_365")


def test_milestone_differences_are_those_of_survfit(oracle, reference_data):
    case = oracle("surv_milestone_difference")
    lung = reference_data("lung")
    calls = {
        "veteran_180": trial(reference_data, "veteran"),
        "gbsg2_1461": trial(reference_data, "gbsg2"),
        "lung_365": (lung["time"], lung["status"] == 2, lung["sex"], "1", "2"),
    }
    for name, (time, event, arm, control, experimental) in calls.items():
        at = case.take(name, "time")
        found = milestone_survival(time, event, arm, control=control, experimental=experimental, at=at)
        case.agrees(found.arms["survival"], name, "surv")
        case.agrees(found.arms["se"], name, "se")
        gap = found.difference
        case.agrees(gap.value, name, "diff")
        case.agrees(gap.se, name, "se_diff")
        case.agrees([gap.low, gap.high], name, "ci")
        case.agrees(gap.value / gap.se, name, "z")
        case.agrees(found.z_cloglog, name, "z_cloglog")
        assert found.p_difference == pytest.approx(two_sided(gap.value / gap.se), rel=1e-12)
        assert found.p_cloglog == pytest.approx(two_sided(found.z_cloglog), rel=1e-12)
        # Each arm's limits are those of its curve.
        curves = kaplan_meier(time, event, group=np.asarray(arm).astype(str))
        for row in found.arms.itertuples():
            there = curves.at(at, row.arm)
            assert (row.low, row.high) == pytest.approx((there.low, there.high), rel=1e-12)


def test_the_ratio_of_milestones_has_the_delta_methods_error(reference_data):
    time, event, arm, control, experimental = trial(reference_data, "gbsg2")
    found = milestone_survival(time, event, arm, control=control, experimental=experimental, at=1461)
    (s0, s1), (e0, e1) = found.arms["survival"], found.arms["se"]
    assert found.ratio.value == pytest.approx(s1 / s0)
    assert found.ratio.se == pytest.approx(np.sqrt((e0 / s0) ** 2 + (e1 / s1) ** 2))
    assert np.log(found.ratio.high / found.ratio.value) == pytest.approx(1.959963984540054 * found.ratio.se)


def test_a_stratified_mean_or_milestone_weighs_strata_by_their_patients(reference_data):
    """Spelled out: the sum over strata of share times the stratum's own estimate, variances with squared shares."""
    time, event, arm, control, experimental = trial(reference_data, "gbsg2")
    strata = reference_data("gbsg2")["menostat"]
    mean = restricted_mean(time, event, arm, control=control, experimental=experimental, tau=1700, strata=strata)
    stone = milestone_survival(time, event, arm, control=control, experimental=experimental, at=1461, strata=strata)
    values = {"mean": [], "stone": []}
    for label in (control, experimental):
        parts = {"mean": [], "stone": []}
        for stratum in ("Pre", "Post"):
            mine = (arm == label) & (strata == stratum)
            share = (strata == stratum).mean()
            one = restricted_mean_one(time[mine], event[mine], 1700)
            there = kaplan_meier(time[mine], event[mine]).at(1461)
            parts["mean"].append((share * one[0], (share * one[1]) ** 2))
            parts["stone"].append((share * there.value, (share * there.se) ** 2))
        for name, both in parts.items():
            values[name].append((sum(v for v, _ in both), sum(s for _, s in both)))
    for name, found in (("mean", mean), ("stone", stone)):
        (v0, s0), (v1, s1) = values[name]
        assert found.difference.value == pytest.approx(v1 - v0, rel=1e-12)
        assert found.difference.se == pytest.approx(np.sqrt(s0 + s1), rel=1e-12)
        assert found.ratio.se == pytest.approx(np.sqrt(s0 / v0**2 + s1 / v1**2), rel=1e-12)
    assert (mean.strata, stone.strata) == (2, 2)
    assert "standardised over 2 strata" in mean.text()


def test_without_censoring_the_adjusted_difference_is_that_of_least_squares(reference_data):
    """With everybody observed the weights are 1: ordinary regression of min(T, tau), with the sandwich of White."""
    draw = np.random.default_rng(4)
    x = draw.normal(size=200)
    arm = np.repeat(["a", "b"], 100)
    time = draw.exponential(np.exp(0.5 * x + 0.3 * (arm == "b"))) + 0.01
    found = adjusted_restricted_mean(
        time, np.ones(200, bool), arm, pd.DataFrame({"x": x}), control="a", experimental="b", tau=2.0
    )
    design = np.column_stack((np.ones(200), arm == "b", x))
    beta, *_ = np.linalg.lstsq(design, np.minimum(time, 2.0), rcond=None)
    score = design * (np.minimum(time, 2.0) - design @ beta)[:, None]
    bread = np.linalg.inv(design.T @ design)
    np.testing.assert_allclose(found.coefficients["coefficient"], beta, rtol=1e-10)
    np.testing.assert_allclose(found.coefficients["se"], np.sqrt(np.diag(bread @ score.T @ score @ bread)), rtol=1e-10)
    assert found.effect.value == pytest.approx(beta[1])


def test_the_adjusted_ratio_of_time_lost_solves_its_equation(reference_data):
    table = reference_data("pbc_rct")
    call = {"control": "2", "experimental": "1", "tau": 3650}
    covariates = table[["age", "bili"]].assign(sex=table["sex"])
    found = adjusted_restricted_mean(
        table["time"], table["death"], table["trt"], covariates, scale="ratio of time lost", **call
    )
    assert found.coefficients["term"].tolist() == ["intercept", "arm", "age", "bili", "sex=m"]
    y = np.minimum(table["time"], 3650)
    known = (table["death"] == 1) | (table["time"] >= 3650)
    weight = np.zeros(len(table))
    for arm in (1, 2):
        mine = table["trt"] == arm
        curve = product_limit(y[mine], ~known[mine])
        weight[mine] = known[mine] / curve.survival[np.searchsorted(curve.time, y[mine])]
    design = np.column_stack((np.ones(len(y)), table["trt"] == 1, table[["age", "bili"]], table["sex"] == "m"))
    mean = np.exp(design @ found.coefficients["coefficient"])
    assert np.abs(design.T @ (weight * (3650 - y - mean))).max() < 1e-4
    assert found.effect.value == pytest.approx(np.exp(found.coefficients["coefficient"][1]))


def test_a_time_beyond_an_arm_in_a_stratum_is_refused_by_name():
    time, event = [5, 8, 12, 4, 9, 20, 30, 31], [1, 0, 0, 1, 1, 0, 0, 0]
    arm, strata = list("aaabbbab"), list("xxxxxxyy")
    call = {"control": "a", "experimental": "b"}
    with pytest.raises(AnalysisError, match="arm 'a' in stratum 'x' ends at 12"):
        restricted_mean(time, event, arm, tau=15, strata=strata, **call)
    with pytest.raises(AnalysisError, match=r"arm 'a' in stratum 'x' ends at 12 .* at most 12 days"):
        milestone_survival(time, event, arm, at=15, strata=strata, **call)
    with pytest.raises(AnalysisError, match="stratum 'y' has no patient of arm 'b'"):
        restricted_mean(time[:-1], event[:-1], arm[:-1], tau=5, strata=strata[:-1], **call)
    with pytest.raises(DataError, match="a milestone is a time above 0"):
        milestone_survival(time, event, arm, at=0, **call)
    with pytest.raises(AnalysisError, match="largest tau possible is 30"):
        adjusted_restricted_mean(time, event, arm, pd.DataFrame({"x": range(8)}), tau=40, **call)


def test_a_stratum_without_patients_of_the_two_arms_is_left_out():
    data = two_arms([1, 2, 3, 4, 5], [True] * 5, list("ababc"), "a", "b", strata=list("xxxxz"))
    assert data.strata == ("x",)
    assert data.weights == (1.0,)


def test_an_arm_that_lost_no_time_has_no_ratio_of_time_lost():
    found = restricted_mean([9, 9, 3, 4], [0, 0, 1, 1], list("aabb"), control="a", experimental="b", tau=8)
    assert np.isnan(found.lost_ratio.value)
    assert found.ratio.value == pytest.approx(3.5 / 8)
    assert "n/a" in found.lost_ratio.text()


def test_before_the_first_event_there_is_no_variance_and_so_no_interval_and_no_p():
    time, event, arm = [5, 6, 7, 8], [1, 1, 1, 0], list("abab")
    call = {"control": "a", "experimental": "b"}
    for found in (milestone_survival(time, event, arm, at=2, **call), restricted_mean(time, event, arm, tau=2, **call)):
        assert found.difference.value == 0
        assert np.isnan([found.difference.low, found.ratio.high, found.p_difference, found.p_ratio]).all()
        assert np.isnan(found.arms[["low", "high"]].to_numpy()).all()
        assert (
            "without limits and p-value, since nobody, or everybody at once, had had the event by then" in found.text()
        )
        assert found.table().iloc[-1, -1].startswith("none: nobody, or everybody")
        assert "nan" not in found.text().lower() + found.table().to_string().lower()


def test_when_everybody_has_had_the_event_a_milestone_has_no_variance_either():
    for interval in ("plain", "log", "log-log"):
        found = milestone_survival(
            [1, 2, 3, 4], [1] * 4, list("abab"), control="a", experimental="b", at=9, interval=interval
        )
        assert list(found.arms["survival"]) == [0, 0]
        assert list(found.arms["events"]) == [2, 2]
        assert np.isnan(found.arms[["low", "high"]].to_numpy()).all()
        assert np.isnan([found.difference.low, found.difference.se, found.p_difference]).all()
        assert "an arm's value is 0" in found.table().iloc[-1, -1]


def test_collinear_constant_or_unknown_settings_of_an_adjusted_mean_are_refused(reference_data):
    table = reference_data("pbc_rct")
    call = {"control": "2", "experimental": "1", "tau": 1000}
    base = (table["time"], table["death"], table["trt"])
    with pytest.raises(AnalysisError, match="no single answer"):
        adjusted_restricted_mean(*base, table[["age"]].assign(twice=2 * table["age"]), **call)
    with pytest.raises(AnalysisError, match="no single answer"):
        adjusted_restricted_mean(*base, table[["age"]].assign(one=1.0), **call)
    with pytest.raises(DataError, match="'age' is infinite"):
        adjusted_restricted_mean(*base, table[["age"]].replace(table["age"].iloc[3], np.inf), **call)
    with pytest.raises(DataError, match="scale is 'odds'"):
        adjusted_restricted_mean(*base, table[["age"]], scale="odds", **call)
    with pytest.raises(DataError, match="10 rows for 312 patients"):
        adjusted_restricted_mean(*base, table[["age"]].head(10), **call)


def test_results_survive_json_and_tell_the_same(reference_data):
    time, event, arm, control, experimental = trial(reference_data, "gbsg2")
    call = {"control": control, "experimental": experimental}
    covariates = reference_data("gbsg2")[["age", "menostat"]]
    for found in (
        milestone_survival(time, event, arm, at=1461, **call),
        restricted_mean(time, event, arm, tau=1700, strata=covariates["menostat"], **call),
        adjusted_restricted_mean(time, event, arm, covariates, tau=1700, scale="ratio", **call),
    ):
        again = type(found).from_dict(json.loads(json.dumps(found.to_dict())))
        pd.testing.assert_frame_equal(again.frame(), found.frame())
        assert again.text() == found.text()
        assert again.heading() == found.heading()
        assert len(found.table()) >= 4
        assert all(np.isfinite(value) for value in found.scalars().values())
