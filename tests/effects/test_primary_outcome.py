"""The primary comparison and the subgroups of binary and continuous endpoints against R (tests/reference/outcomes.json) and statsmodels."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.contingency_tables import StratifiedTable

from trialml.data.read import locate, read_table
from trialml.effects.outcome_subgroups import outcome_subgroups
from trialml.effects.primary_outcome import benefit_scale, primary_outcome
from trialml.effects.shrinkage import shrink
from trialml.errors import AnalysisError, DataError
from trialml.result import Result

REFERENCE = Path(__file__).parents[1] / "reference"
ORACLE = json.loads((REFERENCE / "outcomes.json").read_text())
SOURCE = "lifelines:datasets/ACTG175.csv"


@pytest.fixture(scope="module")
def actg():
    frame = read_table(SOURCE, REFERENCE).frame.apply(pd.to_numeric, errors="coerce")
    return frame[frame["arms"].isin([0, 1])].reset_index(drop=True)


def compare(frame, **asked):
    given = {"kind": "continuous", "higher_is_better": True, **asked}
    values = frame["cd420"] if given["kind"] == "continuous" else (frame["cd420"] >= 350).astype(int)
    return primary_outcome(values, frame["arms"] == 1, **given)


def test_without_strata_the_primary_analysis_of_a_mean_is_rs_t_test(actg):
    found, wanted = compare(actg), ORACLE["welch"]
    shown = (found.difference.value, found.difference.low, found.difference.high, found.p)
    assert shown == pytest.approx([wanted[name] for name in ("value", "low", "high", "p")], rel=1e-8)
    assert found.test == "Welch's t-test"


def test_with_strata_it_is_the_stratified_difference_with_satterthwaites_degrees_of_freedom(actg):
    found, wanted = compare(actg, strata=actg["strat"]), ORACLE["stratified"]
    assert found.difference.value == pytest.approx(wanted["value"], rel=1e-8)
    assert found.difference.se == pytest.approx(wanted["se"], rel=1e-8)
    assert found.p == pytest.approx(wanted["p"], rel=1e-8)
    assert compare(actg, strata=np.full(len(actg), "all")).p == compare(actg).p


def test_adjusted_it_is_the_analysis_of_covariance_by_arm_with_about_its_robust_error(actg):
    found, wanted = compare(actg, strata=actg["strat"], covariates=actg[["cd40"]]), ORACLE["covariance"]
    assert found.difference.value == pytest.approx(wanted["value"], rel=1e-8)
    # HC3 knows neither the sampling of the covariates nor the stratified randomisation: near, and no more.
    assert found.difference.se == pytest.approx(wanted["hc3"], rel=0.02)
    plain = compare(actg)
    assert found.r_squared == pytest.approx(1 - (found.difference.se / plain.difference.se) ** 2)
    assert plain.r_squared == 0
    assert found.difference.se < plain.difference.se


def test_the_primary_analysis_of_shares_is_rs_mantelhaen_test(actg):
    found, wanted = compare(actg, kind="binary", strata=actg["strat"]), ORACLE["cmh"]
    assert found.p == pytest.approx(wanted["p"], rel=1e-8)
    tables = [
        [
            [int(((part["arms"] == arm) & ((part["cd420"] >= 350) == yes)).sum()) for yes in (True, False)]
            for arm in (1, 0)
        ]
        for _, part in actg.groupby("strat")
    ]
    assert found.p == pytest.approx(
        StratifiedTable([np.array(one) for one in tables]).test_null_odds().pvalue, rel=1e-8
    )
    one, flat = compare(actg, kind="binary"), ORACLE["chi_square"]
    assert one.p == pytest.approx(math.erfc(math.sqrt(flat["pearson"] * (flat["n"] - 1) / flat["n"] / 2)), rel=1e-8)


@pytest.mark.parametrize(("higher", "wanted"), [(True, "better"), (False, "worse")])
def test_which_way_is_better_decides_what_a_difference_means(actg, higher, wanted):
    found = compare(actg, higher_is_better=higher)
    assert found.direction == wanted
    assert ("more is better" if higher else "less is better") in found.text()
    assert Result.from_dict(json.loads(json.dumps(found.to_dict()))).text() == found.text()


def test_a_difference_that_is_not_significant_has_no_direction():
    draw = np.random.default_rng(3)
    found = primary_outcome(draw.normal(size=80), np.arange(80) % 2 == 1, kind="continuous", higher_is_better=True)
    assert found.p > 0.05
    assert found.direction == "not shown"


def test_a_benefit_always_has_the_better_arm_first():
    assert benefit_scale("binary", higher_is_better=False) == "risk difference, control less experimental"
    assert benefit_scale("continuous", higher_is_better=True) == "difference in means, experimental less control"


def subgroups(actg, **asked):
    factors = {"Prior therapy": actg["strat"].map({1: "none", 2: "short", 3: "long"})}
    factors["Prior therapy"] = pd.Categorical(factors["Prior therapy"], categories=["none", "short", "long"])
    given = {"kind": "continuous", "higher_is_better": True, **asked}
    return outcome_subgroups(actg["cd420"], actg["arms"] == 1, factors, **given)


def test_differences_in_subgroups_are_rs_t_tests_and_their_interaction_cochrans_q(actg):
    found, wanted = subgroups(actg), ORACLE["subgroups"]
    rows = found.rows.iloc[1:]
    assert rows["subgroup"].tolist() == ["none", "short", "long"]
    for column, name in (("difference", "value"), ("se", "se"), ("low", "low"), ("high", "high")):
        assert rows[column].tolist() == pytest.approx(wanted[name], rel=1e-8)
    test = found.tests.iloc[0]
    assert test["chi_square"] == pytest.approx(wanted["q"], rel=1e-8)
    assert test["p"] == pytest.approx(wanted["p"], rel=1e-8)


def test_shrunk_differences_are_those_of_the_hierarchical_model(actg):
    found = subgroups(actg, shrinkage_scale=0.5)
    rows = found.rows.iloc[1:]
    arms = [actg.loc[actg["arms"] == arm, "cd420"].var() for arm in (0, 1)]
    assert found.prior_scale == pytest.approx(0.5 * math.sqrt(np.mean(arms)))
    wanted = shrink(rows["difference"], rows["se"], prior_scale=found.prior_scale)
    assert rows["shrunk"].tolist() == pytest.approx(wanted.mean.tolist())


def test_a_subgroup_with_few_patients_in_an_arm_has_no_estimate_and_its_count_is_not_given_away(actg):
    few = pd.Series("usual", index=actg.index)
    few.iloc[np.flatnonzero(actg["arms"] == 1)[:7]] = "rare"
    found = outcome_subgroups(actg["cd420"], actg["arms"] == 1, {"Kind": few}, kind="continuous", higher_is_better=True)
    rare = found.rows.set_index("subgroup").loc["rare"]
    assert math.isnan(rare["difference"])
    assert math.isnan(rare["n"])
    assert math.isnan(found.rows.set_index("subgroup").loc["usual", "n"])
    assert "fewer than 11 patients in an arm" in found.text()
    assert math.isnan(found.tests["p"].iloc[0])


def test_subgroups_of_a_binary_endpoint_are_risk_differences(actg):
    factors = {"Sex": actg["gender"].map({0: "female", 1: "male"})}
    happened = actg["cd420"] >= 350
    found = outcome_subgroups(happened, actg["arms"] == 1, factors, kind="binary", higher_is_better=True)
    for sex, code in (("female", 0), ("male", 1)):
        own = [happened[(actg["arms"] == arm) & (actg["gender"] == code)].mean() for arm in (0, 1)]
        assert found.rows.set_index("subgroup").loc[sex, "difference"] == pytest.approx(own[1] - own[0])
    assert found.scale == "risk difference"


def test_subgroups_that_do_not_fit_are_refused(actg):
    with pytest.raises(DataError, match="no factor is given"):
        outcome_subgroups(actg["cd420"], actg["arms"] == 1, {}, kind="continuous", higher_is_better=True)
    with pytest.raises(DataError, match="has 3 labels for 1054 patients"):
        outcome_subgroups(
            actg["cd420"], actg["arms"] == 1, {"Sex": ["a", "b", "a"]}, kind="continuous", higher_is_better=True
        )


def test_a_constant_outcome_is_refused(actg):
    with pytest.raises(AnalysisError, match="one value in each arm"):
        primary_outcome(np.ones(len(actg)), actg["arms"] == 1, kind="continuous", higher_is_better=True)


def test_the_source_of_the_example_is_installed():
    assert locate(SOURCE, REFERENCE).is_file()
