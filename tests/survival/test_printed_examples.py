"""Worked examples whose output was printed by others: competing risks, MaxCombo and adjusted restricted means.

- 35 leukaemia patients after a bone marrow transplant (Scrucca, Santucci, Aversa, Bone Marrow Transplantation 2007;40:381-387;
  the rows stand below): cmprsk's output as printed in the survival lab of the NBIS workshop "Machine learning for
  biostatistics", which tells cuminc of no code for censored, so that each of the three outcomes is a cause.
- Melanoma (205 patients; Andersen, Borgan, Gill, Keiding 1993; R package MASS): output of cuminc, crr and coxph as printed in tutorials
  that follow Zabor's "Survival analysis in R" (age and sex, ulceration).
- Ovarian cancer (26 patients; Edmonson 1979; R package survival): output of nph::logrank.maxtest as printed in the
  articles of the R package FastSurvival.
- The randomised part of pbc: output of survRM2::rmst2 as printed in the vignette of survRM2 1.0-4, section 3.2.

All hold to their rounding. The melanoma, ovarian and transplant output was printed again by R 4.2.2 with cmprsk 2.2.11 and survival 3.5.3.
"""

import numpy as np
import pandas as pd
import pytest

from trialml.survival.cause_specific import cause_specific_cox
from trialml.survival.cumulative_incidence import cumulative_incidence
from trialml.survival.fine_gray import fine_gray
from trialml.survival.gray import gray_test
from trialml.survival.maxcombo import maxcombo
from trialml.survival.rmst_regression import adjusted_restricted_mean

AML = [0, 0, 0, 0, 0, 1, 0, 0, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 1, 1, 1, 0]
MONTHS = [13, 1, 72, 7, 8, 67, 9, 5, 70, 4, 7, 68, 1, 10, 7, 3, 4, 4, 3, 3, 22, 8, 2, 0, 0, 35, 35, 4, 14, 26, 3, 2]
MONTHS += [8, 32, 12]
STATUS = [2, 1, 0, 2, 2, 0, 2, 2, 0, 0, 0, 0, 2, 2, 2, 1, 1, 1, 1, 1, 2, 1, 2, 2, 1, 0, 0, 2, 2, 2, 2, 0, 0, 0, 1]
OUTCOME = {0: "alive", 1: "death", 2: "relapse"}

OVARIAN_DAYS = [59, 115, 156, 421, 431, 448, 464, 475, 477, 563, 638, 744, 769, 770, 803, 855, 1040, 1106, 1129, 1206]
OVARIAN_DAYS += [1227, 268, 329, 353, 365, 377]
OVARIAN_DEATH = [1, 1, 1, 0, 1, 0, 1, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0]
OVARIAN_ARM = [1, 1, 1, 2, 1, 1, 2, 2, 1, 2, 1, 2, 2, 2, 1, 1, 1, 1, 2, 2, 2, 1, 1, 2, 2, 2]


@pytest.fixture(scope="module")
def transplants():
    # Two patients have a time of 0, which is refused here: half a month leaves the order as it is.
    return {"time": np.maximum(MONTHS, 0.5), "cause": np.array(STATUS), "censored": 9, "causes": OUTCOME}


def read(found, cause, group, times):
    rows = found.frame().query("cause == @cause and group == @group")
    place = np.searchsorted(rows["time"], times, side="right") - 1
    return rows["incidence"].to_numpy()[place], rows["se"].to_numpy()[place] ** 2


def test_the_incidences_of_35_transplants_and_their_variances_are_printed_so(transplants):
    found = cumulative_incidence(**transplants, variance="delta")
    printed = {
        "alive": ([0.1142857, 0.2000000, 0.2000000], [0.002998057, 0.004910750, 0.004910750]),
        "death": ([0.2571429, 0.2571429, 0.2571429], [0.005636800, 0.005636800, 0.005636800]),
        "relapse": ([0.3714286, 0.4285714, 0.4285714], [0.006878377, 0.007269181, 0.007269181]),
    }
    for cause, (incidence, variance) in printed.items():
        values, variances = read(found, cause, found.groups[0], [20, 40, 60])
        np.testing.assert_allclose(values, incidence, atol=5.1e-8)
        np.testing.assert_allclose(variances, variance, atol=5.1e-10)


def test_grays_tests_of_35_transplants_are_printed_so(transplants):
    found = gray_test(transplants.pop("time"), transplants.pop("cause"), AML, **transplants).tests.set_index("cause")
    for cause, chi_square, p in (
        ("alive", 5.9785107, 0.014481226),
        ("death", 0.9133497, 0.339227192),
        ("relapse", 9.4874094, 0.002068867),
    ):
        assert found.loc[cause, "chi_square"] == pytest.approx(chi_square, abs=5.1e-8)
        assert found.loc[cause, "p"] == pytest.approx(p, abs=5.1e-10)


@pytest.fixture(scope="module")
def melanoma(reference_data):
    table = reference_data("melanoma")
    known = {"censored": 2, "causes": {1: "melanoma", 3: "other"}}
    return table, known


def test_incidences_and_grays_tests_by_ulceration_are_printed_so(melanoma):
    table, known = melanoma
    found = cumulative_incidence(table["time"], table["status"], group=table["ulcer"], variance="delta", **known)
    printed = {
        ("melanoma", "0"): (
            [0.03509042, 0.10322276, 0.18165409, 0.18165409, 0.1816541],
            [0.0002997449, 0.0008952562, 0.0019180376, 0.0019180376, 0.001918038],
        ),
        ("melanoma", "1"): (
            [0.24444444, 0.38972746, 0.46972340, 0.53306966],
            [0.0020796399, 0.0026929462, 0.0035308463, 0.0046320135],
        ),
        ("other", "0"): (
            [0.01746826, 0.02624086, 0.04028177, 0.12960814, 0.1296081],
            [0.0001512406, 0.0002255429, 0.0004165726, 0.0029626459, 0.002962646],
        ),
        ("other", "1"): (
            [0.05555556, 0.07981432, 0.07981432, 0.07981432],
            [0.0005902878, 0.0008546097, 0.0008546097, 0.0008546097],
        ),
    }
    for (cause, group), (incidence, variance) in printed.items():
        values, variances = read(found, cause, group, [1000, 2000, 3000, 4000, 5000][: len(incidence)])
        np.testing.assert_allclose(values, incidence, atol=5.1e-8)
        np.testing.assert_allclose(variances, variance, atol=5.1e-10)
    tests = gray_test(table["time"], table["status"], table["ulcer"], **known).tests.set_index("cause")
    np.testing.assert_allclose(tests["chi_square"], [26.120719, 0.158662], atol=5.1e-7)
    np.testing.assert_allclose(tests["p"], [3.207240e-07, 6.903913e-01], rtol=1e-6)


def test_the_subdistribution_model_of_melanoma_deaths_is_printed_so(melanoma):
    """crr(time, status, cbind(sex, age), cencode = 2)."""
    table, known = melanoma
    found = fine_gray(table["time"], table["status"], table[["sex", "age"]], of="melanoma", **known).coefficients
    # print.crr keeps four significant digits.
    for column, printed in (("coefficient", [0.5884, 0.01259]), ("se", [0.2718, 0.009301])):
        np.testing.assert_array_less(np.abs(found[column] - printed), [5.1e-5, 5.1e-6])
    np.testing.assert_allclose(found["p"], [0.03, 0.18], atol=5.1e-3)


def test_the_cause_specific_model_of_melanoma_deaths_is_printed_so(melanoma):
    """coxph(Surv(time, status == 1) ~ sex + age)."""
    table, known = melanoma
    found = cause_specific_cox(table["time"], table["status"], table[["sex", "age"]], **known).coefficients
    rows = found[found["cause"] == "melanoma"]
    np.testing.assert_allclose(rows["coefficient"], [0.598259, 0.016542], atol=5.1e-7)
    np.testing.assert_allclose(rows["hazard_ratio"], [1.818949, 1.016679], atol=5.1e-7)
    np.testing.assert_allclose(rows["se"], [0.267639, 0.008663], atol=5.1e-7)
    np.testing.assert_allclose(rows["p"], [0.0254, 0.0562], atol=5.1e-5)
    np.testing.assert_allclose(rows[["low", "high"]], [[1.0765, 3.074], [0.9996, 1.034]], atol=5.1e-4)


def test_the_statistics_of_maxcombo_are_printed_so_and_their_joint_law_follows():
    """logrank.maxtest(futime, fustat, rx): |z| with weights (0, 0), (0, 1) and (1, 0); its p was not printed."""
    from scipy.stats import multivariate_normal

    asked = [(0, 0), (0, 1), (1, 0)]
    found = maxcombo(OVARIAN_DAYS, OVARIAN_DEATH, OVARIAN_ARM, weightings=asked)
    np.testing.assert_allclose(np.abs(found.tests["z"]), [1.03089275, 0.01010314, 1.29801950], atol=5.1e-9)
    # The covariance spelled out: the sum over deaths of w_i w_j times n1 n0 / n^2, S the pooled curve before the death.
    order = np.argsort(OVARIAN_DAYS)
    death, first = np.array(OVARIAN_DEATH)[order], np.array(OVARIAN_ARM)[order] == 1
    at_risk, of_first = np.arange(26, 0, -1), np.cumsum(first[::-1])[::-1]
    before = np.concatenate(([1.0], np.cumprod(1 - death / at_risk)[:-1]))
    weights = np.array([before**rho * (1 - before) ** gamma for rho, gamma in asked])
    covariance = (weights * death * of_first * (at_risk - of_first) / at_risk**2) @ weights.T
    scale = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(found.correlation, covariance / np.outer(scale, scale), rtol=1e-10)
    z = found.tests["z"].abs().max()
    limits = np.full(3, z)
    inside = multivariate_normal.cdf(
        limits, np.zeros(3), found.correlation, True, 10**7, 1e-7, 1e-7, lower_limit=-limits
    )
    assert found.p == pytest.approx(1 - inside, abs=1e-5 + 3 * found.p_error)


RMST2 = {
    "difference": [
        ("intercept", 2.743, 2.134, 1.285, 0.199, -1.440, 6.927),
        ("arm", -0.210, 0.343, -0.613, 0.540, -0.883, 0.463),
        ("age", -0.069, 0.018, -3.900, 0.000, -0.103, -0.034),
        ("bili", -0.325, 0.039, -8.386, 0.000, -0.401, -0.249),
        ("albumin", 2.550, 0.472, 5.401, 0.000, 1.624, 3.475),
    ],
    "ratio": [
        ("intercept", 1.369, 0.356, 3.842, 0.000, 1.955, 7.899),
        ("arm", -0.033, 0.050, -0.652, 0.514, 0.877, 1.068),
        ("age", -0.009, 0.003, -3.410, 0.001, 0.985, 0.996),
        ("bili", -0.087, 0.013, -6.523, 0.000, 0.893, 0.941),
        ("albumin", 0.360, 0.080, 4.491, 0.000, 1.225, 1.678),
    ],
    "ratio of time lost": [
        ("intercept", 1.992, 0.695, 2.865, 0.004, 1.876, 28.655),
        ("arm", 0.035, 0.127, 0.272, 0.786, 0.806, 1.329),
        ("age", 0.025, 0.007, 3.810, 0.000, 1.012, 1.039),
        ("bili", 0.063, 0.008, 8.334, 0.000, 1.049, 1.080),
        ("albumin", -0.750, 0.149, -5.033, 0.000, 0.353, 0.633),
    ],
}


@pytest.mark.parametrize("scale", RMST2)
def test_the_adjusted_restricted_means_of_the_vignette_are_printed_so(reference_data, scale):
    """rmst2(time / 365.25, status == 2, trt == 1, tau = 10, covariates = age, bili, albumin)."""
    table = reference_data("pbc_rct")
    found = adjusted_restricted_mean(
        table["time"] / 365.25, table["status"] == 2, table["trt"], table[["age", "bili", "albumin"]],
        control="2", experimental="1", tau=10, scale=scale, unit="years",
    )  # fmt: skip
    columns = ["term", "coefficient", "se", "z", "p", "low", "high"]
    printed = pd.DataFrame(RMST2[scale], columns=columns)
    assert list(found.coefficients["term"]) == list(printed["term"])
    np.testing.assert_allclose(found.coefficients[columns[1:]], printed[columns[1:]], atol=5.1e-4)
