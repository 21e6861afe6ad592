"""Effects in pre-specified subgroups against R's coxph, and the shrinkage against another integration."""

import json
import math
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trialml.effects.shrinkage import shrink
from trialml.effects.subgroups import SubgroupEffects, cut_labels, subgroup_effects
from trialml.errors import AnalysisError, DataError

ORACLE = json.loads((Path(__file__).parents[1] / "reference" / "effects.json").read_text())["subgroups"]


@pytest.fixture(scope="module")
def table():
    return pd.read_csv(str(resources.files("lifelines") / "datasets" / "ACTG175.csv")).query("arms <= 1")


def looked_into(table, factors, **asked):
    return subgroup_effects(table["days"], table["cens"] == 1, table["arms"] == 1, factors, **asked)


@pytest.fixture(scope="module")
def found(table):
    factors = {name: table[name].astype(str).to_numpy() for name in ("gender", "symptom", "strat")}
    factors["cd4"] = cut_labels(table["cd40"], [350])
    return looked_into(table, factors, strata=table["strat"])


@pytest.mark.parametrize("factor", ["gender", "symptom", "strat", "cd4"])
def test_subgroup_hazard_ratios_and_interaction_tests_are_rs(found, factor):
    """coxph(Surv(days, cens) ~ x:g + strata(strat, g)) against x + strata(strat, g), likelihood ratio."""
    wanted = ORACLE[factor]
    rows = found.rows[found.rows["factor"] == factor]
    assert list(rows["subgroup"]) == [str(level) for level in wanted["level"]]
    np.testing.assert_allclose(rows["log_hazard_ratio"], wanted["coef"], rtol=1e-7)
    np.testing.assert_allclose(rows["se"], wanted["se"], rtol=1e-7)
    assert (list(rows["n"]), list(rows["events"])) == (wanted["n"], wanted["events"])
    test = found.tests.set_index("factor").loc[factor]
    # A difference of two log-likelihoods near 1,700 keeps ten digits of each.
    np.testing.assert_allclose(test["chi_square"], wanted["lrt"], atol=1e-9)
    assert test["df"] == len(wanted["level"]) - 1


def test_the_overall_row_is_the_primary_hazard_ratio(found):
    assert round(found.rows["hazard_ratio"].iloc[0], 3) == 0.492


def test_trap_43_and_73_one_p_a_factor_and_none_a_subgroup(found):
    shown = found.table()
    assert (shown["Interaction p"] != "").sum() == 4
    assert not [column for column in found.rows if column.startswith("p")]
    assert "not adjusted for multiplicity" in found.text()
    assert "19 %" in found.text()  # 1 - .95^4


def test_shrunk_estimates_lie_between_the_raw_ones_and_their_mean(found):
    for factor in ("gender", "symptom", "strat", "cd4"):
        rows = found.rows[found.rows["factor"] == factor]
        raw, shrunk = np.log(rows["hazard_ratio"]), np.log(rows["shrunk"])
        assert np.ptp(shrunk) < np.ptp(raw)
        assert ((np.log(rows["shrunk_high"]) - np.log(rows["shrunk_low"])) < 2 * 1.96 * rows["se"]).all()


def test_trap_76_counts_under_11_are_suppressed_with_what_would_give_them_away(table):
    labels = np.where(np.arange(len(table)) < 7, "tiny", np.where(np.arange(len(table)) < 300, "middle", "large"))
    found = looked_into(table, {"size": labels})
    rows = found.rows.set_index("subgroup")
    assert np.isnan(rows.loc["tiny", "n"])
    assert np.isnan(rows.loc["middle", "n"])
    assert rows.loc["large", "n"] == len(table) - 300
    assert rows.loc["tiny", "note"] == "not estimable: fewer than 11 events"
    assert "size: tiny, suppressed / suppressed, not estimable" in ", ".join(found.table().iloc[3, :3])
    # What is stored of the small subgroup holds no count of it.
    stored = found.rows[found.rows["subgroup"] == "tiny"][["n", "events"]]
    assert stored.isna().all(axis=None)


def test_patients_without_the_factor_are_in_no_subgroup_and_counted(table):
    labels = table["gender"].astype(str).to_numpy(dtype=object)
    labels[:40] = None
    found = looked_into(table, {"gender": labels})
    assert found.rows["n"].iloc[1:].sum() == len(table) - 40
    assert found.tests["missing"].iloc[0] == 40


def test_a_subgroup_without_events_in_an_arm_is_not_estimable_in_words(table):
    event = (table["cens"] == 1) & ~((table["arms"] == 1) & (table["gender"] == 0))
    found = subgroup_effects(table["days"], event, table["arms"] == 1, {"sex": table["gender"].astype(str)})
    row = found.rows.set_index("subgroup").loc["0"]
    assert np.isnan(row["hazard_ratio"])
    assert row["note"] == "not estimable: an arm has no events"
    assert np.isnan(found.tests["p"].iloc[0])
    assert "sex not estimable" in found.text()


def test_bad_input_is_refused_in_a_sentence(table):
    sex = {"sex": table["gender"].astype(str)}
    with pytest.raises(AnalysisError, match="experimental arm"):
        subgroup_effects(table["days"], table["cens"], np.ones(len(table)), sex)
    with pytest.raises(AnalysisError, match="had the event"):
        subgroup_effects(table["days"], np.zeros(len(table)), table["arms"], sex)
    with pytest.raises(AnalysisError, match="the overall hazard ratio is not estimable: an arm has no events"):
        subgroup_effects(table["days"], (table["cens"] == 1) & (table["arms"] == 0), table["arms"], sex)
    with pytest.raises(DataError, match="shape"):
        looked_into(table, {"sex": ["a"]})
    with pytest.raises(DataError, match="no factor"):
        looked_into(table, {})


def test_cut_points_are_lower_ends_and_must_rise():
    labels = cut_labels([1, 2, 3, 5, np.nan], [2, 5], "mg")
    assert list(labels.astype(str)) == ["below 2 mg", "2 to below 5 mg", "2 to below 5 mg", "5 mg or more", "nan"]
    assert list(labels.categories) == ["below 2 mg", "2 to below 5 mg", "5 mg or more"]
    for cuts in ([], [2, 2], [3, 1], [np.nan]):
        with pytest.raises(DataError, match="cut-points"):
            cut_labels([1.0], cuts)


def brute_force(y, s, scale):
    """The posterior mean and SD of each theta: the midpoint rule over mu and tau, and the normal theory given both."""
    mu = np.linspace(y.mean() - 6, y.mean() + 6, 2401)
    tau = (np.arange(2000) + 0.5) * 10 * scale / 2000
    M, T = np.meshgrid(mu, tau, indexing="ij")
    log_p = -0.5 * (T / scale) ** 2
    for one, error in zip(y, s, strict=True):
        total = error**2 + T**2
        log_p = log_p - 0.5 * np.log(total) - 0.5 * (one - M) ** 2 / total
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    means, variances = [], []
    for one, error in zip(y, s, strict=True):
        kept = error**2 / (error**2 + T**2)
        centre, spread = kept * M + (1 - kept) * one, (1 - kept) * error**2
        mean = (p * centre).sum()
        means.append(mean)
        variances.append((p * (spread + (centre - mean) ** 2)).sum())
    return np.array(means), np.sqrt(variances)


@pytest.mark.parametrize("scale", [0.25, 1.0])
def test_shrinkage_is_that_of_a_two_dimensional_integration(scale):
    y, s = np.array([-0.83, -0.37, -0.7]), np.array([0.15, 0.24, 0.3])
    found = shrink(y, s, prior_scale=scale)
    mean, sd = brute_force(y, s, scale)
    np.testing.assert_allclose(found.mean, mean, atol=2e-6)
    np.testing.assert_allclose(found.sd, sd, atol=2e-6)


def test_shrinkage_is_that_of_drawing_from_the_posterior():
    """Gelman et al., Bayesian Data Analysis, 2nd ed., section 5.5: the eight schools, here with a half-normal prior of scale 10.

    Drawn: tau from its prior, weighted by its likelihood; mu given tau; theta given both.
    """
    y, s = np.array([28.0, 8, -3, 7, -1, 1, 18, 12]), np.array([15.0, 10, 16, 11, 9, 11, 10, 18])
    draw, m = np.random.default_rng(1), 200_000
    tau = np.abs(draw.normal(0, 10, m))
    w = 1 / (s**2 + tau[:, None] ** 2)
    centre = (w @ y) / w.sum(axis=1)
    log_weight = 0.5 * (np.log(w).sum(1) - np.log(w.sum(1)) - (w * (y - centre[:, None]) ** 2).sum(1))
    weight = np.exp(log_weight - log_weight.max())
    kept = draw.choice(m, m, p=weight / weight.sum())
    mu = draw.normal(centre[kept], 1 / np.sqrt(w[kept].sum(axis=1)))
    part = s**2 / (s**2 + tau[kept, None] ** 2)
    theta = draw.normal(part * mu[:, None] + (1 - part) * y, np.sqrt(1 - part) * s)
    found = shrink(y, s, prior_scale=10.0)
    np.testing.assert_allclose(found.mean, theta.mean(axis=0), atol=0.12)
    np.testing.assert_allclose(found.sd, theta.std(axis=0), atol=0.12)
    np.testing.assert_allclose(found.low, np.quantile(theta, 0.025, axis=0), atol=0.4)
    np.testing.assert_allclose(found.high, np.quantile(theta, 0.975, axis=0), atol=0.4)


def test_two_shrunken_effects_have_the_covariance_of_their_joint_density():
    # Brute force over a grid of both effects: with a flat mean their prior depends on their difference alone, normal with variance
    # 2 tau^2, tau half-normal; the sum is free. In d and the mean m: y1 = m + d / 2, y2 = m - d / 2.
    y, s = np.array([-0.5, -0.1]), np.array([0.16, 0.13])
    found = shrink(y, s)
    np.testing.assert_allclose(np.diag(found.covariance), found.sd**2, rtol=1e-12)
    tau = (np.arange(4000) + 0.5) * 2.0 / 4000
    prior_tau = np.exp(-0.5 * (tau / 0.25) ** 2)
    d, m = (np.arange(1200) + 0.5) / 400 - 1.5, np.linspace(-1.3, 0.7, 801)
    prior = np.array([(np.exp(-(one**2) / (4 * tau**2)) / tau * prior_tau).sum() for one in d])
    first, second = m + d[:, None] / 2, m - d[:, None] / 2
    density = prior[:, None] * np.exp(-0.5 * (((first - y[0]) / s[0]) ** 2 + ((second - y[1]) / s[1]) ** 2))
    density /= density.sum()
    means = (density * first).sum(), (density * second).sum()
    np.testing.assert_allclose(found.mean, means, atol=2e-4)
    together = (density * (first - means[0]) * (second - means[1])).sum()
    np.testing.assert_allclose(found.covariance[0, 1], together, atol=2e-5)


def test_shrinkage_tends_to_one_mean_and_to_the_raw_estimates():
    y, s = np.array([-20.0, 0.0, 10.0]), np.array([0.2, 0.1, 0.3])
    pooled = (y / s**2).sum() / (1 / s**2).sum()
    np.testing.assert_allclose(shrink(y, s, prior_scale=1e-5).mean, pooled, atol=1e-6)
    np.testing.assert_allclose(shrink(y, s, prior_scale=500.0).mean, y, atol=0.03)


@settings(max_examples=20)
@given(st.floats(-3, 3), st.floats(0.05, 2), st.floats(0.05, 2))
def test_shrinkage_moves_with_the_estimates(shift, first, second):
    base = shrink([0.0, 0.4], [first, second])
    moved = shrink([shift, 0.4 + shift], [first, second])
    np.testing.assert_allclose(moved.mean, base.mean + shift, atol=1e-9)
    np.testing.assert_allclose(moved.sd, base.sd, atol=1e-9)
    assert (base.low < base.mean).all()
    assert (base.mean < base.high).all()


@pytest.mark.parametrize(
    ("estimates", "errors", "scale"),
    [([0, 1], [1, 0], 0.25), ([0, math.nan], [1, 1], 0.25), ([0, 1, 2], [1, 1], 0.25), ([0, 1], [1, 1], 0.0)],
)
def test_estimates_that_cannot_be_shrunk_are_refused(estimates, errors, scale):
    with pytest.raises(DataError):
        shrink(estimates, errors, prior_scale=scale)


def test_one_estimate_has_nothing_to_be_shrunk_towards():
    with pytest.raises(AnalysisError, match="at least two"):
        shrink([0.5], [0.1])


def test_subgroups_survive_a_round_trip_and_can_be_drawn(found):
    from matplotlib.figure import Figure

    again = SubgroupEffects.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.to_dict() == found.to_dict()
    assert len(again.frame()) == len(found.rows)
    figure = Figure()
    again.draw(figure)
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    words = " ".join(text.get_text() for text in axes.texts)
    assert words.count("interaction p") == 4
    squares = {round(line.get_markersize(), 6) for line in axes.lines if line.get_marker() == "s"}
    assert len(squares) > 4  # as large as their information
