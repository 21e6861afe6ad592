"""Every number of rpact 3.3.4's and gsDesign 3.10.1's survival designs: fixed, sequential, with futility, and power.

Bounds and probabilities to 1e-6 absolute, sizes to 1e-6 relative; months to 1e-6 relative, the tolerance of rpact's roots.
"""

import math

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from trialml.design.group_sequential import Design
from trialml.design.next_trial import operating_characteristics, plan_trial
from trialml.design.nonproportional import LachinFoulkesTest, compare_tests
from trialml.design.sample_size import patients_for_events, power_of_events, survival_events
from trialml.design.scenario import Scenario

HAZARD = math.log(2) / 12
SIZE = {"rtol": 1e-6, "atol": 0.0}
BOUND = {"rtol": 0.0, "atol": 1e-6}
FORMULAS = {"Schoenfeld": "schoenfeld", "Freedman": "freedman", "HsiehFreedman": "hsieh-freedman"}
LOOKS = {"information_fractions": (0.5, 0.75, 1.0)}
RULES = {
    "OF_3": {"information_fractions": (1 / 3, 2 / 3, 1.0), "spending": "obrien-fleming"},
    "P_3": {"information_fractions": (1 / 3, 2 / 3, 1.0), "spending": "pocock"},
    "asOF_2": {"information_fractions": (0.6, 1.0)},
    "asOF_3u": LOOKS,
    "asP_3u": {**LOOKS, "spending": "lan-demets-pocock"},
    "asOF_5": {"information_fractions": (0.2, 0.4, 0.6, 0.8, 1.0)},
    "asOF_fut": {**LOOKS, "futility_z": (0.0, 0.5)},
}


def by_rate(rate, **changes):
    plain = {"control_hazard_per_month": HAZARD, "hazard_ratio": 0.7, "accrual_per_month": rate}
    return Scenario("case", **{**plain, **changes})


def per_month(share):
    return -math.log(1 - share) / 12


def compare_rpact(case, name, plan, experimental):
    """Compare each number of one getSampleSizeSurvival object with a plan that is not rounded."""
    looks, scenario = plan.looks, plan.scenario
    truth = case.outputs[name]
    futility = plan.design.has_futility
    months, events = looks["calendar_months"], looks["events"]
    eventual = float(scenario.expected_events(plan.duration_months)) / plan.patients
    values = {
        "thetaH0": (1, SIZE),
        "directionUpper": (0, SIZE),
        "median1": (12 / 0.7, SIZE),
        "median2": (12, SIZE),
        "lambda1": (0.7 * HAZARD, SIZE),
        "lambda2": (HAZARD, SIZE),
        "hazardRatio": (plan.hazard_ratio, SIZE),
        "maxNumberOfSubjects": (plan.patients, SIZE),
        "maxNumberOfEvents": (plan.events, SIZE),
        "allocationRatioPlanned": (scenario.allocation_ratio, SIZE),
        "accrualTime": (scenario.accrual_length(), SIZE),
        "totalAccrualTime": (scenario.accrual_length(), SIZE),
        "accrualIntensity": (scenario.accrual_per_month, SIZE),
        "followUpTime": (plan.follow_up_months, SIZE),
        "omega": (eventual, SIZE),
        "eventsFixed": (plan.events / plan.design.inflation_factor, SIZE),
        "nFixed": (plan.patients / plan.design.inflation_factor, SIZE),
        "nFixed1": (experimental * plan.patients / plan.design.inflation_factor, SIZE),
        "nFixed2": ((1 - experimental) * plan.patients / plan.design.inflation_factor, SIZE),
        "rejectPerStage": (looks["stop_probability"], BOUND),
        "earlyStop": (plan.early_stop_probability, BOUND),
        "informationRates": (looks["information_fraction"], SIZE),
        "analysisTime": (months, SIZE),
        "studyDurationH1": (plan.expected_duration_months, SIZE),
        "studyDuration": (plan.expected_duration_months, SIZE),
        "maxStudyDuration": (plan.duration_months, SIZE),
        "eventsPerStage": (events, SIZE),
        "expectedEventsH0": (plan.expected_events_under(1.0), SIZE),
        "expectedEventsH01": (plan.expected_events_under(math.sqrt(0.7)), SIZE),
        "expectedEventsH1": (plan.expected_events_under(0.7), SIZE),
        "numberOfSubjects": (looks["enrolled"], SIZE),
        "numberOfSubjects1": (experimental * looks["enrolled"], SIZE),
        "numberOfSubjects2": ((1 - experimental) * looks["enrolled"], SIZE),
        "expectedNumberOfSubjectsH1": (plan.expected_patients, SIZE),
        "criticalValuesEffectScale": (looks["hazard_ratio_at_bound"], BOUND),
        "criticalValuesPValueScale": (looks["one_sided_p"], BOUND),
        "criticalValues": (looks["critical_z"], BOUND),
    }
    if futility:
        values |= {
            "futilityStop": (looks["futility_probability"].sum(), BOUND),
            "futilityPerStage": (looks["futility_probability"][:-1], BOUND),
            "futilityBoundsEffectScale": (looks["hazard_ratio_at_futility"][:-1], BOUND),
        }
    for key, stored in truth.items():
        empty = stored == [] or (isinstance(stored, dict) and stored["rows"] == [])
        if empty:
            case.compare([], name, key)
        elif key in values:
            found, tolerance = values[key]
            scale = {"numberOfSubjects1", "numberOfSubjects2", "maxNumberOfSubjects1", "maxNumberOfSubjects2"}
            case.compare(found, name, key, **(SIZE if key in scale else tolerance))
    for key, share in (("maxNumberOfSubjects1", experimental), ("maxNumberOfSubjects2", 1 - experimental)):
        if truth[key] != []:
            case.compare(share * plan.patients, name, key, **SIZE)


def aside(case, name, more=()):
    words = {
        "typeOfComputation": "the formula asked for",
        "optimumAllocationRatio": "a switch of the call",
        "accountForObservationTimes": "a switch of the call",
        "accrualIntensityRelative": "a default of the call",
        "kappa": "the shape of a Weibull distribution, 1",
        "piecewiseSurvivalTime": "pieces of the call",
        "dropoutRate1": "an input of the call",
        "dropoutRate2": "an input of the call",
        "dropoutTime": "an input of the call",
        "futilityBoundsPValueScale": "the normal tail of the bound given",
        **dict(more),
    }
    for key, reason in words.items():
        if any(leaf[:2] == (name, key) for leaf in case.open):
            case.aside(name, key, reason=reason)


def test_fixed_designs_are_rpacts(oracle):
    """getSampleSizeSurvival(lambda2 = log(2)/12, hazardRatio = .7, typeOfComputation, allocationRatioPlanned,
    accrualTime = c(0, 12), followUpTime = 18, dropoutRate1, dropoutRate2, dropoutTime = 12)."""
    case = oracle("design_survival_fixed")
    for name, truth in case.outputs.items():
        ratio, formula = truth["allocationRatioPlanned"], FORMULAS[truth["typeOfComputation"]]
        assumed = by_rate(
            1.0,
            allocation_ratio=ratio,
            dropout_per_month=per_month(truth["dropoutRate2"]),
            experimental_dropout_per_month=per_month(truth["dropoutRate1"]),
        )
        plan = plan_trial(
            Design(allocation_ratio=ratio),
            assumed,
            follow_up_months=18,
            accrual_months=12,
            whole_numbers=False,
            events_formula=formula,
        )
        compare_rpact(case, name, plan, ratio / (1 + ratio))
        aside(case, name)


def test_sequential_designs_are_rpacts(oracle):
    """The same with getDesignGroupSequential of seven kinds, 5 % dropout in each arm; one has futility bounds on z."""
    case = oracle("design_survival_gs")
    for name in case.outputs:
        design = Design(**RULES[name])
        assumed = by_rate(1.0, dropout_per_month=per_month(0.05))
        plan = plan_trial(design, assumed, follow_up_months=18, accrual_months=12, whole_numbers=False)
        compare_rpact(case, name, plan, 0.5)
        aside(case, name, [("futilityStop", "no futility bound"), ("futilityPerStage", "no futility bound")])


def test_power_of_given_events_is_rpacts(oracle):
    """getPowerSurvival(asOF at .5/.75/1, maxNumberOfSubjects = 480 in 12 months, maxNumberOfEvents = 335), over hazard
    ratios, with hazards in pieces, and by Freedman's formula. rpact's own futility probabilities of 1e-9 come from its
    bound of -6, where ours has none."""
    case = oracle("design_survival_power")
    for name in case.outputs:
        truth = case.outputs[name]
        formula = FORMULAS[truth["typeOfComputation"]]
        pieces = {} if name != "piecewise" else {"control_hazard_per_month": None, "hazard_breaks_months": (0, 6, 12)}
        if pieces:
            pieces["control_hazards_per_month"] = (0.08, 0.06, 0.04)
        plans = [
            operating_characteristics(
                Design(**LOOKS),
                by_rate(40.0, patients=480, **pieces, hazard_ratio=ratio),
                events=335,
                events_formula=formula,
            )
            for ratio in np.atleast_1d(truth["hazardRatio"])
        ]
        one = plans[0]
        of = lambda field, plans=plans: [getattr(plan, field) for plan in plans]  # noqa: E731
        across = lambda column, plans=plans: np.array([plan.looks[column] for plan in plans]).T  # noqa: E731
        for key, found, tolerance in (
            ("thetaH0", 1, SIZE),
            ("directionUpper", 0, SIZE),
            ("hazardRatio", of("hazard_ratio"), SIZE),
            ("maxNumberOfSubjects", 480, SIZE),
            ("maxNumberOfEvents", 335, SIZE),
            ("allocationRatioPlanned", 1, SIZE),
            ("accrualTime", one.scenario.accrual_length(), SIZE),
            ("totalAccrualTime", one.scenario.accrual_length(), SIZE),
            ("accrualIntensity", one.scenario.accrual_per_month, SIZE),
            ("followUpTime", of("follow_up_months"), SIZE),
            ("expectedNumberOfEvents", of("expected_events"), SIZE),
            ("overallReject", [plan.power.value for plan in plans], BOUND),
            ("rejectPerStage", across("stop_probability"), BOUND),
            ("earlyStop", of("early_stop_probability"), BOUND),
            ("analysisTime", across("calendar_months"), SIZE),
            ("studyDuration", of("expected_duration_months"), SIZE),
            ("maxStudyDuration", of("duration_months"), SIZE),
            ("eventsPerStage", one.looks["events"], SIZE),
            ("numberOfSubjects", across("enrolled"), SIZE),
            ("expectedNumberOfSubjects", of("expected_patients"), SIZE),
            ("criticalValuesEffectScale", one.looks["hazard_ratio_at_bound"], BOUND),
            ("criticalValuesPValueScale", one.looks["one_sided_p"], BOUND),
            ("lambda1", np.outer(np.atleast_1d(truth["hazardRatio"]), one.scenario.pieces[1]).ravel(), SIZE),
            ("lambda2", one.scenario.pieces[1], SIZE),
        ):
            case.compare(found, name, key, **tolerance)
        for key in truth:
            if truth[key] == [] or (isinstance(truth[key], dict) and truth[key]["rows"] == []):
                case.compare([], name, key)
        if "median2" in truth:
            case.compare(one.scenario.control_median_months(), name, "median2", **SIZE)
            case.compare(12 / np.atleast_1d(truth["hazardRatio"]), name, "median1", **SIZE)
        bound = "the probability below rpact's bound of z = -6, which stands for none"
        aside(case, name, [("futilityStop", bound), ("futilityPerStage", bound)])


def test_lachin_foulkes_and_the_other_methods_of_nsurv_are_gsdesigns(oracle):
    """nSurvival, nSurv by four methods, with hazards and accrual in pieces, nEvents, and gsSurv with and without futility.

    gsSurv integrates at r = 18: its bounds are 8e-6 and 4e-6 from rpact's and ours (see the tests of the bounds)."""
    case = oracle("gsdesign_nsurv")
    scenario = by_rate(1.0, accrual_months=12, dropout_per_month=0.004)
    pieces = Scenario(
        "pieces",
        hazard_breaks_months=(0, 6, 12),
        control_hazards_per_month=(0.08, 0.06, 0.04),
        hazard_ratio=0.7,
        accrual_per_month=(1, 2, 3),
        accrual_breaks_months=(0, 3, 6),
        accrual_months=12,
        dropout_per_month=0.004,
    )

    def planned(truth, test):
        return compare_tests(truth, [test], calendar_month=30, power=0.9).tests.iloc[0]

    average, control = planned(scenario, LachinFoulkesTest()), planned(scenario, LachinFoulkesTest("control"))
    staggered = planned(pieces, LachinFoulkesTest())
    case.compare([average["patients"], average["events"]], "nSurvival", **SIZE)
    case.compare(average["patients"], "nSurv", "n", **SIZE)
    case.compare(average["events"], "nSurv", "d", **SIZE)
    case.compare(average["patients"] / 12, "nSurv", "gamma", **SIZE)
    case.compare(staggered["patients"], "nSurv_piecewise", "n", **SIZE)
    case.compare(staggered["events"], "nSurv_piecewise", "d", **SIZE)
    case.compare(staggered["patients"] / 27 * np.array([1, 2, 3]), "nSurv_piecewise", "gamma", **SIZE)
    for method, row in (("LachinFoulkes", average), ("BernsteinLagakos", control)):
        case.compare([row["patients"], row["events"]], "methods", method, **SIZE)
    for method in ("Schoenfeld", "Freedman"):
        events = survival_events(0.7, alpha=0.025, power=0.9, method=method.lower())
        patients = patients_for_events(
            by_rate(1.0, dropout_per_month=0.004), events, accrual_months=12, duration_months=30, whole_numbers=False
        )
        case.compare([patients, events], "methods", method, **SIZE)
    found = [survival_events(ratio, alpha=0.025, power=0.9) for ratio in (0.6, 0.7, 0.8)]
    case.compare(found, "nEvents_schoenfeld", **SIZE)
    case.compare(survival_events(0.7, alpha=0.025, power=0.9, allocation_ratio=2), "nEvents_ratio2", **SIZE)
    case.compare(power_of_events(0.7, 300, alpha=0.025), "power_300_events", rtol=1e-8)
    for name, truth in (("gsSurv", scenario), ("gsSurv_t1_LDPocock", pieces)):
        compare_gssurv(case, name, truth, planned(truth, LachinFoulkesTest())["events"])


def joint_power(design):
    """The probability of rejecting at some look before futility, by scipy's multivariate normal distribution."""
    t, drift = np.array(design.information_fractions), design.drift_for_power()
    correlation = np.sqrt(np.minimum.outer(t, t) / np.maximum.outer(t, t))
    mean, high, low = drift * np.sqrt(t), np.array(design.critical_values), np.array(design.futility_values)
    total = 0.0
    for look in range(len(t)):
        first = slice(look + 1)
        upper, lower = high[first].copy(), low[first].copy()
        upper[look], lower[look] = np.inf, high[look]
        joint = multivariate_normal(mean[first], correlation[first, first], seed=1, abseps=1e-9, maxpts=4 * 10**6)
        total += joint.cdf(upper, lower_limit=lower)
    return total


def null_rejection(design, bounds):
    """The probability of crossing any bound without effect."""
    t = np.array(design.information_fractions)
    correlation = np.sqrt(np.minimum.outer(t, t) / np.maximum.outer(t, t))
    joint = multivariate_normal(np.zeros(len(t)), correlation, seed=1, abseps=1e-9, maxpts=4 * 10**6)
    return 1 - joint.cdf(np.asarray(bounds))


def compare_gssurv(case, name, scenario, fixed_events):
    """gsSurv multiplies the events of nSurv by its design's inflation; the calendar follows from patients and events."""
    futility = {"futility_spending": "hwang-shih-decani", "futility_parameter": -2.0}
    spending = {"spending": "lan-demets-pocock"} if name != "gsSurv" else futility
    design = Design(information_fractions=(*case.take(name, "timing")[:-1], 1.0), **spending)
    # On its grid of r = 18 gsDesign's inflation is up to 1e-5 off; ours has the power by the joint normal distribution.
    total = case.take(name, "n_I")[-1]
    assert fixed_events * design.inflation_factor == pytest.approx(total, rel=1.2e-5)
    assert joint_power(design) == pytest.approx(0.9, abs=1e-7)
    factor = total / float(scenario.expected_events(30))
    sized = scenario.scaled(factor)
    months = [sized.months_to_events(t * total) for t in design.information_fractions]
    case.compare(design.looks, name, "k")
    case.compare(4 if name == "gsSurv" else 1, name, "test_type")
    case.compare(0.025, name, "alpha")
    case.compare(0.1, name, "beta")
    # delta is the drift over the root of the fixed design's events
    delta = (1.959963984540054 + 1.2815515655446004) / math.sqrt(fixed_events)
    case.compare(delta, name, "delta", **SIZE)
    case.compare([0, delta], name, "theta", **SIZE)
    near = SIZE
    case.compare(np.array(design.information_fractions) * total, name, "n_I", **near)
    case.compare(months, name, "T", **near)
    rates = np.atleast_1d(sized.accrual_pieces()[1])
    case.compare(rates, name, "gamma", **near)
    events = sized.event_probability(months)
    half = sized.size() / 2
    case.compare(half * events.control, name, "eDC", **near)
    case.compare(half * events.experimental, name, "eDE", **near)
    for arm in ("eNC", "eNE"):
        case.compare(sized.enrolled(months) / 2, name, arm, **near)
    upper = case.take(name, "upper_bound")
    # gsDesign's last bound is up to 2.1e-5 low: ours spend alpha by the joint normal distribution, its bounds more.
    assert np.asarray(design.critical_values) == pytest.approx(upper, abs=3e-5)
    assert null_rejection(design, design.critical_values) == pytest.approx(0.025, abs=1e-7)
    assert null_rejection(design, upper) > 0.025 + 2e-7
    root = np.sqrt(np.array(design.information_fractions) * total / 4)
    case.compare(np.exp(-np.array(upper) / root), name, "hr_at_upper", **near)
    case.compare(0.7, name, "hr")
    case.compare("Accrual rate", name, "variable")
    case.compare(scenario.pieces[1], name, "lambdaC", **SIZE)
    for key in ("R", "S"):
        case.aside(name, key, reason="lengths of the call's pieces")
    drift = design.drift_for_power()
    if name == "gsSurv":
        assert np.asarray(design.futility_values) == pytest.approx(case.take(name, "lower_bound"), abs=2e-5)
    for key in ("upper_prob", "lower_prob"):
        if (name, key) not in case.open:
            continue
        of = design.exit_probabilities if key == "upper_prob" else design.futility_probabilities
        under = np.array([of(0.0), of(drift)]).T
        assert under == pytest.approx(np.asarray(case.take(name, key)), abs=1e-5)
    assert np.diff(design.cumulative_alpha, prepend=0) == pytest.approx(case.take(name, "upper_spend"), abs=1e-8)
    en = [total * float(design.expected_information(theta)) for theta in (0.0, drift)]
    case.compare(en, name, "en", rtol=1e-5)
    if (name, "falsepos") in case.open or (name, "falseposnb") in case.open:
        found = np.diff(design.cumulative_alpha, prepend=0)
        assert found == pytest.approx(case.take(name, "falseposnb"), abs=1e-6)
    if (name, "lower_spend") in case.open:
        assert design.futility_probabilities(drift) == pytest.approx(case.take(name, "lower_spend"), abs=1e-5)
