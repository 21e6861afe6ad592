"""The gallery, plans under effects that change, covariates, doubt, groups and what is refused."""

import json
import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from trialml.design.average_hazard_ratio import average_hazard_ratio
from trialml.design.covariate_adjustment import adjusted_size
from trialml.design.doubtful_effect import Assurance, assurance_with_doubt
from trialml.design.gallery import GALLERY, cure, delayed_effect, gallery, responders
from trialml.design.group_sequential import Design
from trialml.design.next_trial import OperatingCharacteristics, operating_characteristics, plan_trial
from trialml.design.sample_size import drift_per_event, patients_for_events, power_of_events
from trialml.design.scenario import Group, Scenario
from trialml.errors import AnalysisError

THREE = Design(information_fractions=(0.5, 0.75, 1.0))
REST = {"accrual_per_month": 30.0}


def plain(**changes):
    return Scenario("s", **{"hazard_ratio": 0.7, "control_hazard_per_month": 0.05, **REST, **changes})


@pytest.mark.parametrize("name", sorted(GALLERY))
def test_every_scenario_of_the_gallery_has_a_source_and_the_median_asked_for(name):
    entry, scenario = GALLERY[name], gallery(15.0, **REST)[name]
    assert any(year in entry.source for year in ("2013", "2019", "2020", "2021", "2023"))
    assert scenario.control_median_months() == pytest.approx(15.0, rel=1e-9)
    assert scenario.proportional == (name in ("no effect", "proportional", "cure"))


def test_the_delayed_effect_is_magirr_and_burmans():
    """Magirr and Burman (2019): no effect for 6 months, a hazard ratio of 1/2 after it."""
    (group,) = delayed_effect(15.0, **REST).hazard_pieces()
    assert list(group.breaks) == [0, 6]
    assert group.experimental / group.control == pytest.approx([1.0, 0.5], rel=1e-12)


def test_a_cured_fraction_never_has_its_event():
    """Events end at three medians, when an eighth of the control arm and 0.125**HR of the other is left."""
    scenario = cure(12.0, hazard_ratio=0.7, patients=300, **REST)
    assert scenario.eventual_probability() == pytest.approx(1 - (0.125 + 0.125**0.7) / 2, rel=1e-12)
    assert float(scenario.expected_events(500.0)) == pytest.approx(300 * scenario.eventual_probability(), rel=1e-12)
    with pytest.raises(AnalysisError, match="300 patients can give at most 246"):
        scenario.months_to_events(250)


def test_events_of_groups_are_the_sum_of_the_groups():
    both = responders(12.0, prevalence=0.4, hazard_ratio=0.5, patients=300, **REST)
    alone = [plain(control_hazard_per_month=math.log(2) / 12, hazard_ratio=ratio, patients=300) for ratio in (0.5, 1.0)]
    wanted = 0.4 * alone[0].expected_events([6, 20, 60]) + 0.6 * alone[1].expected_events([6, 20, 60])
    assert both.expected_events([6, 20, 60]) == pytest.approx(wanted, rel=1e-12)
    events = [0.4 * float(alone[0].expected_events(60)), 0.6 * float(alone[1].expected_events(60))]
    ratio = 0.5 ** (events[0] / sum(events))
    assert float(average_hazard_ratio(both, 60).hazard_ratio) == pytest.approx(ratio, rel=1e-12)


def test_pieces_of_accrual_and_dropout_by_arm_are_the_double_integral():
    """Adaptive quadrature over entry of h / (h + d) (1 - exp(-(h + d) u)), by arm."""
    scenario = plain(
        accrual_per_month=(10, 0, 30),
        accrual_breaks_months=(0, 2, 5),
        patients=170,
        dropout_per_month=0.01,
        experimental_dropout_per_month=0.03,
    )
    assert scenario.accrual_length() == pytest.approx(10.0)
    assert list(scenario.enrolled([0, 1, 4, 6, 20])) == pytest.approx([0, 10, 20, 50, 170])
    ours = scenario.event_probability(24.0)
    for found, hazard, dropout in ((ours.control, 0.05, 0.01), (ours.experimental, 0.035, 0.03)):
        total = hazard + dropout
        events = lambda e, h=hazard, t=total: h / t * -math.expm1(-t * (24 - e))  # noqa: E731
        wanted = 10 * quad(events, 0, 2)[0] + 30 * quad(events, 5, 10)[0]
        assert float(found) == pytest.approx(wanted / 170, rel=1e-10)


def test_the_simulators_pieces_are_the_scenarios():
    scenario = plain(
        hazard_ratio=None,
        hazard_breaks_months=(0, 6),
        control_hazards_per_month=(0.08, 0.04),
        hazard_ratio_breaks_months=(0, 3),
        hazard_ratios=(1.0, 0.5),
        control_hazard_per_month=None,
    )
    ((prevalence, breaks, control, experimental),) = scenario.hazard_pieces()
    assert prevalence == 1
    assert list(breaks) == [0, 3, 6]
    assert control == pytest.approx([0.08, 0.08, 0.04])
    assert experimental == pytest.approx([0.08, 0.04, 0.02])
    assert scenario.dropout_hazards() == (0.0, 0.0)
    assert [list(one) for one in scenario.accrual_pieces()] == [[0], [30]]


@pytest.mark.parametrize("times", [{"follow_up_months": 18}, {"duration_months": 48}])
@pytest.mark.parametrize("design", [Design(), THREE, Design(information_fractions=(0.6, 1.0), futility_z=(0.0,))])
def test_a_plan_under_a_delayed_effect_has_its_power_and_no_patient_more(design, times):
    scenario = delayed_effect(12.0, delay_months=3.0, hazard_ratio=0.6, **REST)
    plan = plan_trial(design, scenario, **times, whole_numbers=False)
    assert plan.power.value == pytest.approx(0.9, abs=1e-9)
    month = average_hazard_ratio(plan.scenario, plan.duration_months)
    assert plan.hazard_ratio == pytest.approx(float(month.hazard_ratio), rel=1e-9)
    assert plan.events == pytest.approx(float(month.events), rel=1e-9)
    whole = plan_trial(design, scenario, **times)
    assert whole.power.value >= 0.9
    assert whole.patients == 4 * math.ceil(plan.patients / 4 - 1e-9)
    assert "average hazard ratio at the final analysis" in whole.text()
    assert whole.events_formula == "average hazard ratio"


def test_a_changing_effect_that_does_not_change_is_planned_nearly_as_a_constant_one():
    """As the pieces approach one hazard ratio the two ways differ by the information under and without effect alone."""
    nearly = plain(hazard_ratio=None, hazard_ratio_breaks_months=(0, 6), hazard_ratios=(0.7, 0.7000001))
    by_average = plan_trial(THREE, nearly, follow_up_months=18, whole_numbers=False)
    constant = plan_trial(THREE, plain(), follow_up_months=18, whole_numbers=False)
    assert by_average.events == pytest.approx(constant.events, rel=0.01)


def test_a_plan_with_a_number_of_patients_looks_later_under_a_weaker_effect():
    scenario = delayed_effect(12.0, delay_months=3.0, hazard_ratio=0.6, patients=600, **REST)
    plan = plan_trial(THREE, scenario)
    assert plan.power.value >= 0.9
    before = operating_characteristics(Design(), plan.scenario, events=plan.events - 40)
    assert before.duration_months < plan.duration_months


def test_futility_stands_in_table_frame_text_and_store():
    design = Design(
        information_fractions=(0.5, 0.75, 1.0), futility_spending="hwang-shih-decani", futility_parameter=-2.0
    )
    plan = plan_trial(design, plain(), follow_up_months=18)
    assert "efficacy and futility (non-binding)" in plan.text()
    assert "Stop for futility below z of" in plan.table()
    ends = plan.looks["stop_probability"].sum() + plan.looks["futility_probability"].sum()
    assert ends == pytest.approx(1.0, abs=1e-9)
    again = OperatingCharacteristics.from_dict(json.loads(json.dumps(plan.to_dict())))
    assert again.design == plan.design
    assert again.text() == plan.text()


def test_a_plan_with_groups_comes_back_from_its_store():
    plan = plan_trial(Design(), responders(12.0, prevalence=0.6, hazard_ratio=0.4, **REST), follow_up_months=18)
    again = OperatingCharacteristics.from_dict(json.loads(json.dumps(plan.to_dict())))
    assert again.scenario == plan.scenario
    assert again.hazard_ratio == plan.hazard_ratio


def test_covariates_shrink_the_events_by_what_they_explain():
    assert adjusted_size(400, 0.2) == pytest.approx(320)
    without, with_them = (
        plan_trial(THREE, plain(), follow_up_months=18, whole_numbers=False, covariate_r_squared=share)
        for share in (0.0, 0.15)
    )
    assert with_them.events == pytest.approx(0.85 * without.events, rel=1e-12)
    assert with_them.power.value == pytest.approx(0.9, abs=1e-9)
    assert "explain 15" in with_them.text()
    assert with_them.looks["hazard_ratio_at_bound"].to_numpy() == pytest.approx(
        without.looks["hazard_ratio_at_bound"].to_numpy(), rel=1e-12
    )


@pytest.mark.parametrize("design", [Design(), THREE])
def test_assurance_with_doubt_is_the_mixture_of_two_integrals(design):
    found = assurance_with_doubt(design, 331, math.log(0.7), 0.15, no_effect_probability=0.3)
    root = math.sqrt(331 / 4)

    def integrand(b):
        return norm.pdf(b, math.log(0.7), 0.15) * float(design.exit_probabilities(-b * root).sum())

    effect = quad(integrand, math.log(0.7) - 1.5, math.log(0.7) + 1.5, epsabs=1e-12, limit=300)[0]
    assert found.value == pytest.approx(0.7 * effect + 0.3 * 0.025, rel=1e-8)
    assert found.false_share == pytest.approx(0.3 * 0.025 / found.value, rel=1e-8)
    assert "alpha 0.025 one-sided" in found.text()
    assert Assurance.from_dict(json.loads(json.dumps(found.to_dict()))).text() == found.text()


def test_power_of_events_inverts_events_of_power():
    for method in ("schoenfeld", "freedman", "hsieh-freedman"):
        drift = drift_per_event(0.7, allocation_ratio=2, method=method)
        events = ((1.959963984540054 + 1.2815515655446004) / drift) ** 2
        found = power_of_events(0.7, events, alpha=0.025, allocation_ratio=2, method=method)
        assert found == pytest.approx(0.9, abs=1e-12)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: plain(hazard_ratio=None), "needs the hazard ratio once"),
        (lambda: plain(hazard_ratio_breaks_months=(0,), hazard_ratios=(0.7,)), "needs the hazard ratio once"),
        (
            lambda: plain(hazard_ratio=None, hazard_ratio_breaks_months=(0, 3), hazard_ratios=(1.0, -0.5)),
            "a hazard ratio of scenario 's' is -0.5",
        ),
        (
            lambda: plain(hazard_ratio=None, hazard_ratio_breaks_months=(0, 3), hazard_ratios=(1.0,)),
            "2 hazard ratio breaks and 1 hazard ratios",
        ),
        (lambda: plain(accrual_per_month=(3, 4), accrual_breaks_months=(0,)), "1 accrual rate breaks and 2"),
        (lambda: plain(accrual_per_month=(3, 0), accrual_breaks_months=(0, 4)), "the last accrual rate"),
        (lambda: plain(accrual_breaks_months=(0, 4)), "2 accrual breaks and one accrual_per_month"),
        (lambda: Group("a", 0.0), "the prevalence of group 'a' is 0"),
        (lambda: Group("a", 1.0), "the prevalence of group 'a' is 1"),
        (lambda: plain(groups=(Group("a", 0.4), Group("b", 0.5))), "sum to 0.9"),
        (lambda: plain(groups=(Group("a", 0.4), Group("a", 0.6))), "two groups of scenario 's' are called 'a'"),
        (lambda: plain(experimental_dropout_per_month=-1), "experimental_dropout_per_month of scenario 's' is -1"),
        (lambda: cure(12.0, cured_from_months=10, **REST), "not after the control median"),
        (lambda: adjusted_size(100, 1.0), r"R\^2 of the covariates is 1"),
        (lambda: adjusted_size(100, -0.1), r"R\^2 of the covariates is -0.1"),
        (
            lambda: assurance_with_doubt(Design(), 300, -0.3, 0.1, no_effect_probability=1.2),
            "no_effect_probability is 1.2",
        ),
        (
            lambda: patients_for_events(plain(), 100, accrual_months=20, duration_months=12),
            "the trial ends after its accrual",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_sentence(make, sentence):
    with pytest.raises(AnalysisError, match=sentence):
        make()


def test_a_median_in_days_is_asked_about():
    """365 'months' with 18 months of accrual: the sentence says how many events there are, and when there would be enough."""
    scenario = Scenario.from_median(
        "days", control_median_months=365, hazard_ratio=0.7, accrual_per_month=500 / 18, patients=500
    )
    soon = float(scenario.expected_events(36))
    with pytest.raises(
        AnalysisError, match=f"{soon:.1f} events are expected by month 36 and the 337 needed only by"
    ) as hit:
        plan_trial(THREE, scenario)
    assert "if the median is in days, give it in months (12)" in str(hit.value)


def test_an_effect_that_comes_too_late_is_refused_with_the_power_there_is():
    late = delayed_effect(12.0, delay_months=30.0, hazard_ratio=0.5, patients=300, **REST)
    with pytest.raises(AnalysisError, match=r"gives a power of at most .* below the 90 % wanted"):
        plan_trial(Design(), late)
    harm = delayed_effect(12.0, delay_months=3.0, hazard_ratio=1.4, **REST)
    with pytest.raises(AnalysisError, match="gives a power of at most"):
        plan_trial(Design(), harm, duration_months=48)
    assert np.isfinite(plan_trial(Design(), delayed_effect(12.0, **REST), duration_months=48).patients)
