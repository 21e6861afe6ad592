"""Competing risks against R: survfit, cmprsk's cuminc and crr, finegray with coxph, riskRegression's CSC."""

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2

from trialml.errors import AnalysisError, DataError
from trialml.result import Z95
from trialml.survival.aalen_johansen import aalen_johansen, checked_causes, incidence_limits
from trialml.survival.cause_specific import cause_specific_cox
from trialml.survival.cumulative_incidence import cumulative_incidence
from trialml.survival.fine_gray import fine_gray
from trialml.survival.gray import gray_test
from trialml.survival.kaplan_meier import kaplan_meier
from trialml.survival.product_limit import step_at

CURVES = json.loads((Path(__file__).parents[1] / "reference" / "curves.json").read_text())
CAUSES = {1: "transplant", 2: "death"}
PBC_TIMES = (365, 1095, 1826, 3000)


@pytest.fixture
def pbc(reference_data):
    table = reference_data("pbc_rct")
    return table.assign(log_bili=np.log(table["bili"]))


def test_incidences_with_their_jackknife_errors_and_limits_are_survfits(oracle, pbc):
    """survfit(Surv(time, factor) ~ trt, conf.type = "log-log"): the three states, the first being no event."""
    case = oracle("surv_aalen_johansen_pbc")
    assert case.take("states") == ["(s0)", "transplant", "death"]
    labels, times = case.take("strata"), case.take("time")
    found = cumulative_incidence(pbc["time"], pbc["status"], group="trt=" + pbc["trt"].astype(str), causes=CAUSES)
    data = checked_causes(pbc["time"], pbc["status"], causes=CAUSES)
    columns = {key: [] for key in ("pstate", "std_err", "lower", "upper")}
    for label, t in zip(labels, times, strict=True):
        mine = np.asarray("trt=" + pbc["trt"].astype(str) == label)
        curves = aalen_johansen(data.time[mine], data.code[mine], 2)
        free = float(step_at(curves.time, curves.survival, t))
        error = float(step_at(curves.time, curves.survival_se, t, initial=0.0))
        low, high = incidence_limits(np.array([free]), np.array([error]), "log-log", Z95)
        read = [found.at(t, cause, label) for cause in found.causes]
        columns["pstate"].append([free, *(one.value for one in read)])
        columns["std_err"].append([error, *(one.se for one in read)])
        columns["lower"].append([low[0], *(one.low for one in read)])
        columns["upper"].append([high[0], *(one.high for one in read)])
    for key, values in columns.items():
        case.agrees(values, key)


def test_incidences_delta_variances_and_grays_tests_are_cmprsks(oracle, pbc, reference_data):
    case = oracle("surv_cuminc_gray")
    mgus = reference_data("mgus2")
    progressed = mgus["pstat"] == 1
    trials = {
        "pbc": (pbc["time"], pbc["status"], pbc["trt"].astype(str), None, PBC_TIMES),
        "pbc_strat_sex": (pbc["time"], pbc["status"], pbc["trt"].astype(str), pbc["sex"], PBC_TIMES),
        "mgus2": (
            np.where(progressed, mgus["ptime"], mgus["futime"]),
            np.where(progressed, 1, 2 * mgus["death"]),
            mgus["sex"],
            None,
            (60, 120, 240),
        ),
    }
    for name, (time, cause, group, strata, times) in trials.items():
        tests = gray_test(time, cause, group, strata=strata).tests
        case.agrees(tests[["chi_square", "p", "df"]], name, "tests")
        found = cumulative_incidence(time, cause, group=group, variance="delta")
        rows = [[found.at(t, one, g) for t in times] for one in ("1", "2") for g in found.groups]
        assert case.outputs[name]["est"]["rownames"] == [f"{g} {one}" for one in ("1", "2") for g in found.groups]
        case.agrees([[cell.value for cell in row] for row in rows], name, "est")
        case.agrees([[cell.se**2 for cell in row] for row in rows], name, "var")


def test_grays_test_of_four_groups_in_strata_and_with_weights_is_cmprsks(pbc):
    """tests/reference/curves.R: cuminc(time, status, stage, strata = sex) and cuminc(time, status, trt, rho = 1)."""
    staged = pbc[pbc["stage"].notna()]
    found = gray_test(staged["time"], staged["status"], staged["stage"], strata=staged["sex"]).tests
    # One p is 9e-10, which magnifies the error of its statistic: p is held to the statistic and that to R.
    wanted = np.array(CURVES["gray_pbc_stage_by_sex"])
    np.testing.assert_allclose(found[["chi_square", "df"]], wanted[:, [0, 2]], rtol=1e-8)
    np.testing.assert_allclose(found["p"], chi2.sf(found["chi_square"], 3), rtol=1e-12)
    found = gray_test(pbc["time"], pbc["status"], pbc["trt"], rho=1).tests
    np.testing.assert_allclose(found[["chi_square", "p", "df"]], CURVES["gray_pbc_rho1"], rtol=1e-8)


def covariates(pbc):
    return pbc[["trt", "age", "log_bili", "edema"]]


def new_patients():
    return pd.DataFrame({"trt": [1, 2], "age": [50, 60], "log_bili": np.log([2, 8]), "edema": [0, 0.5]})


def test_fine_grays_model_is_crrs_with_breslow_ties_and_finegrays_with_efron_ties(oracle, pbc):
    """crr stops 4e-5 short of its own root, hence 1e-4; covariances are compared on the scale of their variances."""
    case = oracle("surv_fine_gray")
    for name, of in (("crr_death", "death"), ("crr_transplant", "transplant")):
        fit = fine_gray(pbc["time"], pbc["status"], covariates(pbc), of=of, causes=CAUSES)
        case.agrees(fit.coefficients["coefficient"], name, "coef", rtol=1e-4)
        case.agrees(fit.coefficients["se"], name, "se", rtol=1e-4)
        scale = np.outer(fit.coefficients["se"], fit.coefficients["se"])
        np.testing.assert_allclose(fit.covariance / scale, case.take(name, "vcov") / scale, atol=1e-4)
        case.agrees(fit.log_likelihood, name, "loglik")
        case.agrees(fit.log_likelihood_null, name, "loglik_null")
    fit = fine_gray(pbc["time"], pbc["status"], covariates(pbc), of="death", causes=CAUSES)
    times = case.take("crr_death_predicted_cif", "times")
    case.agrees(fit.predict(new_patients(), times).T, "crr_death_predicted_cif", "cif", rtol=1e-4)
    efron = fine_gray(pbc["time"], pbc["status"], covariates(pbc), of="death", causes=CAUSES, ties="efron")
    case.agrees(efron.coefficients["coefficient"], "finegray_coxph_death", "coef", rtol=1e-7)
    case.agrees(np.sqrt(np.diag(efron.covariance_model)), "finegray_coxph_death", "se_model", rtol=1e-7)
    case.agrees([efron.log_likelihood_null, efron.log_likelihood], "finegray_coxph_death", "loglik")


def test_fine_grays_model_is_crrs_to_seven_digits_where_crr_is_driven_to_its_root(pbc):
    """tests/reference/curves.R: crr(..., gtol = 1e-12)."""
    wanted = CURVES["crr_death_converged"]
    fit = fine_gray(pbc["time"], pbc["status"], covariates(pbc), of="death", causes=CAUSES)
    np.testing.assert_allclose(fit.coefficients["coefficient"], wanted["coef"], rtol=1e-7)
    scale = np.outer(fit.coefficients["se"], fit.coefficients["se"])
    np.testing.assert_allclose(fit.covariance / scale, wanted["vcov"] / scale, atol=1e-7)
    assert fit.log_likelihood == pytest.approx(wanted["loglik"], rel=1e-10)


def test_with_whole_months_every_convention_for_ties_is_rs(reference_data):
    """tests/reference/curves.R: 300 simulated patients whose events, competing events and censorings share times."""
    table, wanted = reference_data("competing_ties"), CURVES["ties"]
    time, cause, X = table["t"], table["e"], table[["a", "b"]]
    fit = fine_gray(time, cause, X, of="1")
    np.testing.assert_allclose(fit.coefficients["coefficient"], wanted["crr"]["coef"], rtol=1e-7)
    np.testing.assert_allclose(fit.covariance, wanted["crr"]["vcov"], rtol=1e-7)
    assert fit.log_likelihood == pytest.approx(wanted["crr"]["loglik"], rel=1e-10)
    fit = fine_gray(time, cause, X, of="1", ties="efron")
    np.testing.assert_allclose(fit.coefficients["coefficient"], wanted["finegray"]["coef"], rtol=1e-7)
    np.testing.assert_allclose(fit.covariance_model, wanted["finegray"]["vcov"], rtol=1e-7)
    np.testing.assert_allclose([fit.log_likelihood_null, fit.log_likelihood], wanted["finegray"]["loglik"], rtol=1e-10)
    for name, strata in (("gray", None), ("gray_stratified", table["s"])):
        tests = gray_test(time, cause, table["g"], strata=strata).tests
        np.testing.assert_allclose(tests[["chi_square", "p", "df"]], wanted[name], rtol=1e-8)
    found = cumulative_incidence(time, cause, group=table["g"], variance="delta")
    errors = [[found.at(t, one, g).se for t in (3, 8, 15)] for one in found.causes for g in found.groups]
    np.testing.assert_allclose(np.square(errors), wanted["cuminc_var"], rtol=1e-8)
    found = cumulative_incidence(time, cause)
    for i, t in enumerate((3, 8, 15)):
        both = [found.at(t, one) for one in ("1", "2")]
        np.testing.assert_allclose([one.value for one in both], wanted["survfit"]["pstate"][i][1:], rtol=1e-8)
        np.testing.assert_allclose([one.se for one in both], wanted["survfit"]["std_err"][i][1:], rtol=1e-8)


def test_cause_specific_models_and_absolute_risks_are_riskregressions(oracle, pbc):
    case = oracle("surv_cause_specific")
    found = cause_specific_cox(pbc["time"], pbc["status"], pbc[["trt", "age", "log_bili"]], causes=CAUSES)
    rows = found.coefficients.set_index("cause")["coefficient"]
    case.agrees(rows["transplant"], "coef_cause1", rtol=1e-7)
    case.agrees(rows["death"], "coef_cause2", rtol=1e-7)
    risk = found.absolute_risk("death", new_patients(), (365, 1826, 3000))
    case.agrees(risk, "absrisk_cause2", rtol=1e-7)


def test_a_small_incidence_is_that_worked_out_by_hand():
    """Ten patients in exact fractions: at risk 10, 9, 8, 6, 5, 4, 3, 2, 1."""
    time = [1, 2, 3, 3, 4, 5, 6, 7, 8, 9]
    cause = [1, 0, 2, 1, 1, 0, 2, 0, 1, 2]
    found = aalen_johansen(np.array(time, float), np.array(cause), 2)
    survival, incidence, at_risk = Fraction(1), [Fraction(0), Fraction(0)], 10
    for t in sorted(set(time)):
        here = [c for u, c in zip(time, cause, strict=True) if u == t]
        for j in (1, 2):
            incidence[j - 1] += survival * Fraction(here.count(j), at_risk)
        survival *= 1 - Fraction(len(here) - here.count(0), at_risk)
        at_risk -= len(here)
        row = np.flatnonzero(found.time == t)[0]
        np.testing.assert_allclose(found.incidence[row], [float(one) for one in incidence], rtol=1e-14)
        assert found.survival[row] == pytest.approx(float(survival), abs=1e-15)
    assert sum(incidence) + survival == 1


@pytest.mark.parametrize("seed", [1, 2])
def test_the_jackknife_error_is_that_of_leaving_an_infinitesimal_part_of_each_patient_out(seed):
    """Numerical derivative of the weighted estimator by each patient's weight, squared and added up."""
    draw = np.random.default_rng(seed)
    time = draw.integers(1, 12, 40).astype(float)
    cause = draw.integers(0, 3, 40)

    def incidence(weights):
        survival, value, at = 1.0, 0.0, []
        for t in np.unique(time):
            n = weights[time >= t].sum()
            here = weights * (time == t)
            value += survival * here[cause == 1].sum() / n
            survival *= 1 - here[cause > 0].sum() / n
            at.append(value)
        return np.array(at)

    step = 1e-5
    squares = 0.0
    for i in range(40):
        up, down = np.ones(40), np.ones(40)
        up[i] += step
        down[i] -= step
        squares = squares + ((incidence(up) - incidence(down)) / (2 * step)) ** 2
    found = aalen_johansen(time, cause, 2)
    np.testing.assert_allclose(found.se[:, 0], np.sqrt(squares), rtol=1e-6, atol=1e-9)


def test_with_one_cause_incidence_and_error_are_kaplan_meiers_and_greenwoods(pbc):
    found = cumulative_incidence(pbc["time"], pbc["death"]).frame()
    curve = kaplan_meier(pbc["time"], pbc["death"]).frame()
    np.testing.assert_allclose(found["incidence"], 1 - curve["survival"], atol=1e-12)
    known = curve["se"].notna()
    np.testing.assert_allclose(found["se"][known], curve["se"][known], rtol=1e-8, atol=1e-10)


def test_without_competing_events_fine_grays_model_is_coxs(pbc):
    from trialml.survival.cox_fit import fit_cox

    X = covariates(pbc)
    for ties in ("breslow", "efron"):
        found = fine_gray(pbc["time"], pbc["death"], X, of="1", ties=ties)
        if ties == "efron":
            plain = fit_cox(pbc["time"], pbc["death"], X)
            np.testing.assert_allclose(found.coefficients["coefficient"], plain.coefficients, rtol=1e-8)
            np.testing.assert_allclose(found.covariance_model, plain.covariance, rtol=1e-7, atol=1e-12)
            assert found.log_likelihood == pytest.approx(plain.log_likelihood, rel=1e-12)
        assert found.competing == 0


def test_predictions_know_categories_and_refuse_what_the_fit_has_not_seen(pbc):
    X = pd.DataFrame({"arm": pbc["trt"].map({1: "drug", 2: "placebo"}), "age": pbc["age"]})
    coded = pd.DataFrame({"age": pbc["age"], "arm": (pbc["trt"] == 2).astype(float)})
    new = pd.DataFrame({"age": [40.0, 60.0], "arm": ["placebo", "placebo"]})
    words = fine_gray(pbc["time"], pbc["status"], X, of="death", causes=CAUSES)
    numbers = fine_gray(pbc["time"], pbc["status"], coded, of="death", causes=CAUSES)
    np.testing.assert_allclose(words.predict(new, [1000]), numbers.predict(new.assign(arm=1.0), [1000]), rtol=1e-9)
    specific = cause_specific_cox(pbc["time"], pbc["status"], X, causes=CAUSES)
    for ask in (words.predict, lambda frame, t: specific.absolute_risk("death", frame, t)):
        assert ask(new, [0, 1000])[:, 0].tolist() == [0, 0]
        with pytest.raises(DataError, match="level 'other'"):
            ask(new.assign(arm="other"), [1000])
        with pytest.raises(DataError, match="covariate 'age' is absent"):
            ask(new[["arm"]], [1000])
        with pytest.raises(DataError, match="'age' is missing in 2 of 2"):
            ask(new.assign(age=np.nan), [1000])
        with pytest.raises(AnalysisError, match="follow-up ends at 4556 days"):
            ask(new, [9000])
        with pytest.raises(DataError, match="times from 0 on"):
            ask(new, [-1])


def test_absolute_risks_of_all_causes_and_no_event_add_up_to_one(pbc):
    found = cause_specific_cox(pbc["time"], pbc["status"], pbc[["trt", "age", "log_bili"]], causes=CAUSES)
    at = np.array([500.0, 2000.0, 4000.0])
    risks = {cause: found.absolute_risk(cause, new_patients(), at) for cause in found.causes}
    beta = {c: found.coefficients.loc[found.coefficients["cause"] == c, "coefficient"].to_numpy() for c in found.causes}
    X = new_patients()[["trt", "age", "log_bili"]].to_numpy(float) - np.array(found.predictors.means)
    for i in range(2):
        together = sum(np.exp(X[i] @ beta[c]) * found.baseline[f"hazard: {c}"].to_numpy() for c in found.causes)
        free = np.cumprod(1 - together)[np.searchsorted(found.baseline["time"], at, side="right") - 1]
        np.testing.assert_allclose(risks["transplant"][i] + risks["death"][i] + free, 1, rtol=1e-12)


def test_results_survive_json_and_the_incidence_is_drawn_with_numbers_at_risk(pbc):
    from matplotlib.figure import Figure

    group = pbc["trt"].map({1: "drug", 2: "placebo"})
    curves = cumulative_incidence(
        pbc["time"], pbc["status"], group=group, order=["placebo", "drug"], causes=CAUSES, milestone=1826
    )
    results = (
        curves,
        gray_test(pbc["time"], pbc["status"], group, order=["placebo", "drug"], causes=CAUSES),
        fine_gray(pbc["time"], pbc["status"], covariates(pbc), of="death", causes=CAUSES),
        cause_specific_cox(pbc["time"], pbc["status"], covariates(pbc), causes=CAUSES),
    )
    for found in results:
        again = type(found).from_dict(json.loads(json.dumps(found.to_dict())))
        pd.testing.assert_frame_equal(again.frame(), found.frame())
        assert again.text() == found.text()
        assert len(found.table()) >= 2
        assert all(np.isfinite(value) for value in found.scalars().values())
    figure = Figure(figsize=(7, 5), layout="constrained").subfigures(1, 1)
    curves.draw(figure)
    top_left, top_right, bottom_left, _ = figure.axes
    assert [axes.get_title(loc="left") for axes in (top_left, top_right)] == ["transplant", "death"]
    at_zero = {text.get_text() for text in bottom_left.texts if text.get_position()[0] == 0}
    assert at_zero == {"154", "158"}


@pytest.mark.parametrize("interval", ["log-log", "plain", "complementary log-log"])
def test_limits_lie_within_0_and_1_and_around_the_incidence(pbc, interval):
    rows = cumulative_incidence(pbc["time"], pbc["status"], interval=interval).frame()
    rows = rows[rows["incidence"] > 0]
    assert ((rows["low"] >= 0) & (rows["low"] < rows["incidence"])).all()
    assert ((rows["high"] <= 1) & (rows["high"] > rows["incidence"])).all()


def test_codes_that_nobody_explained_and_other_bad_input_are_refused(pbc):
    time, status = pbc["time"], pbc["status"]
    with pytest.raises(DataError, match="code 2, which is not among 1"):
        cumulative_incidence(time, status, causes={1: "transplant"})
    with pytest.raises(DataError, match="stands for censored"):
        cumulative_incidence(time, status, causes={0: "censored", 1: "transplant", 2: "death"})
    with pytest.raises(DataError, match="cannot share a name"):
        cumulative_incidence(time, status, causes={1: "death", 2: "death"})
    with pytest.raises(DataError, match="cause is missing in 1 of 2"):
        cumulative_incidence([1, 2], [1, np.nan])
    with pytest.raises(DataError, match="one code of what happened"):
        cumulative_incidence([1, 2], [True, False])
    with pytest.raises(DataError, match="above 0"):
        cumulative_incidence([0, 2], [1, 0])
    with pytest.raises(DataError, match="one flag a patient"):
        cumulative_incidence([1, 2, 3], [1, 0])
    with pytest.raises(AnalysisError, match="event of any cause"):
        cumulative_incidence([1, 2], [0, 0])
    with pytest.raises(AnalysisError, match="two groups"):
        gray_test(time, status, np.ones(len(pbc)))
    with pytest.raises(AnalysisError, match="no cause has events enough"):
        gray_test([1, 2, 3, 4], [1, 2, 0, 0], list("abab"), strata=list("xyzw"))
    with pytest.raises(DataError, match="of is 'deth', which is no cause: the nearest name is 'death'"):
        fine_gray(time, status, covariates(pbc), of="deth", causes=CAUSES)
    with pytest.raises(DataError, match="10 rows for 312 patients"):
        fine_gray(time, status, covariates(pbc).head(10), of="death", causes=CAUSES)
    with pytest.raises(DataError, match="ties is 'exact'"):
        fine_gray(time, status, covariates(pbc), of="death", causes=CAUSES, ties="exact")
    with pytest.raises(AnalysisError, match="linear combination"):
        fine_gray(time, status, pbc[["age"]].assign(twice=2 * pbc["age"]), of="death", causes=CAUSES)
    with pytest.raises(AnalysisError, match="varies in no risk set"):
        fine_gray(time, status, pbc[["age"]].assign(one=1.0), of="death", causes=CAUSES)
    with pytest.raises(AnalysisError, match="runs away"):
        fine_gray(time, status, pd.DataFrame({"dead": (status == 2).astype(float)}), of="death", causes=CAUSES)
    with pytest.raises(AnalysisError, match=r"cause 'death': .*runs away"):
        cause_specific_cox(
            time, status, pd.DataFrame({"dead": (status == 2).astype(float)}), causes={2: "death", 1: "t"}
        )
    with pytest.raises(DataError, match="'age' is infinite"):
        fine_gray(time, status, pbc[["age"]].replace(pbc["age"].iloc[0], np.inf), of="death", causes=CAUSES)


def test_a_label_for_censored_is_no_cause():
    """Taken for one, half of the incidence would be of being censored."""
    for word in ("censored", "Censor", "no", "None", "FALSE", "alive"):
        with pytest.raises(DataError, match=f"cause has '{word}' as a cause of its own.*pass censored='{word}'"):
            cumulative_incidence([5, 6], ["relapse", word])
        found = cumulative_incidence([5, 6], ["relapse", word], censored=word)
        assert found.causes == ("relapse",)


def test_a_cause_without_events_is_not_compared_and_the_others_are():
    found = gray_test([1, 2, 3, 4], [1, 1, 0, 1], list("abab"), causes={1: "relapse", 2: "death"})
    assert found.tests["df"].tolist() == [1, 0]
    assert np.isnan(found.tests["p"][1])
    assert "death: too few events to compare" in found.text()
    assert found.table()["p (two-sided)"][1] == "n/a"
    assert list(found.scalars()) == ["gray_relapse_chi_square", "gray_relapse_p"]


def test_a_milestone_beyond_follow_up_is_said_and_gives_no_number():
    found = cumulative_incidence([1, 2, 3], [1, 2, 0], milestone=9)
    assert "no group was followed to 9 days" in found.text()
    assert set(found.table()["Cumulative incidence"]) == {"beyond follow-up"}
    assert found.scalars() == {}


def test_codes_may_be_words_and_order_follows_causes():
    found = cumulative_incidence(
        [1, 2, 3, 4],
        ["cens", "relapse", "dead", "cens"],
        censored="cens",
        causes={"relapse": "Relapse", "dead": "Death"},
    )
    assert found.causes == ("Relapse", "Death")
    assert found.at(4, "Relapse").value == pytest.approx(1 / 3)
    with pytest.raises(AnalysisError, match="ends at 4 days with patients still"):
        found.at(5, "Relapse")
    with pytest.raises(DataError, match="no cause 'relapse'"):
        found.at(3, "relapse")
