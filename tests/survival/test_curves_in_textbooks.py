"""Printed tables of textbooks: the 6-mercaptopurine trial (Freireich 1963; Gehan 1965), weeks in remission.

Numbers are as printed in Klein JP, Moeschberger ML, Survival Analysis, 2nd ed. (Springer 2003), tables 4.1 and 4.2 and
example 4.1, and in Kleinbaum DG, Klein M, Survival Analysis, 2nd ed. (Springer 2005), chapter 2; they hold to rounding.
"""

import numpy as np
import pytest

from trialml.survival.kaplan_meier import kaplan_meier
from trialml.survival.logrank import logrank
from trialml.survival.milestone import milestone_survival
from trialml.survival.nelson_aalen import nelson_aalen
from trialml.survival.rmst import restricted_mean_one

DRUG_WEEKS = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
DRUG_RELAPSE = [1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]
PLACEBO_WEEKS = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]
WEEKS = DRUG_WEEKS + PLACEBO_WEEKS
RELAPSE = DRUG_RELAPSE + [1] * 21
ARM = ["6-MP"] * 21 + ["placebo"] * 21
RELAPSES = [6, 7, 10, 13, 16, 22, 23]


def rows_at(frame, column):
    return frame.set_index("time").loc[RELAPSES, column]


def test_the_remission_curve_and_its_standard_errors_are_printed_so():
    frame = kaplan_meier(DRUG_WEEKS, DRUG_RELAPSE).frame()
    assert rows_at(frame, "n_risk").tolist() == [21, 17, 15, 12, 11, 7, 6]
    assert rows_at(frame, "n_event").tolist() == [3, 1, 1, 1, 1, 1, 1]
    np.testing.assert_allclose(rows_at(frame, "survival"), [0.857, 0.807, 0.753, 0.690, 0.628, 0.538, 0.448], atol=6e-4)
    np.testing.assert_allclose(rows_at(frame, "se"), [0.076, 0.087, 0.096, 0.107, 0.114, 0.128, 0.135], atol=6e-4)


def test_medians_are_printed_so():
    curves = kaplan_meier(WEEKS, RELAPSE, group=ARM)
    assert curves.median("6-MP").value == 23
    assert curves.median("placebo").value == 8


def test_the_cumulative_hazard_and_its_variance_are_printed_so():
    frame = nelson_aalen(DRUG_WEEKS, DRUG_RELAPSE).frame()
    printed = [0.1428, 0.2017, 0.2683, 0.3517, 0.4426, 0.5854, 0.7521]
    np.testing.assert_allclose(rows_at(frame, "cumulative_hazard"), printed, atol=1e-4)
    # The book takes its standard errors from these variances, after rounding them.
    printed = [0.0068, 0.0103, 0.0147, 0.0217, 0.0299, 0.0503, 0.0781]
    np.testing.assert_allclose(rows_at(frame, "se") ** 2, printed, atol=5.1e-5)


def test_the_mean_up_to_35_weeks_and_its_standard_error_are_printed_so():
    mean = restricted_mean_one(DRUG_WEEKS, DRUG_RELAPSE, 35)
    assert mean.value == pytest.approx(23.287, abs=6e-4)
    assert mean.se == pytest.approx(2.827, abs=6e-4)


def test_the_log_rank_test_is_printed_so():
    found = logrank(WEEKS, RELAPSE, ARM, order=["6-MP", "placebo"])
    assert found.groups["events"].tolist() == [9, 21]
    np.testing.assert_allclose(found.groups["expected"], [19.25, 10.75], atol=6e-3)
    assert found.chi_square == pytest.approx(16.793, abs=6e-4)


def test_the_difference_at_10_weeks_follows_from_the_printed_probabilities():
    """.753 (.096) with the drug; 8 of 21 without it, no censoring: the root of (8/21)(13/21)/21 is .106."""
    found = milestone_survival(WEEKS, RELAPSE, ARM, control="placebo", experimental="6-MP", at=10, unit="weeks")
    assert found.difference.value == pytest.approx(0.7529 - 8 / 21, abs=1e-4)
    assert found.difference.se == pytest.approx(np.hypot(0.0963, np.sqrt(8 * 13 / 21**3)), abs=1e-4)
