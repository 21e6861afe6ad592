"""Every number that R's survival gives for its Cox models; the cases themselves check that none is left out."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from trialml.survival.cox import CoxProblem, cox, fit_cox
from trialml.survival.cox_concordance import cox_concordance
from trialml.survival.cox_prediction import cox_curves, cox_survival
from trialml.survival.cox_residuals import baseline_cumulative_hazard, cox_residuals
from trialml.survival.intervals import survival_limits
from trialml.survival.logrank import logrank
from trialml.survival.product_limit import product_limit, step_at
from trialml.survival.proportional_hazards import proportional_hazards
from trialml.survival.terms import design_columns

DATA = Path(__file__).parents[1] / "reference" / "data"


def data(name):
    return pd.read_csv(DATA / f"{name}.csv")


def category(values, *levels):
    return pd.Categorical(values, levels)


def veteran(formula):
    table = data("veteran")
    table["celltype"] = category(table["celltype"], "squamous", "smallcell", "adeno", "large")
    return (table["time"], table["status"], table[formula]), table


def colon(name):
    table = data(name)
    table["rx"] = category(table["rx"], "Obs", "Lev", "Lev+5FU")
    return table


def chronic_granulomatous():
    table = data("cgd")
    table["treat"] = category(table["treat"], "placebo", "rIFN-g")
    table["inherit"] = category(table["inherit"], "X-linked", "autosomal")
    return table


def liver():
    table = data("pbc_rct")
    return (
        table["time"],
        table["death"],
        table[["trt", "age", "edema"]].join(np.log(table[["bili", "albumin", "protime"]])),
    )


def breast():
    table = data("gbsg2")
    table["menostat"] = category(table["menostat"], "Pre", "Post")
    wanted = ["horTh", "age", "menostat", "tsize", "tgrade", "pnodes", "progrec", "estrec"]
    return table["time"], table["cens"], table[wanted]


def landmark():
    table = colon("colon")
    recurrence, death = (table[table["etype"] == kind].set_index("id") for kind in (1, 2))
    death = death[death["time"] > 365]
    recurrence = recurrence.loc[death.index]
    early = (recurrence["status"] == 1) & (recurrence["time"] <= 365)
    return (death["time"] - 365).to_numpy(), death["status"].to_numpy(), death[["rx"]].assign(rec365=early.astype(int))


def compare_fit(case, place, time, event, covariates, subjects=None, **options):
    """Everything that the scripts store of a coxph object."""
    found = cox(time, event, covariates, id=subjects, **options)
    rows = found.frame()
    case.compare(found.n, *place, "n")
    case.compare(found.events, *place, "nevent")
    case.compare(rows["coefficient"], *place, "coef")
    case.compare(rows["se_model"], *place, "se_model")
    case.compare(None if subjects is None else rows["se"], *place, "se_robust")
    case.compare(found.covariance, *place, "vcov")
    case.compare([found.log_likelihood_null, found.log_likelihood], *place, "loglik")
    case.compare(found.wald_chi_square, *place, "wald_chisq")
    case.compare(found.aic, *place, "aic")
    ratios = np.column_stack([rows["hazard_ratio"], 1 / rows["hazard_ratio"], rows["low"], rows["high"]])
    case.compare(ratios, *place, "hr_ci95")
    degrees = found.lr_df
    # A small p magnifies the 3e-9 by which coxph stops short, so chi-squares and z are held to R, and p to these.
    tests = {"lr_test": found.lr_chi_square, "score_test": found.score_chi_square}
    if subjects is None:
        case.compare(None, *place, "robust_score")
        assert np.isnan(found.robust_score_chi_square)
    else:
        tests["robust_score"] = found.robust_score_chi_square
    for name, chi_square in tests.items():
        wanted = case.get(*place, name)
        np.testing.assert_allclose([chi_square, degrees], wanted[:2], rtol=1e-7)
        np.testing.assert_allclose(stats.chi2.sf(*wanted[:2]), wanted[2], rtol=1e-10)
    np.testing.assert_allclose(found.lr_p, stats.chi2.sf(found.lr_chi_square, degrees), rtol=1e-12)
    rounded = case.get(*place, "wald_test_rounded")
    assert round(found.wald_chi_square, 2) == rounded[0]
    np.testing.assert_allclose(stats.chi2.sf(case.get(*place, "wald_chisq"), degrees), rounded[2], rtol=1e-9)
    coefficient = np.array(list(case.get(*place, "coef").values()))
    se = case.get(*place, "se_model" if subjects is None else "se_robust")
    np.testing.assert_allclose(2 * stats.norm.sf(np.abs(coefficient / se)), case.get(*place, "p"), rtol=1e-9)
    np.testing.assert_allclose(rows["p"], 2 * stats.norm.sf(np.abs(rows["z"])), rtol=1e-12)
    problem = CoxProblem(time, event, design_columns(covariates)[0], **options)
    concordance = cox_concordance(problem, rows["coefficient"], id=subjects)
    case.compare(concordance.value, *place, "concordance")
    case.compare(concordance.se, *place, "concordance_se")
    case.aside(*place, "iter", reason="the steps that R's own iteration took")


def test_veteran(reference_case):
    with reference_case("surv_cox_veteran") as case:
        rows, _ = veteran(["trt", "celltype", "karno", "diagtime", "age", "prior"])
        compare_fit(case, ("full",), *rows)
        rows, table = veteran(["trt", "karno", "age"])
        compare_fit(case, ("stratified",), *rows, strata=table["celltype"])
        compare_fit(case, ("robust",), *rows, subjects=np.arange(len(table)))


def test_german_breast_cancer(reference_case):
    with reference_case("surv_cox_gbsg2") as case:
        compare_fit(case, (), *breast())


def test_primary_biliary_cirrhosis(reference_case):
    with reference_case("surv_cox_pbc") as case:
        compare_fit(case, (), *liver())


def test_colon_deaths_and_both_events_clustered_by_patient(reference_case):
    with reference_case("surv_cox_colon") as case:
        table = colon("colon_death").dropna(subset=["nodes", "differ"])
        compare_fit(case, ("death",), table["time"], table["status"], table[["rx", "age", "sex", "nodes", "differ"]])
        table = colon("colon")
        compare_fit(case, ("wlw",), table["time"], table["status"], table[["rx", "age", "sex"]],
                    strata=table["etype"], subjects=table["id"])  # fmt: skip


def test_recurrent_infections_in_counting_process_form(reference_case):
    with reference_case("surv_cox_cgd_andersen_gill") as case:
        table = chronic_granulomatous()
        rows = table["tstop"], table["status"]
        compare_fit(
            case, ("ag",), *rows, table[["treat", "inherit", "steroids"]], entry=table["tstart"], subjects=table["id"]
        )
        compare_fit(case, ("pwp",), *rows, table[["treat"]], entry=table["tstart"], subjects=table["id"],
                    strata=np.minimum(table["enum"], 4))  # fmt: skip


def test_landmark_analysis(reference_case):
    with reference_case("surv_landmark") as case:
        time, event, covariates = landmark()
        case.compare(len(time), "n")
        case.compare(covariates["rec365"].sum(), "n_rec")
        compare_fit(case, ("cox",), time, event, covariates[["rec365", "rx"]])
        group = covariates["rec365"].to_numpy()
        case.compare([f"rec365={one}" for one in np.repeat([0, 1], 3)], "strata")
        case.compare(np.tile([365, 730, 1460], 2), "time")
        numbers = []
        for one in (0, 1):
            curve = product_limit(time[group == one], event[group == one])
            survival = step_at(curve.time, curve.survival, [365, 730, 1460])
            error = step_at(curve.time, curve.se_log, [365, 730, 1460], initial=0.0)
            numbers.append((survival, survival * error, *survival_limits(survival, error, "log-log", 0.95)))
        for row, name in zip(np.hstack(numbers), ("surv", "std_err", "lower", "upper"), strict=True):
            case.compare(row, name)
        case.compare(logrank(time, event, group).chi_square, "logrank_chisq")


def test_interaction_in_the_simulated_trial(reference_case):
    with reference_case("resp_rct_cox_interaction") as case:
        table = data("rct_sim")
        product = table[["w", "x7", "x2"]].assign(product=table["w"] * table["x7"])
        found = fit_cox(table["time"], table["event"], product)
        case.compare(found.coefficients, "coef")
        case.compare(np.sqrt(np.diag(found.covariance)), "se")
        case.compare([found.log_likelihood_null, found.log_likelihood], "loglik")
        for name in ("logrank_strat_chisq", "strata", "time", "surv", "std_err", "lower", "upper", "table"):
            case.aside(name, reason="log-rank, Kaplan-Meier and restricted means, which are not this model's")


def lung():
    table = data("lung").dropna(subset=["ph.ecog"])
    return table["time"], table["status"] == 2, table[["age", "sex", "ph.ecog"]]


def compare_residuals(case, place, problem, fit, rows, names, **tolerance):
    residuals = cox_residuals(problem, fit)
    pairs = {
        "martingale": residuals.martingale[:, None],
        "deviance": residuals.deviance[:, None],
        "score": residuals.score,
        "schoenfeld": residuals.schoenfeld,
        "scaledsch": residuals.scaled_schoenfeld,
        "dfbeta": residuals.dfbeta,
        "dfbetas": residuals.dfbetas,
    }
    for kind, found in pairs.items():
        first, squares, count = (case.get(*place, kind, name) for name in names)
        first = np.array(first["rows"] if isinstance(first, dict) else first)
        np.testing.assert_allclose(found[:rows], first, rtol=1e-7, err_msg=kind, **tolerance)
        np.testing.assert_allclose((found**2).sum(axis=0), squares, rtol=1e-7, err_msg=kind)
        assert len(found) == count


def test_residuals_of_every_kind(reference_case):
    with reference_case("surv_cox_residuals") as case:
        problem = CoxProblem(*lung())
        # coxph's own coefficients are 3e-9 from the root, and its residuals with them
        compare_residuals(case, (), problem, problem.fit(), 10, ("first10", "sumsq", "n"), atol=1e-8)


def test_baseline_hazard_and_prediction(reference_case):
    with reference_case("surv_cox_baseline_prediction") as case:
        time, event, X = lung()
        profiles = pd.DataFrame({"age": [50, 65, 75], "sex": [1, 2, 1], "ph.ecog": [0, 1, 2]})
        found = cox_survival(time, event, X, profiles, times=[100, 200, 365, 700])
        case.compare([100, 200, 365, 700], "times")
        wide = found.frame().pivot_table(index="time", columns="profile", values=["survival", "se", "low", "high"])
        for mine, name in (("survival", "surv"), ("se", "std_err"), ("low", "lower"), ("high", "upper")):
            case.compare(wide[mine], name)
        case.compare(found.profiles["log_hazard"], "lp_centered")
        case.compare(found.profiles["se"], "lp_se")
        case.compare(X.mean(), "means")
        beta = fit_cox(time, event, X).coefficients
        at = case.get("basehaz_uncentered_time")
        for shift, name in ((0.0, "basehaz_uncentered"), (X.mean() @ beta, "basehaz_centered")):
            case.compare(step_at(*baseline_cumulative_hazard(time, event, X @ beta - shift), at, initial=0.0), name)


@pytest.mark.parametrize("ties", ["efron", "breslow"])
def test_weights_delayed_entry_strata_and_subjects_together(reference_case, ties):
    """cox_extra.R, in which coxph converges to its root."""
    _, table = veteran(["trt"])
    columns = table[["trt", "karno", "age"]]
    weights = np.where(table["age"] > 60, 1.5, 0.75)
    plain = {"time": table["time"], "event": table["status"], "X": columns, "weights": weights, "ties": ties}
    strata = table["celltype"].astype(str)
    counted = chronic_granulomatous()
    rows = counted[["age", "steroids"]]
    rows.insert(0, "treat", (counted["treat"] == "rIFN-g").astype(float))
    counting = {"time": counted["tstop"], "event": counted["status"], "entry": counted["tstart"], "ties": ties}
    weighted = np.where(counted["steroids"] == 1, 2, 1) + counted["id"] % 3 / 4
    problems = {
        "weighted": (plain, None),
        "weighted_robust": (plain, np.arange(len(table))),
        "weighted_strata": (plain | {"strata": strata}, None),
        "counting": (counting | {"X": rows, "weights": weighted}, counted["id"]),
        "counting_strata": (counting | {"X": rows[["treat", "age"]], "strata": counted["sex"]}, None),
    }
    profiles = {"weighted": [[1, 30, 50], [2, 80, 70]], "weighted_robust": [[1, 30, 50], [2, 80, 70]],
                "counting": [[0, 5, 0], [1, 30, 1]]}  # fmt: skip
    with reference_case("cox_extra") as case:
        case.aside("R", reason="its version")
        case.aside("survival", reason="its version")
        case.aside("breslow" if ties == "efron" else "efron", reason="the other of the two tests")
        for name, (arguments, id_) in problems.items():
            fit = fit_cox(**arguments, id=id_)
            problem = CoxProblem(**arguments)
            compare_root(case, (ties, name), problem, fit, id_)
            if name == "weighted_robust":
                curves = cox_curves(problem, fit, profiles[name])
                compare_curves(case, (ties, "weighted_robust_curves"), [curves] * 2, "log")
                continue
            compare_residuals(case, (ties, f"{name}_residuals"), problem, fit, 8, ("first", "sumsq", "n"), atol=1e-9)
            options = {key: value for key, value in arguments.items() if key not in ("X", "time", "event")}
            for transform in ("km", "rank", "identity", "log"):
                found = proportional_hazards(arguments["time"], arguments["event"], arguments["X"], transform=transform,
                                             **options).frame()  # fmt: skip
                case.compare(found[["chi_square", "df", "p"]], ties, f"{name}_zph", transform)
        for kind in ("plain", "log", "log-log"):
            problem = CoxProblem(**plain)
            curves = cox_curves(problem, problem.fit(), profiles["weighted"])
            compare_curves(case, (ties, "weighted_curves", kind), [curves] * 2, kind)
        problem = CoxProblem(**problems["counting"][0])
        curves = cox_curves(problem, fit_cox(**problems["counting"][0], id=counted["id"]), profiles["counting"])
        compare_curves(case, (ties, "counting_curves"), [curves] * 2, "log-log")
        problem = CoxProblem(**problems["weighted_strata"][0])
        for k, label in enumerate(("adeno", "large")):
            place = list(problem.strata_labels).index(label)
            curves = cox_curves(problem, problem.fit(), [[1, 60, 60]], place)
            stored = case.outputs[ties]["weighted_strata_curves"][k]
            compare_curves(stored, (), [curves], "log-log")
        case.get(ties, "weighted_strata_curves")


def compare_root(case, place, problem, fit, id_):
    case.compare(fit.coefficients, *place, "coef", rtol=1e-9)
    robust = fit.robust_covariance is not None
    case.compare(fit.robust_covariance if robust else fit.covariance, *place, "var", rtol=1e-9)
    case.compare(fit.covariance if robust else None, *place, "naive", rtol=1e-9)
    case.compare([fit.log_likelihood_null, fit.log_likelihood], *place, "loglik", rtol=1e-9)
    case.compare(fit.score, *place, "score", rtol=1e-9)
    case.compare(fit.robust_score, *place, "rscore", rtol=1e-9)
    covariance = fit.robust_covariance if robust else fit.covariance
    case.compare(fit.coefficients @ np.linalg.solve(covariance, fit.coefficients), *place, "wald", rtol=1e-9)
    concordance = cox_concordance(problem, fit.coefficients, id=id_)
    case.compare(concordance.value, *place, "concordance", rtol=1e-9)
    case.compare(concordance.se, *place, "concordance_se", rtol=1e-9)


def compare_curves(case, place, curves, interval):
    """One column a profile; `case` may be the stored mapping itself."""
    get = case.__getitem__ if isinstance(case, dict) else lambda name: case.get(*place, name)
    times = np.array(get("time"))
    hazard, se = (
        np.column_stack([step_at(c.time, c[part][:, m], times, initial=0.0) for m, c in enumerate(curves)])
        for part in (1, 2)
    )
    survival = np.exp(-hazard)
    low, high = survival_limits(survival.ravel(), se.ravel(), interval, 0.95)
    for name, found in (("surv", survival), ("se", survival * se), ("lower", low), ("upper", high)):
        np.testing.assert_allclose(np.ravel(found), np.ravel(get(name)), rtol=1e-9, err_msg=f"{place} {name}")


def test_proportional_hazards_cases_are_all_compared(reference_case):
    """Chi-squares and degrees of freedom; p is held to its chi-square in test_proportional_hazards."""
    models = {
        "lung": (*lung(), None),
        "veteran": (*veteran(["trt", "celltype", "karno", "age"])[0], None),
        "veteran_strat": (*veteran(["trt", "karno", "age"])[0], data("veteran")["celltype"]),
        "gbsg2": (*breast()[:2], data("gbsg2")[["horTh", "age", "pnodes", "progrec"]], None),
    }
    with reference_case("surv_cox_zph") as case:
        for name, (time, event, covariates, strata) in models.items():
            for transform in ("km", "rank", "identity", "log"):
                found = proportional_hazards(time, event, covariates, strata=strata, transform=transform).frame()
                wanted = case.get(name, transform, "table")
                assert [row.replace("GLOBAL", "global") for row in wanted["rownames"]] == list(found["covariate"])
                wanted = np.array(wanted["rows"])
                np.testing.assert_allclose(found[["chi_square", "df"]], wanted[:, :2], rtol=1e-7)
                np.testing.assert_allclose(stats.chi2.sf(*wanted[:, :2].T), wanted[:, 2], rtol=1e-12)


def test_the_robust_score_test_keeps_the_offset_where_coxph_drops_it():
    """R 4.2.2, survival 3.5.3: coxph(..., cluster) gives 1.1197 as if the offset were 0 under the null hypothesis.

    Ours is ``sum(u)^2 / sum(u^2)`` of ``residuals(coxph(..., init = 0, iter.max = 0), "score", collapse = id, weighted = TRUE)``.
    """
    d = pd.DataFrame({
        "start": [0, 0, 1, 2, 0, 3, 0, 1, 2, 0, 4, 0], "stop": [4, 3, 6, 5, 5, 8, 2, 7, 6, 9, 8, 6],
        "event": [1, 1, 1, 1, 0, 1, 1, 0, 1, 0, 1, 1], "x": [0.3, -1, 0.8, 1.2, -0.4, 0.1, 2, -1.3, 0.5, -0.7, 0.9, -0.2],
        "off": [0.2, -0.3, 0.5, 0, 0.1, -0.4, 0.6, -0.2, 0.3, 0, -0.5, 0.4], "w": [1, 2, 0.5, 1, 1.5, 1, 2, 1, 1, 0.5, 1, 2],
    })  # fmt: skip
    options = {"weights": d["w"], "entry": d["start"], "id": np.arange(12) // 2}
    found = cox(d["stop"], d["event"], d[["x"]], offset=d["off"], **options)
    assert found.robust_score_chi_square == pytest.approx(1.35476180541404, rel=1e-10)
