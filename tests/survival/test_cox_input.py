"""What a Cox model makes of bad input: a sentence, or an answer that is documented."""

import json

import numpy as np
import pandas as pd
import pytest

from trialml.errors import AnalysisError, DataError
from trialml.survival.cause_specific import cause_specific_cox
from trialml.survival.cox import cox, fit_cox
from trialml.survival.cox_concordance import cox_concordance
from trialml.survival.cox_fit import CoxProblem
from trialml.survival.cox_prediction import cox_survival
from trialml.survival.fine_gray import fine_gray
from trialml.survival.parametric import parametric
from trialml.survival.proportional_hazards import proportional_hazards


def arguments(n=80, seed=5):
    rng = np.random.default_rng(seed)
    return {
        "time": np.ceil(rng.exponential(20, n)),
        "event": rng.random(n) < 0.7,
        "X": pd.DataFrame({"age": rng.normal(60, 9, n), "arm": rng.integers(0, 2, n).astype(float)}),
    }


def with_first(values, value):
    out = np.array(values, dtype=float)
    out[0] = value
    return out


GOOD = arguments()
ONES = np.ones(80)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"time": with_first(GOOD["time"], np.nan)}, "time is missing or infinite in 1 of 80 rows"),
        ({"time": with_first(GOOD["time"], np.inf)}, "time is missing or infinite"),
        ({"time": with_first(GOOD["time"], -2)}, "time is -2 at its smallest"),
        ({"time": with_first(GOOD["time"], 0)}, "time is 0 at its smallest"),
        ({"time": ["soon"] * 80}, "time holds values that are not numbers"),
        ({"time": GOOD["time"][:-1]}, "pass one flag a patient"),
        ({"event": GOOD["event"][:-1]}, "pass one flag a patient"),
        ({"event": np.where(GOOD["event"], "yes", "no")}, "event holds values that are not numbers"),
        ({"event": 2.0 * GOOD["event"]}, "event holds the value 2"),
        ({"event": ~ONES.astype(bool)}, "none of the 80 patients has had the event"),
        ({"entry": GOOD["time"]}, "entry is not before exit in 80 of 80 rows"),
        ({"entry": GOOD["time"] * (1 - 1e-10)}, "entry is not before exit in 80 of 80 rows"),
        ({"entry": GOOD["time"] + 1}, "entry is not before exit"),
        ({"entry": -ONES}, "entry is -1 at its smallest"),
        ({"entry": with_first(0 * ONES, np.nan)}, "entry is missing or infinite in 1"),
        ({"entry": ONES[:-1] / 2}, "time has 80 values but entry has shape .79,."),
        ({"X": GOOD["X"].iloc[:-1]}, "X has shape"),
        ({"X": GOOD["X"].assign(age=np.nan)}, "'age' is missing or infinite in 80 of 80 rows"),
        ({"X": GOOD["X"].assign(age=with_first(ONES, np.inf))}, "'age' is missing or infinite in 1"),
        ({"strata": ["a"] * 79}, "strata has shape"),
        ({"strata": [None] + ["a"] * 79}, "strata is missing in 1 of 80 rows"),
        ({"weights": 0 * ONES}, "weights are 0 at their smallest"),
        ({"weights": -ONES}, "weights are -1"),
        ({"weights": ONES[:-1]}, "weights must hold one finite number"),
        ({"offset": with_first(ONES, np.inf)}, "offset must hold one finite number"),
        ({"offset": -1e3 * GOOD["time"]}, "too far for a Cox model"),
        ({"ties": "exact"}, "ties is 'exact'"),
        ({"id": np.arange(79)}, "id has shape"),
        ({"X": GOOD["X"].assign(arm=1.0)}, "'arm' varies in no risk set"),
        ({"X": GOOD["X"].assign(copy=GOOD["X"]["age"] * 2 - 7)}, "linear combination of the other columns"),
        ({"X": GOOD["X"].assign(near=GOOD["X"]["age"] + 1e-7 * GOOD["X"]["arm"])}, "linear combination"),
        ({"X": np.random.default_rng(1).normal(size=(80, 90))}, "there are 90 columns for 80 rows"),
        ({"X": np.random.default_rng(1).normal(size=(80, 79)), "strata": np.arange(80) % 2}, "79 columns for 79 rows"),
        ({"ridge": -1.0}, "ridge must hold"),
        ({"event": GOOD["event"] & (GOOD["X"]["arm"] == 1)}, "'arm' runs away to infinity"),
    ],
)
def test_bad_input_is_refused_with_its_name(change, message):
    with pytest.raises((DataError, AnalysisError), match=message):
        fit_cox(**GOOD | change)


def test_a_perfectly_ordering_column_is_refused_and_firth_answers():
    data = {"time": np.arange(1.0, 31), "event": np.ones(30), "X": pd.DataFrame({"rank": -np.arange(30.0)})}
    with pytest.raises(AnalysisError, match=r"'rank' (runs away|moved furthest).*penalty=\"firth\""):
        fit_cox(**data)
    assert np.isfinite(fit_cox(**data, penalty="firth").coefficients).all()


def test_near_collinear_columns_that_still_differ_have_an_answer():
    X = GOOD["X"].assign(near=GOOD["X"]["age"] + 1e-3 * np.random.default_rng(2).normal(size=80))
    found = fit_cox(**GOOD | {"X": X})
    assert np.abs(CoxProblem(GOOD["time"], GOOD["event"], X).derivatives(found.coefficients)[1]).max() < 1e-6


def test_a_ratio_beyond_floats_is_refused_and_never_printed_as_not_reached():
    time, event, X = GOOD["time"], GOOD["event"], GOOD["X"]
    minute = X.assign(age=1e-8 * X["age"])
    assert np.abs(fit_cox(time, event, minute).coefficients).max() > 1e4
    with pytest.raises(AnalysisError, match=r"coefficient of 'age' is .*, too large for a hazard ratio"):
        cox(time, event, minute)
    cause = np.where(event, np.arange(80) % 2 + 1, 0)
    with pytest.raises(AnalysisError, match=r"cause '1': the coefficient of 'age' is"):
        cause_specific_cox(time, cause, minute)
    with pytest.raises(AnalysisError, match=r"'age' is .*, too large for a hazard ratio"):
        fine_gray(time, cause, minute, of="1")
    with pytest.raises(AnalysisError, match=r"'age' is .*, too large for a time ratio"):
        parametric(time, event, minute, distribution="weibull")


def test_ridge_has_an_answer_with_more_columns_than_patients():
    X = np.random.default_rng(1).normal(size=(80, 120))
    assert np.isfinite(fit_cox(GOOD["time"], GOOD["event"], X, ridge=5.0).coefficients).all()


def test_a_column_that_varies_only_between_strata_is_refused():
    with pytest.raises(AnalysisError, match="'arm' varies in no risk set"):
        fit_cox(**GOOD, strata=GOOD["X"]["arm"])


def test_a_stratum_without_events_adds_nothing_with_delayed_entry_either():
    time, event, X = GOOD["time"], GOOD["event"], GOOD["X"]
    entry = np.floor(time / 2) * 0.9
    strata = np.where(np.arange(80) < 20, "empty", "full")
    kept = strata == "full"
    joined = fit_cox(time, event & kept, X, strata=strata, entry=entry)
    alone = fit_cox(time[kept], event[kept], X[kept], entry=entry[kept])
    np.testing.assert_allclose(joined.coefficients, alone.coefficients, rtol=1e-10)
    np.testing.assert_allclose(joined.covariance, alone.covariance, rtol=1e-10)


def test_a_row_that_no_event_falls_into_adds_nothing():
    """R gives the same: such a row is at risk of nothing."""
    time, event, X = (np.asarray(part, dtype=float) for part in GOOD.values())
    gap = 0.25 + np.array([3.0, 7.0])
    more = fit_cox(np.append(time, gap + 0.5), np.append(event, [0, 0]), np.vstack([X, X[:2] + 50]),
                   entry=np.append(0 * time, gap))  # fmt: skip
    np.testing.assert_allclose(more.coefficients, fit_cox(time, event, X).coefficients, rtol=1e-10)


def test_arrays_that_cannot_be_written_and_strided_columns_are_taken():
    table = np.zeros(80, dtype=[("event", bool), ("time", float)])
    table["event"], table["time"] = GOOD["event"], GOOD["time"]
    X = np.asfortranarray(GOOD["X"].to_numpy())
    X.setflags(write=False)
    found = fit_cox(table["time"], table["event"], X)
    np.testing.assert_array_equal(found.coefficients, fit_cox(**GOOD).coefficients)


def test_too_few_subjects_for_a_robust_error_are_refused():
    with pytest.raises(AnalysisError, match="subjects are too few"):
        cox(GOOD["time"], GOOD["event"], GOOD["X"], id=np.zeros(80))


def test_the_robust_result_says_so_and_survives_json():
    found = cox(GOOD["time"], GOOD["event"], GOOD["X"], id=np.arange(80) // 2)
    assert "robust to dependent rows of 40 subjects" in found.text()
    assert found.subjects == 40
    again = type(found).from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.text() == found.text()
    assert again.robust_score_chi_square == found.robust_score_chi_square
    assert (found.frame()["se"] != found.frame()["se_model"]).all()


def test_predicted_survival_by_stratum_survives_json_and_draws():
    from matplotlib.figure import Figure

    strata = np.where(np.arange(80) % 2, "a", "b")
    profiles = pd.DataFrame({"age": [50, 70], "arm": [0, 1]}, index=["young", "old"])
    found = cox_survival(GOOD["time"], GOOD["event"], GOOD["X"], profiles, strata=strata, profile_strata=["b", "a"],
                         unit="weeks")  # fmt: skip
    again = type(found).from_dict(json.loads(json.dumps(found.to_dict())))
    pd.testing.assert_frame_equal(again.frame(), found.frame())
    assert "young" in found.text()
    assert set(found.scalars()) >= {"survival_old", "survival_old_low"}
    figure = Figure()
    found.draw(figure)
    assert len(figure.axes[0].lines) == 2
    rows = found.frame()
    assert ((rows["low"] <= rows["survival"]) & (rows["survival"] <= rows["high"]) | rows["low"].isna()).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"profiles": pd.DataFrame({"age": [1]})}, "lack the covariate 'arm'"),
        ({"profiles": pd.DataFrame({"age": [1], "arm": [None]})}, "no value of 'arm'"),
        ({"profiles": pd.DataFrame({"age": [], "arm": []})}, "no profiles"),
        ({"times": [1e4]}, "times must lie between 0 and"),
        ({"strata": ["a", "b"] * 40}, "pass profile_strata"),
        ({"strata": ["a", "b"] * 40, "profile_strata": ["c"]}, "profile_strata holds 'c'"),
        ({"profile_strata": ["a"]}, "the model has no strata"),
        ({"interval": "score"}, "interval is 'score'"),
    ],
)
def test_predictions_without_an_answer_are_refused(change, message):
    data = {"covariates": GOOD["X"], "profiles": pd.DataFrame({"age": [60], "arm": [1]})} | change
    with pytest.raises(DataError, match=message):
        cox_survival(GOOD["time"], GOOD["event"], **data)


def test_no_pair_no_concordance():
    problem = CoxProblem([1.0, 1.0], [True, True], [[1.0], [2.0]])
    with pytest.raises(AnalysisError, match="no two rows are comparable"):
        cox_concordance(problem, [1.0])


def test_too_few_events_for_a_test_of_proportional_hazards_are_refused():
    with pytest.raises(AnalysisError, match=r"too few to test|linear combination|runs away|varies in no risk set"):
        proportional_hazards([1.0, 2.0, 3.0, 4.0], [1, 0, 0, 1], pd.DataFrame({"x": [0.0, 1.0, 0.5, 2.0]}))


def test_an_error_never_names_a_value_of_a_subject():
    names = [f"SUBJ-{k}" for k in range(79)]
    with pytest.raises(DataError) as caught:
        fit_cox(**GOOD, id=names)
    assert "SUBJ" not in str(caught.value)


def test_numbers_in_a_column_of_objects_are_numbers_and_dates_are_refused():
    """As R's as.numeric would have it: 40 levels of a category would have been made of 40 numbers."""
    x = GOOD["X"]["age"]
    plain = cox(GOOD["time"], GOOD["event"], pd.DataFrame({"age": x}))
    objects = cox(GOOD["time"], GOOD["event"], pd.DataFrame({"age": x.astype(object)}))
    pd.testing.assert_frame_equal(objects.frame(), plain.frame())
    days = pd.DataFrame({"born": pd.Timestamp("1950-01-01") + pd.to_timedelta(np.arange(len(x)), unit="D")})
    for column in (days["born"], days["born"].dt.date):
        with pytest.raises(DataError, match="'born' holds dates or durations"):
            cox(GOOD["time"], GOOD["event"], pd.DataFrame({"born": column}))


def test_events_at_one_time_only_cannot_show_that_hazards_are_not_proportional():
    with pytest.raises(AnalysisError, match="all events happened at one time"):
        proportional_hazards(np.full(80, 7.0), GOOD["event"], GOOD["X"])


def test_events_without_information_on_time_are_refused_where_rounding_leaves_some():
    """Two events, of which the last patient at risk has one: R's solve calls the matrix exactly singular."""
    x = pd.DataFrame({"x": [-0.14, -0.74, 0.61, -0.73, -0.55, 0.07]})
    with pytest.raises(AnalysisError, match="2 events are too few to test"):
        proportional_hazards([1, 3, 4, 3, 3, 7], [0, 0, 0, 0, 1, 1], x)


def test_one_patient_is_spoken_of_in_the_singular():
    with pytest.raises(AnalysisError, match="the one patient has not had the event"):
        cox([5.0], [0], pd.DataFrame({"x": [1.0]}))
