"""SHAP values of linear scores: the closed form, sums, and nothing of a single patient kept."""

import json

import numpy as np
import pandas as pd
import pytest

from trialml.data.disclosure import SMALLEST_CELL
from trialml.errors import AnalysisError
from trialml.explain.linear import Explanation, explain_linear, shap_values_linear

GENERATOR = np.random.default_rng(1)
DESIGN = GENERATOR.normal(size=(120, 4))
BETA = np.array([0.5, -0.2, 0.1, 0.3])
BASELINE = pd.DataFrame(
    {
        "age": GENERATOR.normal(60, 9, 120),
        "karnof": GENERATOR.choice([70.0, 80.0, 90.0, 100.0], 120, p=[0.05, 0.2, 0.35, 0.4]),
        "site": GENERATOR.choice(["lung", "liver"], 120),
    }
)
BASELINE.loc[:19, "age"] = np.nan
BASELINE.loc[20:24, "karnof"] = np.nan


@pytest.fixture(scope="module")
def explained():
    return explain_linear(
        BETA, DESIGN, ["age", "age", "karnof", "site"], BASELINE, labels={"age": "Age (years)"}, subject="the model",
        unit="log hazard", background="the 120 patients",
    )  # fmt: skip


def test_values_are_the_coefficient_times_the_distance_from_the_mean():
    """The exact Shapley value of a linear score with independent covariates."""
    values, base = shap_values_linear(BETA, DESIGN, DESIGN)
    np.testing.assert_allclose(values, BETA * (DESIGN - DESIGN.mean(axis=0)), atol=1e-10)
    assert base == pytest.approx(float(DESIGN.mean(axis=0) @ BETA), abs=1e-10)


def test_trap_52_the_background_sets_the_base_value():
    values, base = shap_values_linear(BETA, DESIGN, DESIGN[:30])
    np.testing.assert_allclose(values, BETA * (DESIGN - DESIGN[:30].mean(axis=0)), atol=1e-10)
    assert base == pytest.approx(float(DESIGN[:30].mean(axis=0) @ BETA), abs=1e-10)


def test_trap_54_coded_columns_are_summed_to_their_covariate(explained):
    values = BETA * (DESIGN - DESIGN.mean(axis=0))
    wanted = {
        "Age (years)": np.abs(values[:, :2].sum(axis=1)).mean(),
        "karnof": np.abs(values[:, 2]).mean(),
        "site": np.abs(values[:, 3]).mean(),
    }
    found = explained.importance.set_index("covariate")["mean_absolute"]
    assert dict(found) == pytest.approx(wanted, abs=1e-10)
    assert explained.importance["share"].sum() == pytest.approx(1.0)
    assert found.is_monotonic_decreasing


def test_trap_52_a_broken_sum_is_an_error_not_a_footnote(monkeypatch):
    import shap

    real = shap.LinearExplainer.shap_values
    monkeypatch.setattr(shap.LinearExplainer, "shap_values", lambda self, X: real(self, X) * 1.001)
    with pytest.raises(AnalysisError, match="SHAP values miss the score"):
        shap_values_linear(BETA, DESIGN, DESIGN)


def test_trap_53_bins_hold_at_least_eleven_patients_and_no_patients_values(explained):
    bins = explained.bins
    assert (bins["n"] >= SMALLEST_CELL).all()
    values = BETA[2] * (DESIGN[:, 2] - DESIGN[:, 2].mean())
    shown = bins[bins["covariate"] == "karnof"]
    for row in shown.itertuples():
        who = BASELINE["karnof"] == float(row.bin)
        assert row.n == who.sum()
        assert row.mean == pytest.approx(values[who].mean(), abs=1e-12)
    assert len(json.dumps(explained.to_dict())) < 8000


@pytest.mark.filterwarnings("error")
def test_covariates_of_whom_no_range_may_be_shown_leave_no_bins_and_no_warning():
    few = np.arange(12.0)[:, None]
    found = explain_linear(
        np.ones(1), few, ["age"], pd.DataFrame({"age": few[:, 0]}), labels={}, subject="the model", unit="log hazard",
        background="12 patients",
    )  # fmt: skip
    assert len(found.bins) == 0
    assert found.frame()["bin"].tolist() == ["all"]
    assert found.importance["covariate"].tolist() == ["age"]


def test_levels_of_a_number_stand_in_the_order_of_numbers(explained):
    """70, 80, 90, 100 and not the order of their letters: the table says from lowest to highest."""
    levels = [float(level) for level in explained.bins.loc[explained.bins["covariate"] == "karnof", "bin"]]
    assert levels == sorted(levels)
    assert levels[-1] == 100.0


def test_missing_values_are_a_bin_of_their_own_unless_they_are_few(explained):
    bins = explained.bins.set_index(["covariate", "bin"])["n"]
    assert bins["Age (years)", "missing"] == 20
    assert ("karnof", "missing") not in bins.index


def test_trap_37_the_text_names_unit_and_background_and_the_methods_say_no_cause(explained):
    assert "log hazard" in explained.text()
    assert "the 120 patients" in explained.text()
    assert "not causes" in explained.methods
    again = Explanation.from_dict(json.loads(json.dumps(explained.to_dict())))
    assert again.to_dict() == explained.to_dict()
