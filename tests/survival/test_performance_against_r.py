"""Brier score, AUC and concordance against R: every number of riskRegression::Score's and concordance's stored cases."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from trialml.survival.auc import cumulative_dynamic_auc
from trialml.survival.brier import brier
from trialml.survival.concordance import concordance
from trialml.survival.cox import baseline_cumulative_hazard, fit_cox
from trialml.survival.fine_gray import fine_gray
from trialml.survival.ipcw import cox_censoring, standard_error
from trialml.survival.product_limit import step_at

METRICS = json.loads((Path(__file__).parents[1] / "reference" / "metrics.json").read_text())
COLUMNS = {"full": ["horTh", "age", "pnodes", "progrec"], "nodes": ["pnodes"]}
Z = stats.norm.isf(0.025)


@pytest.fixture(scope="module")
def split(reference_data):
    table = reference_data("gbsg2_split").assign(horTh=lambda d: (d["horTh"] == "yes") * 1.0)
    return table[table["train"]], table[~table["train"]]


@pytest.fixture(scope="module")
def pbc(reference_data):
    return reference_data("pbc_rct")


def fitted(train, model):
    return fit_cox(train["time"], train["cens"] == 1, train[COLUMNS[model]]).coefficients


def cox_risks(split, model, horizon):
    train, test = split
    beta = fitted(train, model)
    times, hazard = baseline_cumulative_hazard(
        train["time"], train["cens"] == 1, train[COLUMNS[model]].to_numpy() @ beta
    )
    return 1 - np.exp(-step_at(times, hazard, horizon, initial=0.0) * np.exp(test[COLUMNS[model]].to_numpy() @ beta))


def limits(value, se, inside=True):
    low, high = value - Z * se, value + Z * se
    return (np.maximum(low, 0), np.minimum(high, 1)) if inside else (low, high)


def compare_scores(case, part, measure, found):
    """`found` maps (model, time) to value and influence."""
    stored = case.outputs[part]
    keys = list(zip(stored["model"], stored["times"], strict=True))
    value = np.array([found[key][0] for key in keys])
    se = np.array([standard_error(found[key][1]) for key in keys])
    case.get(part, "model"), case.get(part, "times")
    case.compare(value, part, measure)
    if part == "AUC" and case.name.endswith("competing"):
        return
    case.compare(se, part, "se")
    low, high = limits(value, se)
    case.compare(low, part, "lower")
    case.compare(high, part, "upper")


def compare_contrasts(case, part, measure, found, *, errors=True):
    stored = case.outputs[part]
    pairs = list(zip(stored["times"], stored["model"], stored["reference"], strict=True))
    gaps = [(found[m, t][0] - found[r, t][0], found[m, t][1] - found[r, t][1]) for t, m, r in pairs]
    for name in ("times", "model", "reference"):
        case.get(part, name)
    delta, se = np.array([gap for gap, _ in gaps]), np.array([standard_error(one) for _, one in gaps])
    case.compare(delta, part, f"delta.{measure}", rtol=1e-6)
    if not errors:
        return
    low, high = limits(delta, se, inside=False)
    case.compare(se, part, "se")
    case.compare(low, part, "lower", rtol=1e-6)
    case.compare(high, part, "upper", rtol=1e-6)
    # A p-value magnifies the error of its statistic.
    np.testing.assert_allclose(np.abs(delta / se), stats.norm.isf(np.array(case.get(part, "p")) / 2), rtol=1e-6)


def test_every_number_of_score_with_a_training_and_a_test_half(split, oracle):
    """Score(list(full, nodes), cens.model = "km", se.fit = TRUE, summary = c("ipa", "ibs"))."""
    case = oracle("surv_score_gbsg2")
    times = [365, 730, 1095, 1461, 1826]
    test = split[1]
    event = test["cens"] == 1
    case.compare(fitted(split[0], "full"), "coef_full")
    case.compare(fitted(split[0], "nodes"), "coef_nodes")
    case.agrees(np.column_stack([cox_risks(split, "full", t)[:10] for t in (365, 1095, 1826)]),
                "risk_full_first10", rtol=1e-7)  # fmt: skip
    area, score, ipa = {}, {}, []
    for model in COLUMNS:
        for t in times:
            risk = cox_risks(split, model, t)
            one, two = cumulative_dynamic_auc(test["time"], event, risk, t), brier(test["time"], event, risk, t)
            area[model, t] = one.value, one.influence
            score[model, t] = two.value, two.influence
            score["Null model", t] = two.null, two.null_influence
            ipa.append(two.ipa)
    compare_scores(case, "AUC", "AUC", area)
    compare_contrasts(case, "AUC_contrasts", "AUC", area)
    compare_scores(case, "Brier", "Brier", score)
    compare_contrasts(case, "Brier_contrasts", "Brier", score)
    case.compare([0.0] * 5 + ipa, "Brier", "IPA")
    # riskRegression's IBS holds each score until the next horizon, and 0 up to the first: ours is by trapezoids.
    edges = np.array([0, *times])
    steps = [
        (np.diff(edges)[: k + 1] @ np.array([0, *[score[model, t][0] for t in times]])[: k + 1]) / times[k]
        for model in ("Null model", "full", "nodes")
        for k in range(5)
    ]
    case.compare(steps, "Brier", "IBS")


def test_every_number_of_score_with_competing_events(pbc, oracle):
    """Score(list(csc, fg), cause = 2) on the risks that riskRegression predicts (metrics.json)."""
    case = oracle("surv_score_competing")
    area, score, ipa = {}, {}, []
    for model in ("csc", "fg"):
        for j, t in enumerate((1095, 1826)):
            risk = np.array(METRICS["competing_risks"][model])[:, j]
            arguments = pbc["time"], pbc["status"] == 2, risk, t
            one = cumulative_dynamic_auc(*arguments, competing=pbc["status"] == 1)
            two = brier(*arguments, competing=pbc["status"] == 1)
            area[model, t] = one.value, one.influence
            score[model, t] = two.value, two.influence
            score["Null model", t] = two.null, two.null_influence
            ipa.append(two.ipa)
    compare_scores(case, "AUC", "AUC", area)
    compare_contrasts(case, "AUC_contrasts", "AUC", area, errors=False)
    compare_scores(case, "Brier", "Brier", score)
    compare_contrasts(case, "Brier_contrasts", "Brier", score)
    case.compare([0.0] * 2 + ipa, "Brier", "IPA")
    model = fine_gray(pbc["time"], pbc["status"], pbc[["trt", "age", "bili"]], of="2")
    case.compare(model.coefficients["coefficient"], "fgr_coef", rtol=1e-4)
    # riskRegression 2022.11.28 takes the patients with cause 1 for the cases in the error of the AUC, whatever `cause`
    # is: with the two causes swapped it gives ours (below), and so does leaving out each patient in turn.
    for name in ("se", "lower", "upper"):
        case.aside("AUC", name, reason="the error of another cause's AUC")
        case.aside("AUC_contrasts", name, reason="the error of another cause's AUC")
    case.aside("AUC_contrasts", "p", reason="the error of another cause's AUC")
    for stored in METRICS["competing_swapped"]["AUC"]:
        value, influence = area[stored["model"], stored["times"]]
        np.testing.assert_allclose([value, standard_error(influence)], [stored["AUC"], stored["se"]], rtol=1e-8)
    for stored in METRICS["competing_swapped"]["AUC_contrasts"]:
        gap = area["fg", stored["times"]][1] - area["csc", stored["times"]][1]
        np.testing.assert_allclose(standard_error(gap), stored["se"], rtol=1e-8)


def test_the_first_cause_needs_no_swap(pbc):
    stored = METRICS["first_cause"]
    for j, t in enumerate((1095, 1826)):
        arguments = pbc["time"], pbc["status"] == 1, np.array(stored["risk"])[:, j], t
        area = cumulative_dynamic_auc(*arguments, competing=pbc["status"] == 2)
        score = brier(*arguments, competing=pbc["status"] == 2)
        wanted, both = stored["AUC"][j], [row for row in stored["Brier"] if row["times"] == t]
        np.testing.assert_allclose([area.value, area.se], [wanted["AUC"], wanted["se"]], rtol=1e-8)
        np.testing.assert_allclose(
            [score.null, score.null_se, score.value, score.se, score.ipa],
            [both[0]["Brier"], both[0]["se"], both[1]["Brier"], both[1]["se"], both[1]["IPA"]],
            rtol=1e-8,
        )


def test_censoring_by_a_cox_model(split):
    """The weighted mean with coxph's censoring weights; then Score(cens.model = "cox"), whose model stops at 1e-6."""
    test = split[1]
    ended = test["cens"] == 1
    censoring = cox_censoring(test["time"], ended, test[["horTh", "age"]])
    for by_hand in METRICS["cox_censoring_by_hand"]:
        t = by_hand["horizon"]
        weights = censoring.weights((test["time"] > t).to_numpy(), t)
        np.testing.assert_allclose(weights[:5], by_hand["weights"], rtol=1e-8)
        score = brier(test["time"], ended, cox_risks(split, "full", t), t, censoring=censoring)
        np.testing.assert_allclose(score.value, by_hand["brier"], rtol=1e-7)
        # rms::cph takes Efron's ties and its steps end at 1e-6; predictCox's influences are off by up to 2 in 100 for
        # single patients, where ours are the derivative (test_performance_properties.py).
        area = cumulative_dynamic_auc(test["time"], ended, cox_risks(split, "full", t), t, censoring=censoring)
        for part, found in (("Brier", score), ("AUC", area)):
            wanted = next(r for r in METRICS["cox_censoring"][part] if r["model"] == "full" and r["times"] == t)
            np.testing.assert_allclose(found.value, wanted[part], rtol=2e-4)
            np.testing.assert_allclose(found.se, wanted["se"], rtol=2e-3)


WEIGHTINGS = {"n": "harrell", "uno": "uno", "S": "peto-wilcoxon", "SG": "schemper", "I": "equal"}


def test_every_number_of_concordance(reference_data, oracle):
    """concordance(coxph(...), timewt = ...), with ymax and within strata."""
    case = oracle("surv_concordance")
    gbsg2 = reference_data("gbsg2").assign(horTh=lambda d: d["horTh"] == "yes")
    lung = reference_data("lung").dropna(subset=["ph.ecog"])
    outcomes = {}
    for name, table, event, columns in (
        ("gbsg2", gbsg2, gbsg2["cens"] == 1, COLUMNS["full"]),
        ("lung", lung, lung["status"] == 2, ["age", "sex", "ph.ecog"]),
    ):
        X = table[columns].astype(float)
        outcomes[name] = table["time"], event, X.to_numpy() @ fit_cox(table["time"], event, X).coefficients
    for name, arguments in {
        "gbsg2_harrell": {}, "gbsg2_uno": {"weighting": "uno"}, "gbsg2_uno_ymax1826": {"weighting": "uno", "tau": 1826},
        "gbsg2_SG": {"weighting": "schemper"}, "gbsg2_S": {"weighting": "peto-wilcoxon"},
        "gbsg2_I": {"weighting": "equal"}, "gbsg2_strata_menostat": {"strata": gbsg2["menostat"]},
        "lung_harrell": {}, "lung_uno": {"weighting": "uno"},
    }.items():  # fmt: skip
        found = concordance(*outcomes[name.split("_")[0]], **arguments)
        case.compare(found.value, name, "concordance", rtol=1e-8)
        case.compare(found.se, name, "se", rtol=1e-8)
        counts = case.take(name, "counts")
        if "weighting" not in arguments:
            assert found.comparable == np.sum(np.array(counts)[..., :3])


@pytest.mark.parametrize("kind", WEIGHTINGS)
def test_concordance_with_case_weights(reference_data, kind):
    """concordance(Surv(time, status) ~ age, weights = w, timewt = ...)."""
    lung = reference_data("lung")
    weights = 0.5 + (np.arange(1, len(lung) + 1) % 7) / 3
    found = concordance(lung["time"], lung["status"] == 2, lung["age"], weighting=WEIGHTINGS[kind], weights=weights)
    wanted = METRICS["concordance"]["weighted"][kind]
    np.testing.assert_allclose([found.value, found.se], [wanted["value"], wanted["se"]], rtol=1e-8)
    assert found.comparable == pytest.approx(METRICS["concordance"]["weighted"]["n"]["count"], rel=1e-12)


@pytest.mark.parametrize("kind", ["n", "uno"])
def test_concordance_within_strata(reference_data, kind):
    lung = reference_data("lung")
    found = concordance(lung["time"], lung["status"] == 2, lung["age"], weighting=WEIGHTINGS[kind], strata=lung["sex"])
    wanted = METRICS["concordance"]["stratified"][kind]
    np.testing.assert_allclose([found.value, found.se], [wanted["value"], wanted["se"]], rtol=1e-8)


def test_the_difference_of_two_concordances_has_the_error_of_their_influences(reference_data):
    """concordance(fit1, fit2): the difference by its contrast."""
    table = reference_data("gbsg2_split").assign(horTh=lambda d: (d["horTh"] == "yes") * 1.0)
    found = [
        concordance(table["time"], table["cens"] == 1, table[COLUMNS[model]].to_numpy() @ fitted(table, model))
        for model in ("full", "nodes")
    ]
    wanted = METRICS["concordance"]["paired"]
    gap = found[1].influence - found[0].influence
    np.testing.assert_allclose([one.value for one in found], wanted["value"], rtol=1e-8)
    np.testing.assert_allclose(found[1].value - found[0].value, wanted["difference"], rtol=1e-8)
    np.testing.assert_allclose(np.sqrt(gap @ gap), wanted["se"], rtol=1e-8)


def test_leaving_out_each_patient_gives_the_error_of_the_auc_with_competing_events(pbc):
    time, event, other = pbc["time"].to_numpy(), (pbc["status"] == 2).to_numpy(), (pbc["status"] == 1).to_numpy()
    risk = np.array(METRICS["competing_risks"]["csc"])[:, 1]
    n = len(time)
    full = cumulative_dynamic_auc(time, event, risk, 1826, competing=other)
    kept = [np.arange(n) != i for i in range(n)]
    without = [cumulative_dynamic_auc(time[k], event[k], risk[k], 1826, competing=other[k]).value for k in kept]
    assert full.se == pytest.approx(np.sqrt((n - 1) ** 2 / n * np.var(without, ddof=1)), rel=0.02)
