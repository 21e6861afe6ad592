"""The chapter's results: what they say, that they survive and can be drawn, and that no small group or patient shows."""

import json

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from trialml.errors import AnalysisError
from trialml.explain.by_stratum import explanation_by_stratum
from trialml.explain.dependence import partial_dependence
from trialml.explain.explained import background_of, explain_score, explanation
from trialml.explain.explained_score import ExplainedScore
from trialml.explain.interactions import interactions
from trialml.explain.over_time import explanation_over_time
from trialml.explain.side_by_side import prognostic_and_predictive
from trialml.explain.stability import explanation_stability
from trialml.explain.surrogate import surrogate
from trialml.result import Z95, Result

DRAW = np.random.default_rng(11)
N = 150
X = pd.DataFrame({"age": DRAW.normal(60, 9, N), "lab": DRAW.normal(size=N), "site": DRAW.choice(["a", "b"], N)})
X.loc[:19, "lab"] = np.nan
LABELS = {"age": "Age (years)", "lab": "Lab", "site": "Site"}
KNOWN = {"labels": LABELS, "subject": "the risk", "background": "30 patients"}


def score_of(frame):
    lab = np.where(frame["lab"].isna(), 0.0, frame["lab"])
    first = 0.3 * (frame["age"] - 60).to_numpy() + lab
    return np.column_stack([first, 2 * first + 3 * (frame["site"] == "a")])


SCORE = ExplainedScore(tuple(X.columns), score_of, "percentage points of risk")
BACKGROUND = background_of(X, np.arange(N) < 100, 30, 4)


@pytest.fixture(scope="module")
def explained():
    return explain_score(SCORE, X, BACKGROUND, seed=1)


def survives(result):
    """A result is the same after JSON, and its frame names scale, unit and kind."""
    again = type(result).from_dict(json.loads(json.dumps(result.to_dict())))
    assert isinstance(again, Result)
    assert again.text() == result.text()
    pd.testing.assert_frame_equal(again.frame(), result.frame())
    assert {"scale", "unit", "kind"} <= set(result.frame().columns)
    assert len(result.table())
    assert all(isinstance(value, float) for value in result.scalars().values())
    if result.has_figure:
        result.draw(Figure(figsize=result.figure_size))
    return again


def test_the_background_is_a_sample_of_those_chosen_and_the_same_each_time():
    assert len(BACKGROUND) == 30
    assert (BACKGROUND.index < 100).all()
    assert BACKGROUND.index.is_unique
    pd.testing.assert_frame_equal(BACKGROUND, background_of(X, np.arange(N) < 100, 30, 4))


def test_importance_of_any_score_and_trap_52_the_caption_names_background_and_perturbation(explained):
    found = explanation(explained, X, output=1, **KNOWN)
    survives(found)
    wanted = np.abs(3 * ((X["site"] == "a") - (BACKGROUND["site"] == "a").mean())).mean()
    assert found.importance.set_index("covariate").loc["Site", "mean_absolute"] == pytest.approx(wanted)
    assert "away from the average of 30 patients; interventional, exact, from all sets of covariates" in found.text()
    assert "missing" in set(found.bins["bin"])
    assert found.bins["n"].min() >= 11


def test_a_sampled_explanation_states_its_monte_carlo_error(explained):
    found = explanation(explained._replace(mc_error=np.full_like(explained.values, 0.25), way="sampled"), X, **KNOWN)
    assert "from sampled orders of the covariates" in found.text()
    assert "largest Monte Carlo error of a value 0.25" in found.text()
    assert found.scalars()["shap_mc_error"] == 0.25


def test_trap_53_importance_is_shown_at_several_times(explained):
    found = explanation_over_time(explained, [1.0, 2.0], time_unit="years", **KNOWN)
    survives(found)
    assert found.at(1.0)["Site"] == pytest.approx(0.0, abs=1e-12)
    assert found.at(2.0)["Age (years)"] == pytest.approx(2 * found.at(1.0)["Age (years)"])
    assert "by 1 years Age (years)" in found.text()
    assert found.rows.groupby("time")["share"].sum().to_numpy() == pytest.approx([1.0, 1.0])
    sampled = explained._replace(mc_error=np.full_like(explained.values, 0.2))
    assert "Monte Carlo error" in explanation_over_time(sampled, [1.0, 2.0], time_unit="years", **KNOWN).text()


def test_strata_are_labels_and_a_small_one_is_not_shown(explained):
    member = np.where(X["age"] > 60, 1, 0)
    member[:5] = 2
    found = explanation_by_stratum(explained, member, ["young", "old", "few"], **KNOWN)
    survives(found)
    assert set(found.rows["stratum"]) == {"young", "old"}
    assert "1 stratum of fewer than 11 patients not shown" in found.text()
    old = found.rows.set_index(["stratum", "covariate"]).loc[("old", "Age (years)")]
    assert old["mean"] == pytest.approx(explained.values[member == 1, 0, -1].mean())
    with pytest.raises(AnalysisError, match=r"shape \(3,\) for 150 patients"):
        explanation_by_stratum(explained, [0, 1, 2], ["young", "old", "few"], **KNOWN)
    with pytest.raises(AnalysisError, match="No stratum has 11"):
        explanation_by_stratum(explained, np.full(N, 9), ["young"], **KNOWN)


def test_trap_37_prognostic_and_predictive_shares_stand_apart(explained):
    risk = explanation(explained, X, output=1, **KNOWN)
    benefit = explanation(explained, X, output=0, **(KNOWN | {"subject": "the benefit score"}))
    found = prognostic_and_predictive(risk, benefit)
    survives(found)
    rows = found.rows.set_index("covariate")
    assert rows["prognostic"].sum() == pytest.approx(1.0)
    assert rows["predictive"].sum() == pytest.approx(1.0)
    assert rows.loc["Site", "predictive"] == pytest.approx(0.0, abs=1e-12)
    assert rows.loc["Site", "prognostic"] > 0.1
    assert "the benefit score" in found.text()


def test_covariates_that_act_together_and_alone():
    together = ExplainedScore(
        ("age", "lab"), lambda frame: ((frame["age"] - 60) * frame["lab"]).to_numpy()[:, None], "points"
    )
    known = X.loc[20:].reset_index(drop=True)
    words = {"labels": LABELS, "subject": "the score", "words": "30 patients"}
    found = interactions(together, known, known.head(30), **words)
    survives(found)
    assert found.rows.loc[0, ["first", "second"]].tolist() == ["Age (years)", "Lab"]
    one = ExplainedScore(tuple(X.columns), lambda frame: score_of(frame)[:, 1:], "points")
    alone = interactions(one, X, BACKGROUND, **words)
    assert alone.alone == pytest.approx(1.0)
    with pytest.raises(AnalysisError, match="score has 2: choose one"):
        interactions(SCORE, X, BACKGROUND, **words)


def test_intervals_over_resampled_models_are_those_of_the_delete_d_jackknife():
    """(n - d) / d = 4 times the mean squared deviation; the mean of a sample is a case in closed form."""
    drawn = np.array([[3.0, 1.0, 0.9], [3.2, 0.9, 1.0], [2.8, 1.1, 0.9], [3.0, 1.0, 1.0]])
    found = explanation_stability(
        np.array([3.0, 1.0, 0.95]), drawn, ["age", "lab", "site"], share=0.8, subject="it", unit="points", labels=LABELS
    )
    survives(found)
    se = 2 * drawn[:, 0].std()
    age = found.importance("Age (years)")
    assert age.se == pytest.approx(se)
    assert (age.low, age.high) == pytest.approx((3 - Z95 * se, 3 + Z95 * se))
    assert found.rows["repeats"].tolist() == [True, True, True]
    assert found.rows["rank"].tolist() == [1, 2, 3]


def test_a_ranking_that_does_not_repeat_is_flagged():
    draw = np.random.default_rng(1)
    own, drawn = np.linspace(1.0, 1.05, 6), 1 + 0.3 * draw.random((12, 6))
    names = [f"x{k}" for k in range(6)]
    found = explanation_stability(own, drawn, names, share=0.8, subject="it", unit="points", labels={})
    assert not found.rows["repeats"].all()
    assert "The order does not repeat for" in found.text()
    with pytest.raises(AnalysisError, match="three models or more"):
        explanation_stability(own, drawn[:2], names, share=0.8, subject="it", unit="points", labels={})


def test_the_coverage_of_the_jackknife_is_that_of_its_level():
    """Of the slope of a line, learned from 4/5 of 100 patients in 20 models: 95 % within Monte Carlo error of 200 trials."""
    draw, inside = np.random.default_rng(6), 0
    for _ in range(200):
        x = draw.normal(size=100)
        y = 0.5 * x + draw.normal(size=100)
        slopes = []
        for _ in range(4):
            fold = draw.permutation(100) % 5
            slopes += [np.polyfit(x[fold != k], y[fold != k], 1)[0] for k in range(5)]
        found = explanation_stability(
            np.polyfit(x, y, 1)[:1], np.array(slopes)[:, None], ["x"], share=0.8, subject="it", unit="", labels={}
        ).importance("x")
        inside += found.low <= 0.5 <= found.high
    assert 0.89 <= inside / 200 <= 0.99


def test_partial_dependence_is_the_mean_score_at_a_value_with_limits_over_models():
    one = lambda shift: lambda frame: score_of(frame)[:, 1:] + shift  # noqa: E731
    words = {"share": 0.8, "subject": "the risk", "unit": "percentage points", "labels": LABELS}
    found = partial_dependence(one(0.0), [one(-1.0), one(0.0), one(1.0)], X, list(X.columns), over=X, **words)
    survives(found)
    rows = found.rows.set_index(["covariate", "bin"])
    wanted = score_of(X.assign(site="a"))[:, 1].mean()
    assert rows.loc[("Site", "a"), "value"] == pytest.approx(wanted)
    assert rows.loc[("Site", "a"), "se"] == pytest.approx(2 * np.sqrt(2 / 3))
    assert rows["n"].min() >= 11


def test_a_surrogate_of_a_small_tree_is_faithful_and_says_how_much():
    truth = np.where(X["age"] > 60, 10.0, np.where(X["site"] == "a", 5.0, 0.0))
    words = {"labels": LABELS, "subject": "the risk", "unit": "%", "seed": 2}
    tree = surrogate(truth, X, kind="tree", **words)
    survives(tree)
    assert tree.fidelity > 0.9
    assert tree.rows["n"].min() >= 11
    assert any("Age (years) above" in rule for rule in tree.rows["rule"])
    noise = surrogate(np.random.default_rng(3).normal(size=N), X, kind="tree", **words)
    assert noise.fidelity < 0.2
    assert "explains the model roughly" in noise.text()


def test_a_point_score_is_whole_points_and_its_fidelity_is_on_held_out_patients():
    truth = 2.0 * (X["site"] == "a").to_numpy() + 4.0 * (X["lab"].isna()).to_numpy()
    words = {"labels": LABELS, "subject": "the risk", "unit": "%", "seed": 2}
    found = surrogate(truth, X, kind="points", **words)
    survives(found)
    assert found.fidelity > 0.95
    assert found.rows["points"].abs().max() == 5
    assert found.rows["points"].dtype.kind == "i"
    with pytest.raises(AnalysisError, match="do not differ"):
        surrogate(np.zeros(N), X, kind="points", **words)
    with pytest.raises(AnalysisError, match="55 patients or more"):
        surrogate(truth[:20], X.head(20), kind="tree", **words)


def test_trap_53_no_result_grows_with_the_patients(explained):
    found = explanation_over_time(explained, [1.0, 2.0], time_unit="years", **KNOWN)
    assert len(json.dumps(found.to_dict())) < 3000
    assert len(json.dumps(explanation(explained, X, **KNOWN).to_dict())) < 6000
