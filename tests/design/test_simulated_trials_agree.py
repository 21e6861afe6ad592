"""Simulated figures within their combined Monte Carlo error of rpact's, simtrial's and the integrals'.

A family of figures is judged as one: the largest difference in joint Monte Carlo errors must stay below the quantile that
leaves 1 % to all of them together (Bonferroni). Where the other program does not print the spread of a mean, ours
stands for it, since both draw from one distribution.
"""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtri

from trialml.design.group_sequential import Design
from trialml.design.integration import crossing_probabilities
from trialml.design.look_tests import cut_patients, look_test
from trialml.design.scenario import Scenario
from trialml.design.sequential_effect import look_effects, sequential_power
from trialml.design.simulate import simulate
from trialml.design.trial_plan import trial_plan
from trialml.design.trial_sums import LookRules, run_plan
from trialml.survival.cox_fit import fit_cox

TRIALS = 40_000
HAZARD = math.log(2) / 12


class Family:
    """Pairs of figures with their Monte Carlo errors, compared together at the end of the ``with`` block."""

    def __init__(self, level=0.01):
        self.level, self.rows = level, []

    def __enter__(self):
        return self

    def shares(self, name, ours, trials, theirs, their_trials):
        """Add shares of trials, each of ours beside each of theirs; an exact figure has `their_trials` of infinity."""
        for p, q, n in np.broadcast(np.ravel(ours), np.ravel(theirs), their_trials):
            pooled = q if math.isinf(n) else (p * trials + q * n) / (trials + n)
            self.rows.append((name, p, q, math.sqrt(pooled * (1 - pooled) * (1 / trials + 1 / n))))

    def means(self, name, ours, errors, trials, theirs, their_trials):
        """Add means; `errors` are ours from `trials` trials."""
        for p, error, n, q, m in np.broadcast(
            np.ravel(ours), np.ravel(errors), np.ravel(trials), np.ravel(theirs), np.ravel(their_trials)
        ):
            self.rows.append((name, p, q, error * math.sqrt(1 + n / m)))

    def __exit__(self, kind, *_):
        if kind is None:
            table = pd.DataFrame(self.rows, columns=["figure", "ours", "theirs", "error"])
            same = (table["ours"] == table["theirs"]) & (table["error"] == 0)
            away = np.where(same, 0.0, (table["ours"] - table["theirs"]).abs() / table["error"])
            limit = -float(ndtri(self.level / 2 / len(table)))
            assert (away <= limit).all(), f"limit {limit:.2f}\n{table.assign(away=away)[away > limit].to_string()}"


def rules(targets, upper, *, months=None, timing="events", futility=None, horizon=60.0):
    none = np.full(len(targets), -np.inf)
    return LookRules(
        np.array(targets), np.zeros(len(targets)) if months is None else np.array(months), timing, np.array(upper), none,
        none if futility is None else np.array(futility), False, horizon,
    )  # fmt: skip


def of_looks(tally):
    """Return the means and their errors of the trials that reached each look, shape (looks, 5)."""
    n = tally.reached[:, None]
    mean = tally.sums / n
    return mean, np.sqrt(np.maximum(tally.squares / n - mean**2, 0.0) / n)


def of_ends(tally):
    mean = tally.final_sums / tally.trials
    return mean, np.sqrt(np.maximum(tally.final_squares / tally.trials - mean**2, 0.0) / tally.trials)


DELAYED = {"hazard_ratios": (1.0, 0.6), "hazard_ratio_breaks_months": (0, 4)}
RPACT = {
    "control_median_months": 12,
    "accrual_per_month": 400 / 12,
    "patients": 400,
    "dropout_per_month": -math.log(0.95) / 12,  # 5 % in 12 months
}
SIMTRIAL = Scenario.from_median(
    "",
    control_median_months=12,
    accrual_per_month=(10, 20, 40),
    accrual_breaks_months=(0, 2, 4),
    patients=380,
    dropout_per_month=0.002,
    **DELAYED,
)
RESTATED = [
    "maxNumberOfIterations",
    "seed",
    "allocationRatioPlanned",
    "directionUpper",
    "plannedEvents",
    "accrualTime",
    "maxNumberOfSubjects",
    "dropoutRate1",
    "dropoutRate2",
    "dropoutTime",
    "thetaH0",
    "allocation1",
    "allocation2",
    "kappa",
    "lambda1",
    "hazardRatio",
]


def compare_with_rpact(case, family, place, tally, column, trials):
    """Compare every simulated figure of one of rpact's scenarios, the column of its tables."""
    n = 10_000
    reached = np.array(case.outputs["iterations"]["rows"] if not place else case.outputs["sim"]["iterations"]["rows"])
    reached = reached[:, column].astype(float)

    def theirs(name):
        value = case.take(*place, name)
        return np.asarray(value, dtype=float)[..., column] if np.ndim(value) else float(value)

    mean, error = of_looks(tally)
    end, end_error = of_ends(tally)
    reject = tally.stopped[:, 0] / tally.trials
    family.shares("reach", tally.reached / tally.trials, trials, theirs("iterations") / n, n)
    family.shares("reject", reject, trials, theirs("rejectPerStage"), n)
    family.shares("power", reject.sum(), trials, theirs("overallReject"), n)
    family.shares("early stop", reject[0], trials, theirs("earlyStop"), n)
    family.means("months", mean[:, 2], error[:, 2], tally.reached, theirs("analysisTime"), reached)
    family.means("duration", end[2], end_error[2], trials, theirs("studyDuration"), n)
    # In a few trials of 10,000 rpact counts one event more than planned, so its events are means, not constants.
    extra = 1e-4 * math.sqrt(tally.trials / n)
    family.means("expected events", end[3], max(end_error[3], extra), trials, theirs("expectedNumberOfEvents"), n)
    family.means("events", mean[:, 3], extra, trials, theirs("overallEventsPerStage"), n)
    new = np.diff(mean[:, 3], prepend=0.0)
    family.means("events of a stage", new, extra, trials, theirs("eventsPerStage"), n)
    for name in ("futilityPerStage", "futilityStop", "eventsNotAchieved"):
        assert not np.any(theirs(name))
    assert tally.stopped[:, 2].sum() == tally.short.sum() == 0
    for name in ("numberOfSubjects", "expectedNumberOfSubjects"):
        np.testing.assert_allclose(theirs(name), 400.0, rtol=1e-12)
    for arm in ("numberOfSubjects1", "numberOfSubjects2"):
        np.testing.assert_allclose(theirs(arm), 200.0, rtol=1e-12)
    assert (mean[:, 4] == 400.0).all()


def test_exponential_trials_agree_with_rpact(oracle):
    case = oracle("sim_survival_rpact")
    design = Design(information_fractions=(0.6, 1.0))
    np.testing.assert_allclose(design.critical_values, case.take("critical"), atol=1e-6)
    for name in RESTATED:
        case.aside("sim", name, reason="restates an input of the case")
    case.agrees(400 / 12, "sim", "accrualIntensity")
    case.agrees(HAZARD, "sim", "lambda2")
    case.agrees(12.0, "sim", "median2")
    case.agrees(0.5, "sim", "pi2")
    ratios = np.array([1, 0.8, 0.7, 0.6])
    case.agrees(12.0 / ratios, "sim", "median1")
    case.agrees(1 - np.exp(-HAZARD * ratios * 12), "sim", "pi1")
    case.aside("sim", "conditionalPowerAchieved", reason="conditional power is compared where it is computed")
    with Family() as family:
        for column, ratio in enumerate(ratios):
            plan = trial_plan(Scenario.from_median("", hazard_ratio=ratio, **RPACT), entry="even")
            tally = run_plan(plan, rules((150, 250), design.critical_values), trials=TRIALS, seed=11, workers=2)
            compare_with_rpact(case, family, ("sim",), tally, column, TRIALS)
    check_rpact_integrals(case, design, ratios)


def check_rpact_integrals(case, design, ratios):
    """Compare the integrals that rpact printed beside its simulation with ours."""
    exits = design.exit_probabilities(-np.log(ratios) * math.sqrt(250 / 4))
    case.agrees(exits.T, "analytic", "rejectPerStage", rtol=1e-5)
    case.agrees(exits.sum(axis=1), "analytic", "overallReject", rtol=1e-7)
    case.agrees(exits[:, 0], "analytic", "earlyStop", rtol=1e-6)
    for name in ("futilityStop", "futilityPerStage"):
        assert np.max(case.take("analytic", name)) < 1e-8  # the tail that rpact's grid leaves out
    scenarios = [Scenario.from_median("", hazard_ratio=ratio, **RPACT) for ratio in ratios]
    months = np.array([[scenario.months_to_events(events) for scenario in scenarios] for events in (150, 250)])
    ends = np.array([exits[:, 0], 1 - exits[:, 0]])
    case.agrees(months, "analytic", "analysisTime", rtol=1e-6)
    case.agrees(months[1], "analytic", "maxStudyDuration", rtol=1e-6)
    case.agrees(months[1] - 12, "analytic", "followUpTime", rtol=1e-6)
    case.agrees((ends * months).sum(axis=0), "analytic", "studyDuration", rtol=1e-6)
    case.agrees(ends.T @ [150, 250], "analytic", "expectedNumberOfEvents", rtol=1e-7)
    z = np.array(design.critical_values)
    case.agrees(np.exp(-2 * z / np.sqrt([150, 250])), "analytic", "criticalValuesEffectScale", rtol=1e-6)
    case.agrees(design.one_sided_p, "analytic", "criticalValuesPValueScale", rtol=1e-5)
    for place in [place for place in case.open if place[0] == "analytic"]:
        case.aside(*place, reason="restates an input, or is empty")


def test_a_delayed_effect_agrees_with_rpact(oracle):
    case = oracle("sim_survival_piecewise_rpact")
    design = Design(information_fractions=(0.6, 1.0))
    plan = trial_plan(Scenario.from_median("", **RPACT, **DELAYED), entry="even")
    tally = run_plan(plan, rules((150, 250), design.critical_values), trials=TRIALS, seed=12, workers=2)
    with Family() as family:
        compare_with_rpact(case, family, (), tally, 0, TRIALS)
    for name in (*RESTATED, "lambda2", "piecewiseSurvivalTime"):
        case.aside(name, reason="restates an input of the case")
    case.agrees(400 / 12, "accrualIntensity")
    case.aside("conditionalPowerAchieved", reason="conditional power is compared where it is computed")


def test_two_looks_under_a_delayed_effect_agree_with_simtrial(oracle):
    case = oracle("sim_simtrial_gs")
    design = Design(information_fractions=(0.6, 1.0))
    np.testing.assert_allclose(design.critical_values, case.take("bounds"), atol=1e-5)
    plan = trial_plan(SIMTRIAL)
    bounds = rules((150, 250), case.take("bounds"))
    stops = run_plan(plan, bounds, trials=TRIALS, seed=13, workers=2)
    goes_on = run_plan(plan, bounds._replace(upper=np.full(2, np.inf)), trials=TRIALS, seed=13, workers=2)
    mean, error = of_looks(goes_on)
    reject = stops.stopped[:, 0] / TRIALS
    with Family() as family:
        family.shares("interim", reject[0], TRIALS, case.take("reject_ia"), 1000)
        family.shares("power", reject.sum(), TRIALS, case.take("reject_total"), 1000)
        family.means("z", mean[:, 0], error[:, 0], TRIALS, case.take("mean_z"), 1000)
        family.means("months", mean[:, 2], error[:, 2], TRIALS, case.take("cut_date"), 1000)
    z = np.array(design.critical_values)
    case.agrees(z, "analytic", "bound", "z", rtol=1e-5)
    case.agrees(design.one_sided_p, "analytic", "bound", "nominal p", rtol=1e-5)
    case.agrees(np.exp(-2 * z / np.sqrt([150, 250])), "analytic", "bound", "~hr at bound", rtol=1e-6)
    case.agrees(np.cumsum(design.exit_probabilities(0.0)), "analytic", "bound", "probability0", rtol=1e-6)
    case.aside("columns", reason="names of the program's columns")
    check_simtrial_integrals(case, design)


def check_simtrial_integrals(case, design):
    """Compare the average-hazard-ratio approximation that was printed beside the simulation with ours."""
    found = look_effects(SIMTRIAL, [SIMTRIAL.months_to_events(events) for events in (150, 250)])
    power = sequential_power(design, found)
    for name, value in (
        ("analysis", [1, 2]),
        ("time", found.months),
        ("n", found.patients),
        ("event", found.events),
        ("ahr", found.hazard_ratio),
        ("theta", found.theta),
        ("info", found.information),
        ("info0", found.null_information),
        ("info_frac", found.information / found.information[-1]),
        ("info_frac0", found.null_information / found.null_information[-1]),
    ):
        case.agrees(value, "analytic", "analysis", name, rtol=1e-6)
    # gsDesign2 puts the bound on the scale of the information under the scenario at the first look alone, for which
    # rejecting and going on no longer add up to 1; ours does at every look. With its way the figures are equal.
    bounds, means = power.critical_values, found.theta * np.sqrt(found.information)
    unscaled = crossing_probabilities(bounds, np.full(2, -np.inf), found.information, means).above
    mixed = [power.rejects[0], power.rejects[0] + unscaled[1]]
    case.agrees(mixed, "analytic", "bound", "probability", rtol=1e-5)
    assert abs(power.rejects.sum() - mixed[1]) < 1e-3
    case.agrees([1, 2], "analytic", "bound", "analysis")
    case.compare(["upper", "upper"], "analytic", "bound", "bound")


@pytest.fixture(scope="module")
def delayed_log_hazard_ratio():
    """Mean and error of Cox's log hazard ratio of 1,000 trials at 36 months and at 250 events."""
    plan, found = trial_plan(SIMTRIAL), []
    for trial in range(1000):
        drawn = plan.draw(21, trial)
        last = np.sort((drawn.entry + drawn.time)[drawn.event == 1])[249]
        cuts = [cut_patients(drawn, month) for month in (36.0, last)]
        found.append([fit_cox(cut.time, cut.event, cut.arm[:, None].astype(float)).coefficients[0] for cut in cuts])
    return np.mean(found, axis=0), np.std(found, axis=0) / math.sqrt(1000)


def test_fixed_trials_with_three_tests_agree_with_simtrial(oracle, delayed_log_hazard_ratio):
    case = oracle("sim_simtrial_fixed")
    case.aside("columns", reason="names of the program's columns")
    assert case.take("n_sim") == 1000
    plan, trials = trial_plan(SIMTRIAL), 4000
    rows = pd.DataFrame({name: case.get("summary", name) for name in case.outputs["summary"]})
    beta, beta_error = delayed_log_hazard_ratio
    critical = [-float(ndtri(0.025))]
    with Family() as family:
        for row in rows.itertuples():
            timing = "months" if row.cut == "Planned duration" else "events"
            cut = rules((250,), critical, months=[36.0], timing=timing)
            pair = ((0.0, 0.0),) if row.test == "FH(0,0)" else ((0.0, 0.5),)
            weighted = look_test("fleming-harrington", pair)
            tally = run_plan(plan, cut, trials=trials, seed=14, run=weighted.run)
            mean, error = of_looks(tally)
            family.shares(f"{row.test} {timing}", tally.stopped[0, 0] / trials, trials, row.reject, 1000)
            family.means("z", mean[0, 0], error[0, 0], trials, -row.mean_z, 1000)
            family.means("months", mean[0, 2], error[0, 2], trials, row.duration, 1000)
            family.means("events", mean[0, 3], error[0, 3], trials, row.event, 1000)
            k = 0 if timing == "months" else 1
            family.means("log hazard ratio", beta[k], beta_error[k], 1000, row.ln_hr, 1000)
            combo = look_test("maxcombo", ((0.0, 0.0), (0.0, 0.5)))
            tally = run_plan(plan, cut, trials=trials, seed=15, run=combo.run)
            family.shares("MaxCombo", tally.stopped[0, 0] / trials, trials, row.reject_maxcombo, 1000)


@pytest.mark.parametrize("ratio", [1.0, 0.9])
def test_rejection_agrees_with_the_integrals_where_the_normal_approximation_is_close(ratio):
    """Schoenfeld's drift is the limit of a small effect; 700 events leave the approximation little error."""
    design = Design(information_fractions=(0.5, 0.75, 1.0))
    scenario = Scenario.from_median(
        "", control_median_months=12, hazard_ratio=ratio, accrual_per_month=50, patients=1000, dropout_per_month=0.005
    )
    found = simulate(design, scenario, 50_000, 3, events=700)
    exits = design.exit_probabilities(-math.log(ratio) * math.sqrt(700 / 4))
    with Family() as family:
        family.shares("reject", found.looks["reject"], 50_000, exits, math.inf)
        family.shares("power", found.power.value, 50_000, exits.sum(), math.inf)


def test_the_simulated_means_of_rpact_agree_with_our_integrals(oracle):
    """The other way round: theirs is simulated (one standard deviation, 50 a stage and arm) and ours is exact."""
    case = oracle("sim_rates_means_rpact")
    for place in [place for place in case.open if place[0] == "rates"]:
        case.aside(*place, reason="its sample size is estimated again at the interim, which is out of scope")
    design, n = Design(information_fractions=(0.5, 1.0)), 10_000
    exits = design.exit_probabilities(np.array(case.take("means", "alternative")) * math.sqrt(50)).T
    with Family() as family:
        for k in range(3):
            stages = np.array(case.outputs["means"]["rejectPerStage"]["rows"])[:, k]
            family.shares("reject", stages, n, exits[:, k], math.inf)
            family.shares("power", stages.sum(), n, exits[:, k].sum(), math.inf)
    case.compare(np.sum(case.take("means", "rejectPerStage"), axis=0), "means", "overallReject")
    stopped = np.array(case.take("means", "earlyStop"))
    case.compare(200 - 100 * stopped, "means", "expectedNumberOfSubjects")
    case.compare([[n] * 3, n * (1 - stopped)], "means", "iterations")
    case.compare(case.outputs["means"]["rejectPerStage"]["rows"][0], "means", "earlyStop")
    case.compare(np.full((2, 3), 100), "means", "sampleSizes")
    for name in ("futilityPerStage", "futilityStop"):
        assert not np.any(case.take("means", name))
    case.aside("means", "conditionalPowerAchieved", reason="conditional power is compared where it is computed")
    for place in [place for place in case.open if place[0] == "means"]:
        case.aside(*place, reason="restates an input of the case")


NO_EFFECT = Scenario.from_median(
    "", control_median_months=12, hazard_ratio=1, accrual_per_month=50, patients=1000, dropout_per_month=0.005
)
"""With 700 events the normal approximation leaves little error."""


@pytest.mark.parametrize(
    "rules_of_futility",
    [
        {"futility_z": (0.0, 0.5)},
        {"futility_spending": "lan-demets-obrien-fleming"},
        {"futility_z": (1.0, 1.5), "binding": True},
    ],
    ids=["by z", "by spending", "binding"],
)
def test_type_one_error_with_a_futility_bound_followed_and_not(rules_of_futility):
    """Against the integrals, and against alpha itself where efficacy bounds do not count on the futility bound."""
    design, trials = Design(information_fractions=(0.5, 0.75, 1.0), **rules_of_futility), 60_000
    followed = simulate(design, NO_EFFECT, trials, 4, events=700)
    overruled = simulate(design, NO_EFFECT, trials, 4, events=700, follow_futility=False)
    with Family() as family:
        family.shares("reject", followed.looks["reject"], trials, design.exit_probabilities(0.0), math.inf)
        stops = design.futility_probabilities(0.0)[:-1]
        family.shares("futility", followed.looks["futility"][:-1], trials, stops, math.inf)
        free = np.full(3, -np.inf)
        level = crossing_probabilities(design.critical_values, free, design.information_fractions, np.zeros(3))[0].sum()
        family.shares("level", overruled.power.value, trials, level, math.inf)
    assert followed.power.value < overruled.power.value
    # Who overrules a binding bound pays with alpha.
    assert level == pytest.approx(0.025, abs=1e-7) if not design.binding else level > 0.026


def test_a_two_sided_design_rejects_in_favour_of_either_arm():
    design, trials = Design(information_fractions=(0.5, 1.0), sides=2), 60_000
    found = simulate(design, NO_EFFECT, trials, 6, events=700)
    exits = design.exit_probabilities(0.0)
    with Family() as family:
        family.shares("reject", found.looks["reject"], trials, exits, math.inf)
        family.shares("harm", found.looks["harm"], trials, exits, math.inf)
