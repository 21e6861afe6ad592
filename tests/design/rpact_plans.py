"""How a plan of a mean or a rate stands in rpact's words; every field of a stored plan is compared or set aside."""

import numpy as np

SIZE = {"rtol": 1e-6, "atol": 0.0}
BOUND = {"rtol": 0.0, "atol": 1e-6}
ASKED = [
    "meanRatio",
    "riskRatio",
    "normalApproximation",
    "alternative",
    "stDev",
    "optimumAllocationRatio",
    "pi1",
    "pi2",
    "directionUpper",
    "allocationRatioPlanned",
    "thetaH0",
    "groups",
]


NOTHING = ([], {"dim": [0, 0], "rows": []})


def compare_with_rpact(case, key, plans):
    """Compare plans, one for each column of the stored case, with everything that rpact says of them."""
    for name, value in case.outputs[key].items():
        if value in NOTHING:
            case.aside(key, name, reason="rpact has nothing there")
        elif name in ASKED:
            case.aside(key, name, reason="what was asked for")
        elif name in ("futilityStop", "futilityPerStage"):
            assert not any(plan.design.has_futility for plan in plans)
            case.aside(key, name, reason="rpact writes a z of -6 for no futility bound, and its probability of 1e-9")
        elif name in SIZES:
            compare(SIZES[name](plans), case.take(key, name), f"{key} > {name}", SIZE)
        elif name in OTHERS:
            compare(OTHERS[name](plans), case.take(key, name), f"{key} > {name}", BOUND)


def compare(found, wanted, place, tolerance):
    """Compare by rows of looks and columns of plans; rpact prints one column for plans that share a number."""
    found, wanted = np.atleast_2d(found), np.atleast_2d(np.asarray(wanted, dtype=float))
    if wanted.shape[1] == 1 and found.shape[1] > 1:
        wanted = np.repeat(wanted, found.shape[1], axis=1)
    assert found.shape == wanted.shape, place
    np.testing.assert_allclose(found, wanted, err_msg=place, **tolerance)


def looks(plans, column):
    """One row a look, one column a plan, as rpact prints them."""
    return np.column_stack([plan.looks[column] for plan in plans])


def each(number):
    """A function that reads one number from each plan."""
    return lambda plans: [number(plan) for plan in plans]


def each_look(column):
    """A function that reads a column of the looks from each plan."""
    return lambda plans: looks(plans, column)


SIZES = {
    "nFixed": each(lambda plan: plan.fixed_patients),
    "nFixed1": each(lambda plan: plan.fixed_patients * plan.design.experimental_share),
    "nFixed2": each(lambda plan: plan.fixed_patients * (1 - plan.design.experimental_share)),
    "maxNumberOfSubjects": each(lambda plan: plan.patients),
    "maxNumberOfSubjects1": each(lambda plan: plan.looks["experimental"].iloc[-1]),
    "maxNumberOfSubjects2": each(lambda plan: plan.looks["control"].iloc[-1]),
    "numberOfSubjects": each_look("patients"),
    "numberOfSubjects1": each_look("experimental"),
    "numberOfSubjects2": each_look("control"),
    "expectedNumberOfSubjects": each(lambda plan: plan.expected_patients),
    "expectedNumberOfSubjectsH0": each(lambda plan: plan.expected_patients_null),
    "expectedNumberOfSubjectsH01": each(lambda plan: plan.expected_patients_halfway),
    "expectedNumberOfSubjectsH1": each(lambda plan: plan.expected_patients),
}
OTHERS = {
    "overallReject": each(lambda plan: plan.power.value),
    "rejectPerStage": each_look("stop_probability"),
    "earlyStop": each(lambda plan: plan.early_stop_probability),
    "effect": each(lambda plan: plan.effect - plan.null),
    "informationRates": each_look("information_fraction"),
    "criticalValuesEffectScale": each_look("effect_at_bound"),
    "criticalValuesEffectScaleUpper": each_look("effect_at_bound"),
    "criticalValuesEffectScaleLower": each_look("opposite_effect_at_bound"),
    "criticalValuesPValueScale": lambda plans: looks(plans, "one_sided_p") * plans[0].design.sides,
}
