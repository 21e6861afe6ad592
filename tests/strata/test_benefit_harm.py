"""Benefit against harm: beside R's multi-state survfit, by hand over repeats, and what it hides and refuses."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from trialml.errors import DataError
from trialml.result import Estimate, Result
from trialml.strata.benefit_harm import ALL, HarmOutcomes, benefit_harm
from trialml.strata.effects import StratumEffects

REFERENCE = Path(__file__).parents[1] / "reference"
R = json.loads((REFERENCE / "harm.json").read_text())["difference"]
OVERALL = Estimate(30.0, 10.0, 50.0, scale="RMST difference", unit="days")


def effects(names):
    rows = pd.DataFrame(
        {
            "stratum": names,
            "rule": [f"rule of {name}" for name in names],
            "rmst_difference": np.arange(len(names)) * 40.0,
            "rmst_difference_low": np.arange(len(names)) * 40.0 - 20,
            "rmst_difference_high": np.arange(len(names)) * 40.0 + 20,
        }
    )
    return StratumEffects(rows, OVERALL, OVERALL, 0.5, 1, 365.0, 365.0, "days")


def page(outcomes, members, horizon=1826.0, names=("lower", "higher")):
    return benefit_harm(
        effects(list(names)), OVERALL, outcomes, members, harm="death", horizon=horizon, harm_unit="days", benefit="relapse"
    )  # fmt: skip


@pytest.fixture(scope="module")
def pbc():
    data = pd.read_csv(REFERENCE / "data" / "pbc_rct.csv")
    cause = data["status"].map({0: 0, 2: 1, 1: 2}).to_numpy()
    outcomes = HarmOutcomes(data["time"].to_numpy(float), cause, (data["trt"] == 2).to_numpy())
    return outcomes, (data["age"] >= 50).to_numpy(dtype=np.intp)


def test_one_repeat_gives_the_differences_of_survfit(pbc):
    """survfit of several states, its standard errors, arms independent (harm.R)."""
    outcomes, old = pbc
    rows = page(outcomes, old[None, :]).frame().set_index("stratum")
    for name, stored in ((ALL, "all"), ("lower", "young"), ("higher", "old")):
        own, wanted = rows.loc[name], R[stored]
        found = [own["control_risk"], own["experimental_risk"], own["harm"], own["harm_se"]]
        assert found == pytest.approx(
            [wanted["control"], wanted["experimental"], wanted["difference"], wanted["se"]], rel=1e-8
        )
        assert own["harm_high"] - own["harm"] == pytest.approx(1.959963984540054 * wanted["se"], rel=1e-8)


def test_over_repeats_differences_are_averaged_and_variances_too(pbc):
    outcomes, old = pbc
    other = (np.arange(len(old)) % 2).astype(np.intp)
    both = page(outcomes, np.stack([old, other])).frame()
    one, two = (page(outcomes, member[None, :]).frame() for member in (old, other))
    assert np.allclose(both["harm"], (one["harm"] + two["harm"]) / 2, rtol=1e-12)
    assert np.allclose(both["harm_se"] ** 2, (one["harm_se"] ** 2 + two["harm_se"] ** 2) / 2, rtol=1e-12)
    assert np.allclose(both["control_events"], (one["control_events"] + two["control_events"]) / 2)


def test_ten_patients_by_hand():
    """Nobody censored before the horizon: incidences are shares; the jackknife error is that of a share, sqrt(p q / n)."""
    time = np.array([10, 20, 30, 90, 90, 15, 25, 90, 90, 90], dtype=float)
    cause = np.array([1, 2, 1, 0, 0, 1, 2, 0, 0, 0])
    treated = np.arange(10) < 5
    found = page(HarmOutcomes(time, cause, treated), np.zeros((1, 10), dtype=np.intp), 60.0, ("all",)).frame()
    row = found[found["stratum"] == ALL].iloc[0]
    assert row["harm"] == pytest.approx(2 / 5 - 1 / 5)
    assert row["harm_se"] == pytest.approx(math.sqrt(0.4 * 0.6 / 5 + 0.2 * 0.8 / 5))
    assert (row["control_events"], row["experimental_events"], row["control_n"]) == (1, 2, 5)


def test_who_was_never_treated_is_at_no_risk(pbc):
    outcomes, old = pbc
    drop = np.arange(len(old)) % 10 == 3
    some = HarmOutcomes(np.where(drop, np.nan, outcomes.time), outcomes.cause, outcomes.treated)
    kept = HarmOutcomes(outcomes.time[~drop], outcomes.cause[~drop], outcomes.treated[~drop])
    pd.testing.assert_frame_equal(page(some, old[None, :]).frame(), page(kept, old[None, ~drop]).frame())


def test_a_small_cell_is_hidden_with_what_would_give_it_back(pbc):
    outcomes, old = pbc
    third = np.where((np.arange(len(old)) % 12 == 0), 2, old)
    found = page(outcomes, third[None, :], names=("lower", "higher", "small"))
    rows = found.frame().set_index("stratum")
    small = rows.loc["small"]
    assert np.isnan(
        small[["control_events", "experimental_events", "control_risk", "experimental_risk"]].astype(float)
    ).all()
    assert rows.loc[["lower", "higher"], "control_events"].isna().any()
    assert not math.isnan(small["harm"])
    assert found.table()["Risk by 1826 days"].tolist()[-1] == "suppressed"


def test_a_stratum_not_followed_so_long_has_no_harm_and_one_without_events_no_limits(pbc):
    outcomes, old = pbc
    short = np.where(old == 1, np.minimum(outcomes.time, 1200), outcomes.time)
    cause = np.where((old == 1) & (outcomes.time > 1200), 0, outcomes.cause)
    found = page(HarmOutcomes(short, cause, outcomes.treated), old[None, :])
    assert math.isnan(found.estimate("higher").value)
    assert "Not followed to 1826 days in an arm, so without harm: higher." in found.text()
    assert "not estimable" in found.table().to_string()
    assert found.table()["Risk by 1826 days"].tolist()[-1] == "not known"
    none = np.where(outcomes.treated & (old == 0) & (outcomes.cause == 1), 2, outcomes.cause)
    lower = page(HarmOutcomes(outcomes.time, none, outcomes.treated), old[None, :])
    assert lower.estimate("lower").value < 0
    assert math.isnan(lower.estimate("lower").low)
    assert "an arm without events" in lower.table().to_string()


def test_the_words_name_the_strata_with_a_gain_and_with_harm(pbc):
    outcomes, old = pbc
    found = page(outcomes, old[None, :])
    assert "benefit lies above 0 in higher, that of the additional risk in no stratum" in found.text()
    assert (
        "30.0 days (95% CI 10.0 to 50.0), difference in the risk of death by 1826 days -0.213 percentage"
        in found.text().replace("\N{MINUS SIGN}", "-")
    )
    numbers = found.scalars()
    assert numbers["harm_against_benefit_higher"] == found.estimate("higher").value


def test_it_is_stored_and_drawn_and_refuses_other_patients(pbc):
    outcomes, old = pbc
    found = page(outcomes, old[None, :])
    again = Result.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.text() == found.text()
    figure = Figure(figsize=found.figure_size)
    found.draw(figure)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Benefit", "Harm: death"]
    with pytest.raises(DataError, match="strata are of 300 patients and the adverse events of 312"):
        page(outcomes, old[None, :300])
