"""Every number of the stored Kaplan-Meier and Nelson-Aalen cases (R's survfit, survival 3.5.3)."""

import numpy as np
import pandas as pd
import pytest

from trialml.survival.kaplan_meier import kaplan_meier, product_limit, step_at
from trialml.survival.nelson_aalen import nelson_aalen
from trialml.survival.rmst import _area


def lung(read):
    table = read("lung")
    return {"time": table["time"], "event": table["status"] == 2, "group": "sex=" + table["sex"].astype(str)}


def colon(read):
    table = read("colon_death")
    return {"time": table["time"], "event": table["status"], "group": "rx=" + table["rx"]}, ("Obs", "Lev", "Lev+5FU")


def veteran(read):
    table = read("veteran")
    cells = ("squamous", "smallcell", "adeno", "large")
    return {"time": table["time"], "event": table["status"], "group": "celltype=" + table["celltype"]}, cells


def gbsg2(read):
    table = read("gbsg2")
    return {"time": table["time"], "event": table["cens"], "group": "horTh=" + table["horTh"]}, ("no", "yes")


def compare_times(case, found, hazards, kind):
    """Compare summary(survfit, times): counts, probability, cumulative hazard, their errors and limits."""
    times = case.take(kind, "time")
    groups = case.take(kind, "strata")
    groups = groups if isinstance(groups, list) else [found.groups[0]] * len(times)
    read = [found.at(t, g) for t, g in zip(times, groups, strict=True)]
    case.agrees([one.value for one in read], kind, "surv")
    case.agrees([one.se for one in read], kind, "std_err_surv")
    case.agrees([one.low for one in read], kind, "lower")
    case.agrees([one.high for one in read], kind, "upper")
    at_risk = [found.numbers_at_risk([t])[g].iloc[0] for t, g in zip(times, groups, strict=True)]
    case.agrees(at_risk, kind, "n_risk")
    rows = found.frame()
    since, last = [], {}
    for t, g in zip(times, groups, strict=True):
        mine = (rows["group"] == g) & (rows["time"] <= t) & (rows["time"] > last.get(g, 0.0))
        since.append(rows.loc[mine, "n_event"].sum())
        last[g] = t
    case.agrees(since, kind, "n_event_since_previous")
    for key, column in (("cumhaz", "cumulative_hazard"), ("std_chaz", "se")):
        values = []
        for t, g in zip(times, groups, strict=True):
            mine = hazards.frame()[hazards.frame()["group"] == g]
            values.append(step_at(mine["time"], mine[column], t, initial=0.0))
        case.agrees(values, kind, key)


def compare_quantiles(case, found, *kind, instead=None):
    """Compare quantile(survfit); `instead` maps (key, row, column) to R's number where ours is not to be R's."""
    probabilities = case.take(*kind, "quantiles", "probs")
    quantiles = [[found.quantile(p, g) for p in probabilities] for g in found.groups]
    for key, name in (("quantile", "value"), ("lower", "low"), ("upper", "high")):
        ours = np.array([[getattr(q, name) for q in row] for row in quantiles])
        for (which, row, column), value in (instead or {}).items():
            if which == key:
                ours[row, column] = value
        case.agrees(ours, *kind, "quantiles", key, null=np.inf)


def compare_table(case, data, groups, *path):
    """Compare summary(survfit)$table: counts, the area to the last time of any curve, and the median with log limits."""
    found = kaplan_meier(data["time"], data["event"], group=data.get("group"), order=groups, interval="log")
    tau = float(np.max(data["time"]))
    rows = []
    for group in found.groups:
        mine = np.ones(len(data["time"]), bool) if "group" not in data else np.asarray(data["group"] == group)
        n, events = int(mine.sum()), int(np.asarray(data["event"], bool)[mine].sum())
        area = _area(product_limit(data["time"][mine], data["event"][mine]), tau)
        median = found.median(group)
        rows.append([n, n, n, events, area.value, area.se, median.value, median.low, median.high])
    case.agrees(rows if len(rows) > 1 else rows[0], *path, null=np.inf)


CASES = {
    "surv_km_lung": lambda read: ({k: v for k, v in lung(read).items() if k != "group"}, None),
    "surv_km_lung_sex": lambda read: (lung(read), ("sex=1", "sex=2")),
    "surv_km_colon_rx": lambda read: (colon(read)[0], tuple(f"rx={g}" for g in colon(read)[1])),
    "surv_km_veteran_celltype": lambda read: (veteran(read)[0], tuple(f"celltype={g}" for g in veteran(read)[1])),
    "surv_km_gbsg2_horTh": lambda read: (gbsg2(read)[0], ("horTh=no", "horTh=yes")),
}


@pytest.mark.parametrize("name", sorted(CASES))
def test_probabilities_hazards_quantiles_and_five_kinds_of_limits_are_survfits(oracle, reference_data, name):
    data, groups = CASES[name](reference_data)
    case = oracle(name)
    hazards = nelson_aalen(**data, order=groups)
    for kind in ("log-log", "plain", "log", "logit", "arcsin"):
        found = kaplan_meier(**data, order=groups, interval=kind)
        compare_times(case, found, hazards, kind)
        compare_quantiles(case, found, kind)
    compare_table(case, data, groups, "table")


def test_every_step_of_the_lung_curve_is_survfits(oracle, reference_data):
    case, data = oracle("surv_km_curve_full"), lung(reference_data)
    found = kaplan_meier(**data).frame()
    assert case.take("strata_sizes") == [int((found["group"] == g).sum()) for g in ("sex=1", "sex=2")]
    for key, column in (("time", "time"), ("n_risk", "n_risk"), ("n_event", "n_event"), ("n_censor", "n_censor")):
        case.agrees(found[column], key)
    case.agrees(found["survival"], "surv")
    case.agrees(found["low"], "lower")
    case.agrees(found["high"], "upper")
    curves = [product_limit(*(data[k][data["group"] == g] for k in ("time", "event"))) for g in ("sex=1", "sex=2")]
    case.agrees(np.concatenate([curve.se_log for curve in curves]), "std_err_logscale")
    case.agrees(np.concatenate([curve.cumulative_hazard for curve in curves]), "cumhaz")
    case.agrees(np.concatenate([curve.se_hazard for curve in curves]), "std_chaz")


def test_rows_of_the_counting_process_have_survfits_jackknife_errors(oracle, reference_data):
    """cgd: several infections a patient; the robust variance is the default, as in R. A calculation check."""
    table, case = reference_data("cgd"), oracle("surv_km_cgd_counting")
    data = {
        "time": table["tstop"],
        "event": table["status"],
        "entry": table["tstart"],
        "id": table["id"],
        "group": "treat=" + table["treat"],
    }
    hazards = nelson_aalen(**data)
    for kind in ("log-log", "plain", "log"):
        found = kaplan_meier(**data, interval=kind)
        assert found.variance == "robust"
        compare_times(case, found, hazards, kind)
        compare_quantiles(case, found, kind)
    assert found.sizes["patients"].sum() == table["id"].nunique()


def test_delayed_entry_is_survfits(oracle, reference_data):
    """mgus2 on the age scale from 60 on. One of R's numbers is not ours, for a reason.

    With delayed entry a limit can rise again when the risk set fills. Men's lower log-log limit is .719 at 60.08 years
    and .736 at 61.25: it passes .75 at 60.08, which is Brookmeyer and Crowley's lower limit of the first quartile.
    R's quantile() looks the level up in the sorted limits and so answers 61.25.
    """
    table, case = reference_data("mgus2_age"), oracle("surv_km_left_truncated")
    table = table[table["age"] >= 60]
    data = {
        "time": table["age_out"],
        "event": table["death"],
        "entry": table["age"],
        "group": "sex=" + table["sex"],
    }
    for kind in ("log-log", "plain"):
        found = kaplan_meier(**data, interval=kind)
        compare_times(case, found, nelson_aalen(**data), kind)
        compare_quantiles(case, found, kind, instead={("lower", 1, 0): 61.25} if kind == "log-log" else None)
    men = kaplan_meier(**data, interval="log-log")
    assert men.at(60.09, "sex=M").low < 0.75
    assert men.quantile(0.25, "sex=M").low == pytest.approx(60 + 1 / 12)


def test_case_weights_with_robust_variance_are_survfits(oracle, reference_data):
    table, case = reference_data("veteran"), oracle("surv_km_weighted")
    case.outputs = {"it": case.outputs}
    case.left = {("it", *path) for path in case.left}
    data = {
        "time": table["time"],
        "event": table["status"],
        "group": "trt=" + table["trt"].astype(str),
        "weights": np.where(table["age"] > 60, 1.5, 0.75),
    }
    found = kaplan_meier(**data)
    assert found.variance == "robust"
    compare_times(case, found, nelson_aalen(**data), "it")
    compare_quantiles(case, found, "it")


def test_cumulative_hazards_with_and_without_tie_correction_are_survfits(oracle, reference_data):
    """stype 1 is the Kaplan-Meier curve, stype 2 exp(-H); ctype 2 breaks ties as Fleming and Harrington do."""
    case, data = oracle("surv_nelson_aalen"), lung(reference_data)
    compare_times(case, kaplan_meier(**data, interval="log"), nelson_aalen(**data), "stype1_ctype1")
    for kind, ties in (("stype2_ctype1", "aalen"), ("stype2_ctype2", "fleming-harrington")):
        found = nelson_aalen(**data, ties=ties, interval="plain")
        curves = kaplan_meier(**data)
        rows = [found.frame()[found.frame()["group"] == g] for g in case.take(kind, "strata")]
        times = case.take(kind, "time")
        start = {"survival": 1.0, "survival_low": 1.0, "survival_high": 1.0}
        for key, column in (
            ("surv", "survival"),
            ("std_err_surv", "survival_se"),
            ("lower", "survival_low"),
            ("upper", "survival_high"),
            ("cumhaz", "cumulative_hazard"),
            ("std_chaz", "se"),
        ):
            values = [
                step_at(r["time"], r[column], t, initial=start.get(column, 0.0))
                for r, t in zip(rows, times, strict=True)
            ]
            case.agrees(values, kind, key)
        groups = [r["group"].iloc[0] for r in rows]
        at_risk = [curves.numbers_at_risk([t])[g].iloc[0] for t, g in zip(times, groups, strict=True)]
        case.agrees(at_risk, kind, "n_risk")
        since = []
        for i, (r, t) in enumerate(zip(rows, times, strict=True)):
            before = times[i - 1] if i and groups[i - 1] == groups[i] else 0
            since.append(r.loc[(r["time"] > before) & (r["time"] <= t), "n_event"].sum())
        case.agrees(since, kind, "n_event_since_previous")


def test_the_simulated_trials_curves_medians_and_means_are_survfits(oracle, reference_data):
    """The whole of resp_rct_cox_interaction: Cox interaction, stratified log-rank, curves, RMST and medians by cell."""
    from trialml.survival.cox_fit import fit_cox
    from trialml.survival.logrank import logrank

    table, case = reference_data("rct_sim"), oracle("resp_rct_cox_interaction")
    X = pd.DataFrame({"w": table["w"], "x7": table["x7"], "x2": table["x2"], "w:x7": table["w"] * table["x7"]})
    fit = fit_cox(table["time"], table["event"], X)
    case.agrees(fit.coefficients, "coef", rtol=1e-7)
    case.agrees(np.sqrt(np.diag(fit.covariance)), "se", rtol=1e-7)
    case.agrees([fit.log_likelihood_null, fit.log_likelihood], "loglik", rtol=1e-8)
    test = logrank(table["time"], table["event"], table["w"], strata=table["x7"])
    case.agrees(test.chi_square, "logrank_strat_chisq")
    cells = "w=" + table["w"].astype(str) + ", x7=" + table["x7"].astype(str)
    data = {"time": table["time"], "event": table["event"], "group": cells}
    found = kaplan_meier(**data)
    read = [found.at(t, g) for t, g in zip(case.take("time"), case.take("strata"), strict=True)]
    for key, name in (("surv", "value"), ("std_err", "se"), ("lower", "low"), ("upper", "high")):
        case.agrees([getattr(one, name) for one in read], key)
    rows = []
    for group in found.groups:
        mine = np.asarray(cells == group)
        area = _area(product_limit(table["time"][mine], table["event"][mine]), 24.0)
        median, n = found.median(group), int(mine.sum())
        rows.append([n, n, n, median.events, area.value, area.se, median.value, median.low, median.high])
    case.agrees(rows, "table", null=np.inf)
