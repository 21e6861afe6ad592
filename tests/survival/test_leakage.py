"""Covariates that know the outcome: R's concordance within strata, planted leaks, and silence where there is none."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trialml.data.roles import Covariate
from trialml.errors import AnalysisError, DataError
from trialml.survival.leakage import Leakage, leakage

REFERENCE = Path(__file__).resolve().parents[1] / "reference"


def trial(seed=0, n=500):
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "age": draw.normal(60, 9, n).round(),
            "marker": draw.normal(0, 1, n),
            "site": draw.choice(["a", "b", "c"], n).astype(object),
            "prior": draw.integers(0, 2, n).astype(float),
        }
    )
    arm = draw.permuted(np.resize(["old", "new"], n))
    event_time = draw.exponential(400 * np.exp(-0.5 * frame["marker"] + 0.5 * (arm == "new")))
    censoring = draw.uniform(200, 800, n)
    return frame, np.minimum(event_time, censoring), event_time <= censoring, arm


KINDS = {"age": "numeric", "marker": "numeric", "site": "categorical", "prior": "binary"}


def asked(frame, time, event, arm, **kinds):
    covariates = tuple(Covariate(name, kind, name) for name, kind in {**KINDS, **kinds}.items())
    return leakage(time, event, frame, covariates=covariates, arm=arm)


def row(result, covariate, what="value"):
    rows = result.rows[(result.rows["covariate"] == covariate) & (result.rows["what"] == what)]
    return next(rows.itertuples())


@pytest.mark.parametrize("name", ["age", "ph.ecog", "wt.loss", "pat.karno"])
def test_the_concordance_within_arms_and_its_error_are_those_of_r_s_concordance_with_strata(name):
    expected = json.loads((REFERENCE / "quality_concordance.json").read_text())["outputs"][name]
    lung = pd.read_csv(REFERENCE / "data" / "lung.csv")
    found = leakage(
        lung["time"], lung["status"] == 2, lung, covariates=(Covariate(name, "numeric", name),), arm=lung["sex"]
    ).rows.iloc[0]
    value = max(expected["concordance"], 1 - expected["concordance"])
    assert found["c"] == pytest.approx(value, rel=1e-8)
    # The interval is symmetric on the logit scale, whose standard error is se / (c (1 - c)).
    width = math.log(found["high"] / (1 - found["high"])) - math.log(value / (1 - value))
    assert width == pytest.approx(1.959963984540054 * math.sqrt(expected["var"]) / (value * (1 - value)), rel=1e-8)


def test_whether_a_value_is_recorded_has_r_s_concordance_too():
    expected = json.loads((REFERENCE / "quality_concordance.json").read_text())["outputs"]["missing meal.cal"]
    lung = pd.read_csv(REFERENCE / "data" / "lung.csv")
    covariate = Covariate("meal.cal", "numeric", "meal")
    found = row(
        leakage(lung["time"], lung["status"] == 2, lung, covariates=(covariate,), arm=lung["sex"]),
        "meal",
        "whether recorded",
    )
    assert found.c == pytest.approx(1 - expected["concordance"], rel=1e-8)
    assert found.verdict == "ok"


def test_the_effect_of_the_treatment_is_no_part_of_the_concordance():
    """A covariate that equals the arm has no pair to order within arms."""
    frame, time, event, arm = trial()
    result = asked(frame.assign(given=(arm == "new") * 1.0), time, event, arm, given="binary")
    assert row(result, "given").c == pytest.approx(0.5, rel=1e-12)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_covariate_that_follows_the_outcome_is_a_warning_in_either_direction(sign):
    frame, time, event, arm = trial()
    noise = np.random.default_rng(1).normal(0, 20, len(time))
    result = asked(frame.assign(cycles=sign * np.round((time + noise) / 21)), time, event, arm, cycles="numeric")
    found = row(result, "cycles")
    assert found.verdict == "warning"
    assert found.c > 0.9
    assert "Warning: cycles, value: its concordance is" in result.text()
    assert result.table().iloc[0]["Covariate"] == "cycles"


@pytest.mark.parametrize("kind", ["binary", "categorical"])
def test_levels_that_tell_who_had_the_event_are_a_warning(kind):
    frame, time, event, arm = trial()
    wrong = np.random.default_rng(2).random(len(time)) < 0.02
    value = (event ^ wrong).astype(float)
    column = value if kind == "binary" else np.where(value == 1, "off study", "on study").astype(object)
    found = row(asked(frame.assign(status=column), time, event, arm, status=kind), "status")
    assert found.verdict == "warning"
    assert "tell who had the event in 98 %" in found.reason


def test_a_number_that_tells_the_event_whatever_its_time_is_a_warning():
    frame, time, event, arm = trial()
    noise = np.random.default_rng(3).normal(0, 1, len(time))
    found = row(asked(frame.assign(visits=noise + 4.0 * event), time, event, arm, visits="numeric"), "visits")
    assert found.verdict == "warning"
    assert found.status > 0.95


def test_a_level_without_events_is_no_leak_where_events_are_rare():
    """Of 5 % who have the event, a level with none of them tells nothing."""
    frame, time, event, arm = trial(n=3000)
    rare = event & (np.random.default_rng(4).random(len(time)) < 0.1)
    assert (asked(frame, time, rare, arm).rows["verdict"] == "ok").all()


def test_missingness_that_predicts_the_outcome_is_a_warning():
    frame, time, event, arm = trial()
    early = (time < 120) & (np.random.default_rng(5).random(len(time)) < 0.6)
    frame.loc[early, "age"] = np.nan
    result = asked(frame, time, event, arm)
    assert row(result, "age", "whether recorded").verdict == "warning"
    assert row(result, "marker").verdict == "ok"
    assert "age, whether recorded: those without a value fare differently" in result.text()


def test_fewer_than_11_missing_values_are_not_looked_at():
    frame, time, event, arm = trial()
    frame.loc[:9, "age"] = np.nan
    assert set(asked(frame, time, event, arm).rows["what"]) == {"value"}


def test_without_a_leak_nothing_is_said_in_fifty_trials():
    warned = [asked(*trial(seed)).rows["verdict"].ne("ok").any() for seed in range(50)]
    assert not any(warned)


def test_more_than_50000_patients_are_sampled_and_it_is_said():
    frame, time, event, arm = trial(n=60_000)
    covariates = (Covariate("marker", "numeric", "marker"),)
    result = leakage(time, event, frame, covariates=covariates, arm=arm)
    assert (result.patients, result.of) == (50_000, 60_000)
    assert "They are a random sample of 60,000." in result.text()
    again = leakage(time, event, frame, covariates=covariates, arm=arm)
    assert again.rows.equals(result.rows)


def test_a_result_comes_back_from_json_and_every_number_is_apparent():
    result = asked(*trial())
    again = Leakage.from_dict(json.loads(json.dumps(result.to_dict())))
    assert again.text() == result.text()
    assert again.table().equals(result.table())
    assert set(result.rows["kind"]) == {"apparent"}
    assert result.scalars()["leakage_warnings"] == 0


def test_constant_covariates_alone_give_nothing_to_compare():
    frame, time, event, arm = trial()
    result = leakage(time, event, frame.assign(age=1.0), covariates=(Covariate("age", "numeric", "age"),), arm=arm)
    assert result.text() == "No covariate could be compared with the outcome."
    assert result.table().empty
    assert "largest_single_concordance_apparent" not in result.scalars()


def test_few_events_and_unequal_lengths_are_refused():
    frame, time, event, arm = trial()
    few = np.zeros_like(event)
    few[:19] = True
    with pytest.raises(AnalysisError, match="there are 19 events, but this check needs 20"):
        asked(frame, time, few, arm)
    with pytest.raises(DataError, match="499 rows"):
        asked(frame.iloc[1:], time, event, arm)
