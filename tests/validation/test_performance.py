"""Performance over time, binary endpoints, calibration curves and groups as results; numbers against stored R and by hand."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from scipy import stats
from statsmodels.api import GLM, families

from trialml.errors import AnalysisError, DataError
from trialml.result import Result
from trialml.survival.auc import cumulative_dynamic_auc
from trialml.survival.brier import brier
from trialml.survival.concordance import concordance
from trialml.survival.ipcw import cox_censoring
from trialml.validation.binary import binary_performance
from trialml.validation.by_group import performance_by_group
from trialml.validation.calibration_curve import calibration_curve
from trialml.validation.performance import performance

REFERENCE = Path(__file__).parents[1] / "reference"
METRICS = json.loads((REFERENCE / "metrics.json").read_text())
Z = stats.norm.isf(0.025)


@pytest.fixture(scope="module")
def pbc():
    table = pd.read_csv(REFERENCE / "data" / "pbc_rct.csv")
    risks = {name: np.array(matrix) for name, matrix in METRICS["competing_risks"].items()}
    return table, table["status"] == 2, table["status"] == 1, risks


@pytest.fixture(scope="module")
def logistic():
    """resp_logistic: response ~ w + x2 + x7 + w:x7, and without the product."""
    d = pd.read_csv(REFERENCE / "data" / "rct_sim.csv")
    full = np.column_stack([np.ones(len(d)), d["w"], d["x2"], d["x7"], d["w"] * d["x7"]])
    fits = [GLM(d["response"], X, families.Binomial()).fit(tol=1e-14, maxiter=100) for X in (full, full[:, :4])]
    return d, fits, {"full": fits[0].fittedvalues.to_numpy(), "main": fits[1].fittedvalues.to_numpy()}


def survives(result):
    """Through JSON and back; text, table, scalars and figure stay."""
    again = type(result).from_dict(json.loads(json.dumps(result.to_dict())))
    assert isinstance(again, Result)
    assert again.text() == result.text()
    pd.testing.assert_frame_equal(again.frame(), result.frame())
    assert again.scalars().keys() == result.scalars().keys()
    if result.has_figure:
        result.draw(Figure())
    return again


def test_performance_gives_scores_numbers_with_competing_events(pbc):
    """surv_score_competing: Brier score, IPA, AUC and the Brier scores' contrasts, from one call."""
    table, event, competing, risks = pbc
    stored = json.loads((REFERENCE / "surv_score_competing.json").read_text())["outputs"]
    found = performance(
        table["time"], event, risks, horizons=[1095, 1826], unit="days", kind="apparent", competing=competing
    )
    for name, measure in (("Brier", "Brier score"), ("AUC", "AUC")):
        for row in pd.DataFrame(stored[name]).itertuples():
            one = found.estimate(measure, row.model.lower() if row.model == "Null model" else row.model, row.times)
            assert one.value == pytest.approx(getattr(row, name), rel=1e-8)
            if name == "Brier":
                assert [one.se, one.low, one.high] == pytest.approx([row.se, row.lower, row.upper], rel=1e-8)
    for row in pd.DataFrame(stored["Brier_contrasts"]).itertuples():
        one = found.estimate("Brier score", row.model, row.times, reference=row.reference.replace("Null", "null"))
        assert [one.value, one.se, one.low, one.high] == pytest.approx([row[4], row.se, row.lower, row.upper], rel=1e-7)
    rows = found.frame().query("measure == 'Brier score' and reference == 'csc' and horizon == 1826")
    assert rows["p"].iloc[0] == pytest.approx(3.1651020649489897e-06, rel=1e-5)
    survives(found)
    assert "fg less csc" in found.table()["Model"].to_list()
    assert "paired" in found.text()


def test_the_integrated_score_is_the_trapezoid_mean_with_the_error_of_the_mean_influence(pbc):
    table, event, competing, risks = pbc
    found = performance(table["time"], event, {"csc": risks["csc"]}, horizons=[1095, 1826], unit="days", kind="apparent",
                        competing=competing)  # fmt: skip
    ones = [brier(table["time"], event, risks["csc"][:, k], t, competing=competing) for k, t in enumerate((1095, 1826))]
    weights = np.array([1826 / 2, (1826 - 1095) / 2]) / 1826
    one = found.estimate("integrated Brier score", "csc")
    influence = sum(w * b.influence for w, b in zip(weights, ones, strict=True))
    assert one.value == pytest.approx(sum(w * b.value for w, b in zip(weights, ones, strict=True)), rel=1e-12)
    assert one.se == pytest.approx(influence.std(ddof=1) / np.sqrt(len(table)), rel=1e-12)
    null = found.estimate("integrated Brier score", "null model").value
    assert found.estimate("integrated IPA", "csc").value == pytest.approx(1 - one.value / null, rel=1e-12)


def test_concordances_and_their_paired_difference_are_those_of_the_last_horizon(pbc):
    table, event, competing, risks = pbc
    found = performance(
        table["time"], event, risks, horizons=[1095, 1826], unit="days", kind="apparent", competing=competing
    )
    ones = [
        concordance(table["time"], event, risks[m][:, 1], tau=1826, weighting="uno", competing=competing)
        for m in ("fg", "csc")
    ]
    gap = found.estimate("Uno's C", "fg", reference="csc")
    assert gap.value == pytest.approx(ones[0].value - ones[1].value, rel=1e-9)
    assert gap.se == pytest.approx(np.sqrt(np.sum((ones[0].influence - ones[1].influence) ** 2)), rel=1e-9)


def test_censoring_by_covariates_reaches_auc_and_brier_score(pbc):
    table, event, competing, risks = pbc
    censoring = cox_censoring(table["time"], table["status"] > 0, table[["age", "trt"]])
    found = performance(table["time"], event, {"csc": risks["csc"][:, 1]}, horizons=[1826], unit="days", kind="apparent",
                        competing=competing, censoring=censoring, null_risk=[0.3])  # fmt: skip
    one = cumulative_dynamic_auc(
        table["time"], event, risks["csc"][:, 1], 1826, competing=competing, censoring=censoring
    )
    assert found.estimate("AUC", "csc").se == pytest.approx(one.se, rel=1e-12)
    null = brier(table["time"], event, np.full(len(table), 0.3), 1826, competing=competing, censoring=censoring)
    assert found.estimate("Brier score", "null model").value == pytest.approx(null.value, rel=1e-12)


def test_odd_requests_are_refused_in_words(pbc):
    table, event, _, risks = pbc
    known = {"horizons": [1095, 1826], "unit": "days", "kind": "apparent"}
    with pytest.raises(DataError, match="one column a horizon"):
        performance(table["time"], event, {"csc": risks["csc"][:, 0]}, **known)
    with pytest.raises(DataError, match="which is no model"):
        performance(table["time"], event, risks, reference="cox", **known)
    with pytest.raises(DataError, match="name one or more"):
        performance(table["time"], event, {}, **known)
    with pytest.raises(DataError, match="between 0 and 1"):
        performance(table["time"], event, {"csc": 2 * risks["csc"]}, **known)
    with pytest.raises(DataError, match="for each of the 2 horizons"):
        performance(table["time"], event, risks, null_risk=[0.1], **known)
    with pytest.raises(DataError, match="must rise"):
        performance(table["time"], event, risks, horizons=[1826, 1095], unit="days", kind="apparent")
    with pytest.raises(DataError, match="there is no AUC"):
        performance(table["time"], event, risks, **known).estimate("AUC", "cs")


def test_a_calibration_curve_says_all_its_summaries(pbc):
    table, event, competing, risks = pbc
    found = calibration_curve(table["time"], event, risks["csc"][:, 1], horizon=1826, unit="days", kind="apparent",
                              competing=competing)  # fmt: skip
    wanted = METRICS["calibration"]["pbc"]
    assert [found.ici.value, found.e50.value, found.e90.value] == pytest.approx(
        [wanted[k] for k in ("ici", "e50", "e90")], rel=1e-7
    )
    assert found.slope.value == pytest.approx(METRICS["calibration"]["fine_gray_slope"]["slope"], rel=1e-8)
    rows = found.frame()
    assert ((rows["low"] < rows["observed"]) & (rows["observed"] < rows["high"])).all()
    assert found.ici.mc_error > 0
    survives(found)
    assert len(found.table()) == 3
    assert set(found.scalars()) >= {"ici_1826days_apparent", "e50_1826days_apparent", "e90_1826days_apparent"}
    again = calibration_curve(table["time"], event, risks["csc"][:, 1], horizon=1826, unit="days", kind="apparent",
                              competing=competing)  # fmt: skip
    assert again.ici == found.ici


def test_auc_and_brier_of_a_binary_endpoint_are_scores(logistic):
    """resp_logistic: every number of auc, auc_diff and brier; metrics.json: the Brier contrasts, log loss, table and limits."""
    d, fits, risks = logistic
    stored = json.loads((REFERENCE / "resp_logistic.json").read_text())["outputs"]
    np.testing.assert_allclose(fits[0].params, list(stored["coef"].values()), rtol=1e-7)
    np.testing.assert_allclose(fits[0].bse, list(stored["se"].values()), rtol=1e-6)
    np.testing.assert_allclose(fits[0].deviance, stored["deviance"], rtol=1e-10)
    found = binary_performance(d["response"], risks, threshold=0.5, kind="apparent")
    for row in pd.DataFrame(stored["auc"]).itertuples():
        one = found.estimate("AUC", row.model)
        assert [one.value, one.se, one.low, one.high] == pytest.approx(
            [row.AUC, row.se, row.lower, row.upper], rel=1e-8
        )
    gap, wanted = found.estimate("AUC", "main", "full"), stored["auc_diff"]
    assert [gap.value, gap.se, gap.low, gap.high] == pytest.approx(
        [wanted[k] for k in ("delta.AUC", "se", "lower", "upper")], rel=1e-6
    )
    p = found.frame().query("measure == 'AUC' and reference == 'full'")["p"].iloc[0]
    assert p == pytest.approx(wanted["p"], rel=1e-6)
    for row in pd.DataFrame(stored["brier"]).itertuples():
        one = found.estimate("Brier score", row.model.replace("Null", "null"))
        assert [one.value, one.se, one.low, one.high] == pytest.approx(
            [row.Brier, row.se, row.lower, row.upper], rel=1e-8
        )
    for row in METRICS["binary"]["contrasts"]:
        one = found.estimate("Brier score", row["model"], row["reference"].replace("Null", "null"))
        assert [one.value, one.se] == pytest.approx([row["delta.Brier"], row["se"]], rel=1e-6)
    loss, binary = found.estimate("logarithmic loss", "full"), METRICS["binary"]
    assert [loss.value, loss.se] == pytest.approx([binary["log_loss"], binary["log_loss_se"]], rel=1e-8)
    tp, fp, fn, _ = binary["table"].values() if isinstance(binary["table"], dict) else binary["table"]
    assert found.estimate("F1", "full").value == pytest.approx(2 * tp / (2 * tp + fp + fn), rel=1e-12)
    for measure in ("accuracy", "recall", "precision"):
        one = found.estimate(measure, "full")
        assert [one.low, one.high] == pytest.approx(binary["wilson"][measure], rel=1e-8)
    survives(found)


@given(st.integers(2, 30), st.integers(0, 10_000), st.floats(0.05, 0.95))
def test_binary_measures_are_counts(n, seed, threshold):
    rng = np.random.default_rng(seed)
    event, risk = rng.random(n) < 0.5, rng.integers(0, 6, n) / 5
    assume(event.any() and not event.all())
    found = binary_performance(event, {"a": risk}, threshold=threshold, kind="external")
    tp = sum(1 for e, r in zip(event, risk, strict=True) if e and r >= threshold)
    fp = sum(1 for e, r in zip(event, risk, strict=True) if not e and r >= threshold)
    fn, tn = event.sum() - tp, (~event).sum() - fp
    pairs = [(r > s) + (r == s) / 2 for r in risk[event] for s in risk[~event]]
    wanted = {
        "accuracy": (tp + tn) / n, "recall": tp / (tp + fn), "specificity": tn / (tn + fp),
        "precision": tp / (tp + fp) if tp + fp else np.nan, "F1": 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else np.nan,
        "AUC": np.mean(pairs), "Brier score": np.mean((event - risk) ** 2),
    }  # fmt: skip
    for name, value in wanted.items():
        assert found.estimate(name, "a").value == pytest.approx(value, nan_ok=True, rel=1e-12)
    wrong = (event & (risk == 0)) | (~event & (risk == 1))
    assert np.isinf(found.estimate("logarithmic loss", "a").value) == wrong.any()


def test_the_error_of_f1_is_that_of_the_jackknife(logistic):
    d, _, risks = logistic
    event, risk = d["response"].to_numpy()[:400] == 1, risks["full"][:400]
    full = binary_performance(event, {"a": risk}, threshold=0.5, kind="apparent").estimate("F1", "a")

    def f1(e, r):
        said = r >= 0.5
        return 2 * (said & e).sum() / (2 * (said & e).sum() + (said != e).sum())

    without = [f1(np.delete(event, i), np.delete(risk, i)) for i in range(400)]
    assert full.se == pytest.approx(np.sqrt(399**2 / 400 * np.var(without, ddof=1)), rel=0.01)


def test_binary_endpoints_that_cannot_be_judged_are_refused():
    known = {"threshold": 0.5, "kind": "external"}
    with pytest.raises(AnalysisError, match="some with and some without"):
        binary_performance([True, True], {"a": [0.5, 0.6]}, **known)
    with pytest.raises(DataError, match="known of each patient"):
        binary_performance([1.0, np.nan], {"a": [0.5, 0.6]}, **known)
    with pytest.raises(DataError, match="must be a probability"):
        binary_performance([True, False], {"a": [0.5, 0.6]}, threshold=50, kind="external")


def make_groups(seed=4, n=600):
    rng = np.random.default_rng(seed)
    x, group = rng.normal(size=n), np.repeat(["women", "men", "other"], [n // 2, n // 2 - 40, 40])
    time, cut = rng.exponential(np.exp(-x)), rng.exponential(2.0, n)
    return np.minimum(time, cut), time <= cut, 1 - np.exp(-0.8 * np.exp(x)), group


def test_a_group_with_few_events_is_called_insufficient_and_gets_no_number():
    time, event, risk, group = make_groups()
    event[group == "other"] &= np.arange(40) < 25
    assert (event & (time <= 0.8))[group == "other"].sum() < 20
    found = performance_by_group(time, event, risk, group, factor="sex", horizon=0.8, unit="years", kind="external")
    verdicts = found.groups.set_index("group")["verdict"]
    assert verdicts.to_dict() == {"men": "estimated", "other": "insufficient", "women": "estimated"}
    assert found.measures.query("group == 'other'")["value"].isna().all()
    assert found.measures.query("group != 'other'")["value"].notna().all()
    assert "Insufficient" in found.text()
    assert found.scalars()["insufficient_groups_sex"] == 1
    again = survives(found)
    assert (again.table()["AUC"] == "insufficient").sum() == 1


def test_a_groups_numbers_are_those_of_its_patients_alone():
    time, event, risk, group = make_groups()
    found = performance_by_group(time, event, risk, group, factor="sex", horizon=0.8, unit="years", kind="external")
    own = group == "women"
    score = brier(time[own], event[own], risk[own], 0.8)
    assert found.estimate("women", "IPA").value == pytest.approx(score.ipa, rel=1e-12)
    assert found.estimate("women", "Brier score").se == pytest.approx(score.se, rel=1e-12)
    c = concordance(time[own], event[own], risk[own], tau=0.8)
    assert found.estimate("women", "Harrell's C").value == c.value


def test_small_groups_leave_no_count_behind():
    time, event, risk, group = make_groups()
    group[:5] = "rare"
    found = performance_by_group(time, event, risk, group, factor="sex", horizon=0.8, unit="years", kind="external")
    rows = found.groups.set_index("group")
    assert np.isnan(rows.loc["rare", "n"])
    assert rows["n"].isna().sum() >= 2
    assert not any(char.isdigit() for char in rows.loc["rare", "reason"].replace("20", "").replace("10", ""))
