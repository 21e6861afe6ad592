"""What is registered and scores new patients: the same before and after writing, and careful with what it is given."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from trialml.data.roles import Covariate
from trialml.errors import ModelInputError
from trialml.models.cox_ridge import CoxRidge
from trialml.models.input_contract import InputContract
from trialml.models.outcome import survival_outcome
from trialml.models.ridge_scores import MODEL as RIDGE_SCORES
from trialml.models.training_summary import TrainingSummary
from trialml.strata.strata import quantile_strata
from trialml.stratifier import ResponsePart, RiskPart, Stratifier, StratumEffect, _digest, _load_pyfunc

COVARIATES = (
    Covariate("age", "numeric", "Age"),
    Covariate("marker", "numeric", "Marker"),
    Covariate("prior", "binary", "Prior therapy"),
    Covariate("site", "categorical", "Site"),
)


@pytest.fixture(scope="module")
def baseline(patients):
    frame = patients(300)[["age", "marker", "prior", "site"]]
    frame[["age", "marker", "prior"]] = frame[["age", "marker", "prior"]].astype(float)
    frame.loc[:3, "site"] = "rare"
    return frame


@pytest.fixture(scope="module")
def stratifier(baseline, patients):
    """Both parts in one, so that one object shows everything."""
    outcome = patients(300)
    time, event = outcome["days"].to_numpy(float), outcome["progressed"].to_numpy(bool)
    treated = (outcome["arm"] == "new").to_numpy(float)
    risk = CoxRidge(treatment="treated", penalties=(10.0,), seed=1).fit(
        baseline.assign(treated=treated), survival_outcome(time, event)
    )
    marker = baseline["marker"].fillna(0).to_numpy()
    benefit = RIDGE_SCORES.estimator(seed=1).fit(
        baseline, 60 + 90 * marker + np.random.default_rng(1).normal(0, 40, 300)
    )
    strata = quantile_strata(benefit.benefit_score(baseline), 3, model="T-response", unit="days")
    effects = tuple(StratumEffect(10.0 * place, -5.0, np.nan) for place in range(3))
    return Stratifier(
        "T",
        "days",
        InputContract.learn(COVARIATES, baseline),
        RiskPart("cox_ridge", risk, 365.0),
        ResponsePart("ridge_scores", benefit, strata, effects, 365.0),
    )


@pytest.fixture
def good():
    return pd.DataFrame({"age": [55.0, 62.0], "marker": [0.3, -1.0], "prior": [1.0, 0.0], "site": ["lung", "liver"]})


def test_what_is_written_and_read_again_predicts_the_same_to_the_last_bit(stratifier, baseline, tmp_path):
    stratifier.write(tmp_path / "model")
    again = Stratifier.read(tmp_path / "model")
    pd.testing.assert_frame_equal(again.predict(baseline), stratifier.predict(baseline), check_exact=True)
    pd.testing.assert_frame_equal(_load_pyfunc(str(tmp_path / "model")).predict(baseline), stratifier.predict(baseline))
    assert again.contract == stratifier.contract
    assert again.columns() == stratifier.columns()
    again.write(tmp_path / "again")
    assert (tmp_path / "again" / "stratifier.json").read_bytes() == (
        tmp_path / "model" / "stratifier.json"
    ).read_bytes()


def test_the_file_is_plain_json_without_a_training_patient(stratifier, baseline, tmp_path):
    stratifier.write(tmp_path)
    text = (tmp_path / "stratifier.json").read_text()
    json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert "SUBJ" not in text


@pytest.mark.parametrize("part", ["risk", "response"])
def test_either_part_may_be_absent(stratifier, good, tmp_path, part):
    one = Stratifier("T", "days", stratifier.contract, **{part: getattr(stratifier, part)})
    one.write(tmp_path)
    scored = Stratifier.read(tmp_path).predict(good)
    assert ("risk" in scored) == (part == "risk")
    assert ("stratum" in scored) == (part == "response")
    assert list(scored) == [name for name, _ in one.columns()]


def test_one_patient_scores_as_in_a_batch_and_in_any_order(stratifier, baseline):
    whole = stratifier.predict(baseline)
    pd.testing.assert_frame_equal(stratifier.predict(baseline.iloc[[17]]), whole.iloc[[17]])
    pd.testing.assert_frame_equal(stratifier.predict(baseline.iloc[::-1]).iloc[::-1], whole)


def test_the_index_is_kept_and_other_columns_and_their_order_do_not_matter(stratifier, good):
    named = good.set_index(pd.Index(["p", "q"], name="patient"))
    scored = stratifier.predict(named[["site", "prior", "age", "marker"]].assign(arm="new", note="x"))
    assert scored.index.tolist() == ["p", "q"]
    np.testing.assert_array_equal(scored["risk"], stratifier.predict(good)["risk"])


def test_two_patients_of_one_index_are_two_patients(stratifier, good):
    scored = stratifier.predict(good.set_index(pd.Index([5, 5])).assign(age=[np.nan, 60]))
    assert [bool(reason) for reason in scored["refused"]] == [True, False]
    assert scored["risk"].isna().tolist() == [True, False]


def test_no_patients_give_no_rows(stratifier, good):
    scored = stratifier.predict(good.iloc[:0])
    assert len(scored) == 0
    assert list(scored) == [name for name, _ in stratifier.columns()]


@pytest.mark.parametrize("dtype", ["int64", "int8", "Int64", "float32", "object", "string"])
def test_whole_numbers_of_any_type_score_alike(stratifier, good, dtype):
    typed = good.assign(age=good["age"].astype(int).astype(dtype), prior=good["prior"].astype(int).astype(dtype))
    np.testing.assert_array_equal(stratifier.predict(typed)["risk"], stratifier.predict(good)["risk"])


def test_booleans_are_0_and_1(stratifier, good):
    typed = good.assign(prior=good["prior"].astype(bool))
    np.testing.assert_array_equal(stratifier.predict(typed)["risk"], stratifier.predict(good)["risk"])


REFUSED = {
    "missing, where the trial never lacked it": ({"age": np.nan}, "age is missing"),
    "None": ({"age": None}, "age is missing"),
    "pandas' missing": ({"age": pd.NA}, "age is missing"),
    "not a time": ({"age": pd.NaT}, "age is missing"),
    "missing category": ({"site": None}, "site is missing"),
    "empty category": ({"site": ""}, "site has a category that the trial did not have"),
    "infinite": ({"age": np.inf}, "age is not finite"),
    "minus infinite": ({"marker": -np.inf}, "marker is not finite"),
    "text": ({"age": "old"}, "age is not a number"),
    "a list": ({"age": [60]}, "age is not a number"),
    "not binary": ({"prior": 2}, "prior is neither 0 nor 1"),
    "a number as category": ({"site": 3}, "site has a category that the trial did not have"),
    "unknown category": ({"site": "moon"}, "site has a category that the trial did not have"),
    "category under 11 patients": ({"site": "rare"}, "site has a category that the trial did not have"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_patient_who_does_not_fit_is_refused_with_the_reason_and_the_others_are_scored(stratifier, good, case):
    change, reason = REFUSED[case]
    frame = good.astype(object)
    for name, value in change.items():
        frame.at[0, name] = value  # noqa: PD008  (.loc would unpack the list)
    scored = stratifier.predict(frame)
    assert scored["refused"].tolist() == [reason, ""]
    first = scored.iloc[0]
    assert np.isnan([first["risk"], first["expected_benefit"], first["stratum_benefit"]]).all()
    assert first["stratum"] == ""
    whole = stratifier.predict(good).iloc[[1]]
    pd.testing.assert_frame_equal(scored.iloc[[1]], whole, check_dtype=False)


def test_several_reasons_stand_together(stratifier, good):
    frame = good.astype(object)
    frame.loc[0, "age"], frame.loc[0, "prior"] = None, 7
    assert stratifier.predict(frame)["refused"][0] == "age is missing; prior is neither 0 nor 1"


def test_what_the_trial_lacked_too_is_imputed_and_flagged(stratifier, good):
    scored = stratifier.predict(good.assign(marker=[np.nan, -1.0]))
    assert scored["flags"].tolist() == ["marker imputed", ""]
    assert scored["refused"].tolist() == ["", ""]
    assert np.isfinite(scored["risk"]).all()


def test_values_out_of_the_range_seen_are_scored_and_flagged(stratifier, good):
    scored = stratifier.predict(good.assign(age=[120.0, 62.0]))
    assert scored["flags"][0].startswith("age outside the range seen (")
    assert 0 <= scored["risk"][0] <= 1
    assert scored["flags"][1] == ""


def test_a_missing_column_is_an_error_that_names_the_nearest(stratifier, good):
    with pytest.raises(ModelInputError, match="lack the column 'marker'; the nearest name is 'Marker_'"):
        stratifier.predict(good.rename(columns={"marker": "Marker_"}))


def test_a_column_that_stands_twice_is_an_error(stratifier, good):
    with pytest.raises(ModelInputError, match="column 'age' twice"):
        stratifier.predict(pd.concat([good, good[["age"]]], axis=1))


def test_the_risk_grows_with_the_horizon_within_the_follow_up(stratifier, good):
    risks = [stratifier.predict(good, {"horizon": horizon})["risk"] for horizon in (100, 365, 500)]
    assert (risks[0] < risks[1]).all()
    assert (risks[1] < risks[2]).all()
    pd.testing.assert_series_equal(risks[1], stratifier.predict(good)["risk"])


@pytest.mark.parametrize("horizon", [0, -1, 1e9, float("nan"), float("inf"), "soon", None, [365]])
def test_a_horizon_that_is_none_is_refused(stratifier, good, horizon):
    with pytest.raises(ModelInputError, match="horizon"):
        stratifier.predict(good, {"horizon": horizon})


def test_a_parameter_that_does_not_exist_is_refused(stratifier, good):
    with pytest.raises(ModelInputError, match="'horizn'; the nearest name is 'horizon'"):
        stratifier.predict(good, {"horizn": 200})


def test_the_synthetic_example_is_scored_without_a_flag(stratifier):
    scored = stratifier.predict(pd.DataFrame([stratifier.contract.example()]))
    assert scored["refused"].tolist() == [""]
    assert scored["flags"].tolist() == [""]


def test_ranges_and_categories_of_few_patients_are_not_in_the_contract(stratifier):
    fields = {field.name: field for field in stratifier.contract.fields}
    assert fields["site"].categories == ("None", "liver", "lung")
    assert fields["age"].required
    assert not fields["marker"].required


TAMPERED = {
    "absent": lambda path: path.unlink(),
    "empty": lambda path: path.write_text(""),
    "cut short": lambda path: path.write_text(path.read_text()[:500]),
    "a list": lambda path: path.write_text("[1, 2]"),
    "another format": lambda path: path.write_text(path.read_text().replace('"format": 1', '"format": 99', 1)),
    "no contract": lambda path: path.write_text(without(path, "contract")),
    "no horizon": lambda path: path.write_text(without(path, "risk", "horizon")),
    "no state": lambda path: path.write_text(without(path, "risk", "state")),
    "an unknown model": lambda path: path.write_text(with_model(path, "os.system")),
    "a folder instead": lambda path: (path.unlink(), path.mkdir()),
    "not text": lambda path: path.write_bytes(b"\xff\x00\xfe"),
}


def signed(state):
    """The file of who can compute the digest anew: what is in it is refused for its own sake."""
    state.pop("sha256", None)
    return json.dumps({**state, "sha256": _digest(state)})


def with_model(path, name):
    state = json.loads(path.read_text())
    state["risk"]["model"] = name
    return signed(state)


def without(path, *keys):
    state = json.loads(path.read_text())
    table = state
    for key in keys[:-1]:
        table = table[key]
    del table[keys[-1]]
    return signed(state)


@pytest.mark.parametrize("case", TAMPERED)
def test_a_file_that_is_absent_or_tampered_with_is_refused(stratifier, tmp_path, case):
    folder = tmp_path / "model"
    stratifier.write(folder)
    TAMPERED[case](folder / "stratifier.json")
    with pytest.raises(ModelInputError) as error:
        Stratifier.read(folder)
    assert str(error.value).endswith(".")
    shutil.rmtree(folder)


def test_a_file_in_which_one_digit_was_changed_is_refused(stratifier, tmp_path):
    stratifier.write(tmp_path)
    path = tmp_path / "stratifier.json"
    path.write_text(
        re.sub(r'("average": -?\d+\.)(\d)', lambda found: found[1] + str((int(found[2]) + 1) % 10), path.read_text())
    )
    with pytest.raises(ModelInputError, match="was changed after it was written"):
        Stratifier.read(tmp_path)


def test_the_layout_of_the_file_may_change_but_not_what_it_says(stratifier, good, tmp_path):
    stratifier.write(tmp_path)
    path = tmp_path / "stratifier.json"
    path.write_text(json.dumps(json.loads(path.read_text())))
    pd.testing.assert_frame_equal(Stratifier.read(tmp_path).predict(good), stratifier.predict(good))


def test_many_patients_and_a_few_at_a_time_get_the_same(stratifier, baseline):
    whole = stratifier.predict(baseline)
    parts = [stratifier.predict(baseline.iloc[at : at + 7]) for at in range(0, len(baseline), 7)]
    pd.testing.assert_frame_equal(pd.concat(parts), whole)


def test_the_summary_of_the_training_patients_is_kept_with_the_model(stratifier, baseline, tmp_path):
    with_summary = replace(stratifier, training=TrainingSummary.learn(COVARIATES, baseline))
    with_summary.write(tmp_path)
    assert Stratifier.read(tmp_path).training == with_summary.training
