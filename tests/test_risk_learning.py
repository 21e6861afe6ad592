"""The risk chapter of a run: every model of the folder, what it sees of the arm, and what a run refuses."""

import html
import json
import re

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

from trialml import read_study
from trialml.analysis import Analysis, Watcher
from trialml.cli import main
from trialml.errors import AnalysisError, DataError, StudyFileError
from trialml.explain.linear import Explanation
from trialml.explain.permutation import PermutationImportance
from trialml.learning import Learning
from trialml.models import model_named
from trialml.models.coefficients import Coefficients
from trialml.models.learned_model import LearnedModel
from trialml.models.sample_adequacy import SampleAdequacy
from trialml.publish import publish
from trialml.risk_learning import learn_risk
from trialml.stratifier import Stratifier
from trialml.study import analyse, look_at_data
from trialml.survival.aalen_johansen import aalen_johansen
from trialml.validation.by_group import GroupPerformance
from trialml.validation.calibration import Calibration
from trialml.validation.discrimination import Discrimination
from trialml.validation.model_comparison import ModelComparison
from trialml.validation.net_benefit import NetBenefit
from trialml.validation.optimism import Optimism
from trialml.validation.performance import Performance
from trialml.validation.prediction_error import PredictionError
from trialml.validation.stability import Stability


@pytest.fixture(scope="module")
def learned(write_study, tmp_path_factory):
    """A factory: the risk chapter alone of an invented trial, for changes of the study file."""

    def learn(rows=300, **changes):
        path = write_study(
            tmp_path_factory.mktemp("risk"),
            rows=rows,
            arms=("old", "new"),
            study={"treatment.secondary": None} | {f"models.risk.{key}": value for key, value in changes.items()},
        )
        study = read_study(path)
        look = look_at_data(study)
        analysis = Analysis(study, look.trial, True, Watcher())
        learn_risk(Learning(analysis, look.quality))
        return analysis

    return learn


MODELS = ("cox_ridge", "cox_elastic_net", "boosted_hazard", "boosted_cox", "survival_forest")
BOOSTED = ("boosted_hazard", "boosted_cox", "boosted_competing")


@pytest.fixture(scope="module", params=MODELS)
def done(request, learned):
    if not model_named(request.param, "risk").installed:
        pytest.skip(f"{request.param} needs an extra that is not installed")
    # Boosting is too slow for a bootstrap in a test.
    return request.param, learned(
        model=request.param, **({"bootstrap": 0} if request.param == "boosted_hazard" else {})
    )


def test_every_model_of_a_time_to_event_is_described_judged_and_explained(done):
    name, analysis = done
    linear = name.startswith("cox")
    described = analysis.only(Coefficients if linear else LearnedModel)
    assert described.subject == "risk"
    assert described.events == int(analysis.trial.event.sum())
    assert analysis.only(SampleAdequacy).events == described.events
    bootstrap = (Optimism, Stability) if linear else (Stability,) if name == "survival_forest" else ()
    for kind in (Discrimination, Calibration, PredictionError, Performance, *bootstrap):
        found = analysis.only(kind)
        assert all(np.isfinite(value) for value in found.scalars().values()), kind
    assert analysis.only(Discrimination).crossfit.value > 0.5
    explained = analysis.only(Explanation if linear else PermutationImportance)
    assert explained.subject == "the risk model"
    assert bool(analysis.about(Optimism)) == linear
    if name == "survival_forest":
        assert not described.settings["learned"].any()
    again = type(described).from_dict(json.loads(json.dumps(described.to_dict())))
    assert again.text() == described.text()


def test_every_model_of_a_time_to_event_scores_new_patients_after_it_was_stored(done, tmp_path):
    name, analysis = done
    analysis.risk.write(tmp_path)
    again = Stratifier.read(tmp_path)
    assert (again.risk.model, again.risk.arm) == (name, "covariate")
    patients = analysis.trial.baseline.head(20)
    scored, before = again.predict(patients), analysis.risk.predict(patients)
    pd.testing.assert_frame_equal(scored, before)
    assert ((scored["risk"] > 0) & (scored["risk"] < 1)).all()
    # Under control: the arm's column is not asked of new patients.
    control = patients.assign(treated=0.0)
    np.testing.assert_allclose(scored["risk"], analysis.risk.risk.estimator.risk(control, 365.0))


def test_performance_over_time_ends_with_the_scores_of_the_horizon(done):
    _, analysis = done
    found, error = analysis.only(Performance), analysis.only(PredictionError)
    assert found.kind == "crossfit"
    assert found.measures["horizon"].max() == 365
    assert found.measures["horizon"].nunique() > 2
    assert found.estimate("Brier score", "the risk model").value == pytest.approx(error.model.value, rel=1e-12)
    assert not set(found.measures["measure"]) & {"Harrell's C", "Uno's C"}
    assert found.heading() == "Performance over time"
    assert found.table()["By (days)"].iloc[-1] == "365"
    assert len(found.table()) == found.measures["horizon"].nunique()


def test_the_bootstrap_learns_once_from_each_sample_for_two_results(learned, monkeypatch):
    from trialml import risk_patients

    seen = []
    original = risk_patients.RiskPatients.fit

    def counting(self, name):
        fit = original(self, name)
        return lambda rows: (seen.append(1), fit(rows))[1]

    monkeypatch.setattr(risk_patients.RiskPatients, "fit", counting)
    analysis = learned()
    assert len(analysis.only(Optimism).samples) == analysis.only(Stability).bootstraps == 20
    # Two folds twice, the final model, that of the bootstrap, and 20 samples.
    assert len(seen) == 2 * 2 + 1 + 1 + 20


def test_no_bootstrap_is_drawn_where_none_is_asked_for(learned):
    analysis = learned(bootstrap=0)
    assert not analysis.about(Optimism)
    assert not analysis.about(Stability)


def test_a_model_of_the_control_arm_never_sees_a_treated_patient(write_study, tmp_path_factory):
    """The same control patients beside other treated ones give the same model and the same performance."""

    def spoil(frame):
        treated = frame.index[frame["arm"] == "new"]
        frame.loc[treated, "days"] = frame.loc[treated, "days"].to_numpy()[::-1]

    found = []
    for change in (None, spoil):
        path = write_study(
            tmp_path_factory.mktemp("control"),
            rows=300,
            arms=("old", "new"),
            change=change,
            study={"treatment.secondary": None, "models.risk.treatment": "control arm"},
        )
        study = read_study(path)
        look = look_at_data(study)
        analysis = Analysis(study, look.trial, True, Watcher())
        learn_risk(Learning(analysis, look.quality))
        found.append(analysis)
    clean, spoilt = found
    controls = int((~clean.trial.treated).sum())
    c = clean.only(Discrimination)
    assert (c.crossfit.n, c.arm) == (controls, "control arm")
    assert c.crossfit == c.without_arm == spoilt.only(Discrimination).crossfit
    assert clean.only(Optimism).n == controls
    assert clean.only(PredictionError).model == spoilt.only(PredictionError).model
    assert clean.risk.risk.estimator.treatment is None
    np.testing.assert_array_equal(clean.risk.risk.estimator.coefficients_, spoilt.risk.risk.estimator.coefficients_)
    assert clean.risk.risk.arm == "control arm"


def test_a_blinded_model_learns_from_both_arms_without_the_arm(learned):
    analysis = learned(treatment="blinded")
    model, c = analysis.risk.risk.estimator, analysis.only(Discrimination)
    assert model.treatment is None
    assert (c.crossfit.n, c.arm) == (300, "blinded")
    assert "does not know the arm" in c.text()
    assert "conditional on the others" in analysis.only(Coefficients).text()


def test_too_few_events_in_the_control_arm_are_refused_in_words(write_study, tmp_path):
    """The trial has events enough; its control arm has not."""

    def few(frame):
        happened = frame.index[(frame["progressed"] == 1) & (frame["arm"] == "old")]
        frame.loc[happened[6:], "progressed"] = 0

    changes = {"treatment.secondary": None, "models.risk.treatment": "control arm"}
    study = read_study(write_study(tmp_path, rows=200, arms=("old", "new"), change=few, study=changes))
    look = look_at_data(study)
    with pytest.raises(
        AnalysisError, match="6 patients of the control arm had the event 'progression', too few"
    ) as refused:
        learn_risk(Learning(Analysis(study, look.trial, True, Watcher()), look.quality))
    assert str(refused.value).endswith("Name an endpoint with more events, or learn from both arms.")


@pytest.fixture(scope="module")
def compared(learned):
    return learned(candidates=["cox_elastic_net", "survival_forest"])


def test_the_default_stays_unless_a_candidates_interval_excludes_zero(compared):
    found = compared.only(ModelComparison)
    assert list(found.models["model"]) == ["cox_ridge", "cox_elastic_net", "survival_forest"]
    better = found.models.iloc[1:].query("high < 0")
    assert found.chosen == ("cox_ridge" if better.empty else better.sort_values("difference")["model"].iloc[0])
    assert compared.risk.risk.model == found.chosen
    assert found.models["chosen_share"].sum() == pytest.approx(1.0)


def test_the_performance_of_a_chosen_model_is_that_of_the_whole_procedure(compared):
    """The mean Brier score of what each fold chose, as the comparison has it, is that of the predictions that were judged."""
    found, error, over_time = (compared.only(kind) for kind in (ModelComparison, PredictionError, Performance))
    assert error.model.value == pytest.approx(found.loss_with_choice, rel=1e-10)
    assert over_time.measures["horizon"].max() == 365


def test_a_candidate_that_is_better_beyond_doubt_is_used_and_explained(write_study, tmp_path):
    """Risk that depends on a number's distance from its middle, which no straight line finds."""

    def bend(frame):
        draw = np.random.default_rng(3)
        hazard = np.exp(2.5 * (np.abs(frame["age"].to_numpy(dtype=float) - 60) > 6) - 1.2)
        days = np.ceil(draw.exponential(400 / hazard)).clip(1)
        last = draw.uniform(400, 900, len(frame)).round()
        frame["days"], frame["progressed"] = np.minimum(days, last).astype(int), (days <= last).astype(int)

    changes = {"treatment.secondary": None, "models.risk.candidates": ["survival_forest"], "models.risk.bootstrap": 0}
    path = write_study(tmp_path, rows=600, arms=("old", "new"), change=bend, study=changes)
    study = read_study(path)
    look = look_at_data(study)
    analysis = Analysis(study, look.trial, True, Watcher())
    learn_risk(Learning(analysis, look.quality))
    found = analysis.only(ModelComparison)
    assert found.chosen == "survival_forest"
    assert found.difference("survival_forest").high < 0
    assert analysis.risk.risk.model == analysis.only(LearnedModel).model == "survival_forest"
    explained = analysis.only(PermutationImportance)
    assert explained.importance["covariate"].iloc[0] == "age"
    assert explained.importance["low"].iloc[0] > 0


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("bootstrap", 5, "bootstrap = 5, but it must be 0 .none. or at least 20"),
        ("treatment", "both", r"\[models.risk\] treatment = 'both' will not do"),
        ("candidates", ["survival_forest", "survival_forest"], "candidates lists 'survival_forest' twice"),
    ],
)
def test_settings_of_the_risk_model_that_will_not_do_are_refused(write_study, tmp_path, key, value, sentence):
    with pytest.raises(StudyFileError, match=sentence):
        read_study(write_study(tmp_path, study={f"models.risk.{key}": value}))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"model": "logistic_ridge"},
            "model = 'logistic_ridge' is for a binary endpoint, but this one is time to event",
        ),
        ({"candidates": ["fine_gray_ridge"]}, "candidates = 'fine_gray_ridge' is for a competing risks endpoint"),
        ({"candidates": ["survival_forrest"]}, "candidates = 'survival_forrest' does not exist; the nearest name"),
        ({"candidates": ["cox_ridge"]}, "candidates lists 'cox_ridge', which is the model that they are compared with"),
    ],
)
def test_a_model_of_another_kind_of_endpoint_is_refused_before_the_data_are_read(
    write_study, tmp_path, capsys, changes, sentence
):
    path = write_study(tmp_path, data="", study={f"models.risk.{key}": value for key, value in changes.items()})
    assert main(["run", str(path), "--out", str(tmp_path / "out")]) == 2
    assert sentence in capsys.readouterr().err


COMPETING = ("cause_specific_cox", "fine_gray_ridge", "boosted_competing")


@pytest.fixture(scope="module", params=COMPETING)
def among_competing(request, write_study, tmp_path_factory):
    """A third of the events are deaths, after which nobody progresses."""

    def die(frame):
        happened = frame.index[frame["progressed"] == 1]
        frame.loc[happened[::3], "progressed"] = 2

    model = {} if request.param == COMPETING[0] else {"models.risk.model": request.param}
    model |= {"models.risk.bootstrap": 0} if request.param == "boosted_competing" else {}
    path = write_study(
        tmp_path_factory.mktemp("competing"),
        rows=400,
        arms=("old", "new"),
        change=die,
        study=model
        | {
            "treatment.secondary": None,
            "endpoints.event_values": [1],
            "endpoints.censored_values": [0],
            "endpoints.competing_values": {"Death": [2]},
            "models.risk.groups": ["prior"],
            "models.risk.thresholds": [0.3, 0.5],
        },
    )
    study = read_study(path)
    look = look_at_data(study)
    analysis = Analysis(study, look.trial, True, Watcher())
    learn_risk(Learning(analysis, look.quality))
    return request.param, analysis


def test_an_endpoint_among_competing_events_gets_a_model_of_the_absolute_risk(among_competing):
    """Against Aalen and Johansen's incidence: one less Kaplan-Meier would be a risk that nobody runs."""
    name, analysis = among_competing
    trial = analysis.trial
    assert analysis.study.risk_model == analysis.risk.risk.model == name
    assert set(np.unique(trial.cause)) == {0, 1, 2}
    curves = aalen_johansen(trial.time, trial.cause, 2)
    observed = float(curves.incidence[np.searchsorted(curves.time, 365.0, side="right") - 1, 0])
    both = trial.baseline.assign(treated=trial.treated.astype(float))
    assert analysis.risk.risk.estimator.risk(both, 365.0).mean() == pytest.approx(observed, abs=0.02)
    calibrated = analysis.only(Calibration)
    assert calibrated.ratio.value * np.mean(calibrated.groups["predicted"]) == pytest.approx(observed, abs=0.02)
    bootstrap = () if name == "boosted_competing" else (Optimism, Stability)
    for kind in (Discrimination, Calibration, PredictionError, Performance, NetBenefit, *bootstrap):
        assert all(np.isfinite(value) for value in analysis.only(kind).scalars().values()), kind
    assert analysis.only(GroupPerformance).factor == "prior"
    described = analysis.only(LearnedModel if name == "boosted_competing" else Coefficients)
    assert described.events == int((trial.cause == 1).sum())


def test_a_model_among_competing_events_scores_new_patients_after_it_was_stored(among_competing, tmp_path):
    _, analysis = among_competing
    analysis.risk.write(tmp_path)
    patients = analysis.trial.baseline.head(15)
    pd.testing.assert_frame_equal(Stratifier.read(tmp_path).predict(patients), analysis.risk.predict(patients))


def test_words_of_the_model_say_whose_hazard_a_coefficient_changes(among_competing):
    name, analysis = among_competing
    text = analysis.only(LearnedModel if name == "boosted_competing" else Coefficients).text()
    said = {
        "cause_specific_cox": "Cause-specific hazard ratios of the event",
        "fine_gray_ridge": "Subdistribution hazard ratios of the event",
        "boosted_competing": "one sequence for the event and one for the competing events",
    }
    assert said[name] in text
    moved = analysis.only(PermutationImportance if name == "boosted_competing" else Explanation)
    wanted = "the event's cause-specific hazard in the risk model" if name == COMPETING[0] else "the risk model"
    assert moved.subject == wanted


CODES = {"endpoints.event_values": [1], "endpoints.censored_values": [0]}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"endpoints.competing_values": {"Death": [2]}}, "competing_values. needs event_values and censored_values"),
        (
            CODES | {"endpoints.competing_values": {"Death": [1]}},
            "gives the code '1' to 'Death', but it means something",
        ),
        (
            CODES | {"endpoints.competing_values": {"Death": [2], "Transplant": [2]}},
            "gives the code '2' to 'Transplant', but it means something else",
        ),
        (
            CODES | {"endpoints.competing_values": {"Death": [2]}, "models.risk.model": "cox_ridge"},
            "is for a time to event endpoint, but this one is competing risks",
        ),
    ],
)
def test_competing_codes_that_contradict_are_refused(write_study, tmp_path, capsys, changes, sentence):
    path = write_study(tmp_path, data="", study=changes)
    assert main(["check", str(path)]) == 2
    assert re.search(sentence, capsys.readouterr().err)


def test_a_code_that_is_no_event_is_refused_by_its_row(write_study, tmp_path, capsys):
    def odd(frame):
        frame.loc[3, "progressed"] = 7

    path = write_study(tmp_path, change=odd, study=CODES | {"endpoints.competing_values": {"Death": [2]}})
    assert main(["check", str(path)]) == 1
    assert "file row 5" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "said", "unsaid"),
    [
        (
            {
                "models.risk.model": "survival_forest",
                "models.risk.treatment": "control arm",
                "models.risk.bootstrap": 0,
            },
            (
                "a survival forest",
                "judged on the control arm alone",
                "C-index in the control arm",
                "Permutation importance",
                "no correction for optimism",
            ),
            ("where the arm orders too", "whose risk new patients are given"),
        ),
        (
            {
                "endpoints.event_values": [1],
                "endpoints.censored_values": [0],
                "endpoints.competing_values": {"Death": [2]},
                "models.risk.model": "fine_gray_ridge",
                "models.risk.bootstrap": 0,
            },
            (
                "subdistribution hazard ratio of the arm",
                "Subdistribution hazard ratios of the event",
                "Cumulative incidence",
            ),
            ("It has no coefficients",),
        ),
    ],
    ids=["forest of the control arm", "Fine and Gray"],
)
def test_a_whole_run_says_what_its_model_is(write_study, tmp_path, changes, said, unsaid):
    def die(frame):
        if "endpoints.competing_values" in changes:
            happened = frame.index[frame["progressed"] == 1]
            frame.loc[happened[::3], "progressed"] = 2

    path = write_study(
        tmp_path, rows=400, arms=("old", "new"), change=die, study={"treatment.secondary": None} | changes
    )
    analysis = analyse(read_study(path), quick=True)
    published = publish(analysis, tmp_path, ["trialml", "run", "study.toml"])
    text = html.unescape(published.report.read_text()) + published.card["risk"]
    for words in said:
        assert words in text
    for words in unsaid:
        assert words not in text
    assert f"models.risk.model {analysis.study.risk_model}" in text or "models.risk.model" in changes


def constant(frame):
    frame["age"] = 60


def empty(frame):
    frame["age"] = None


def knows_the_outcome(frame):
    frame["marker"] = -frame["days"].astype(float) - 1000 * (frame["progressed"] == 0)


def identifier_as_text(frame):
    frame["site"] = [f"s{number}" for number in range(len(frame))]


def infinite(frame):
    frame.loc[3, "marker"] = "inf"


def ends_too_early(frame):
    frame["days"] = frame["days"].clip(upper=300)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (knows_the_outcome, "'marker' alone puts the events in order without an error"),
        (identifier_as_text, "'site' has 300 categories in 300 patients: join categories"),
        (infinite, "Column 'marker', file row 5: 'inf' is not finite"),
        (ends_too_early, "horizon = 365 days, to when 0 of the 150 patients of the arm 'old' were followed"),
    ],
)
@pytest.mark.parametrize("model", ["cox_ridge", "survival_forest"])
def test_bad_columns_and_horizons_are_refused_in_words_whatever_the_model(
    write_study, tmp_path, model, change, sentence
):
    changes = {"treatment.secondary": None, "models.risk.model": model, "models.risk.bootstrap": 0}
    study = read_study(write_study(tmp_path, rows=300, arms=("old", "new"), change=change, study=changes))

    def learn():
        look = look_at_data(study)
        learn_risk(Learning(Analysis(study, look.trial, True, Watcher()), look.quality))

    with pytest.raises((AnalysisError, DataError), match=sentence):
        learn()


@pytest.mark.parametrize("change", [constant, empty])
@pytest.mark.parametrize("model", ["cox_ridge", "survival_forest"])
def test_a_covariate_without_values_is_left_out_whatever_the_model(write_study, tmp_path, model, change):
    changes = {"treatment.secondary": None, "models.risk.model": model, "models.risk.bootstrap": 0}
    study = read_study(write_study(tmp_path, rows=200, arms=("old", "new"), change=change, study=changes))
    look = look_at_data(study)
    analysis = Analysis(study, look.trial, True, Watcher())
    learn_risk(Learning(analysis, look.quality))
    assert look.quality.not_used == ("age",)
    assert [field.name for field in analysis.risk.contract.fields] == ["marker", "prior", "site"]


@pytest.mark.filterwarnings("ignore:DataFrame is highly fragmented")
def test_more_covariates_than_patients_are_learned_with_a_penalty_and_called_too_many(write_study, tmp_path):
    names = [f"gene{number}" for number in range(90)]

    def widen(frame):
        noise = np.random.default_rng(1).normal(size=(len(frame), len(names))).round(3)
        return frame.join(pd.DataFrame(noise, columns=names))

    changes = {
        "treatment.secondary": None,
        "covariates.numeric": ["age", "marker", *names],
        "models.risk.bootstrap": 0,
    }
    study = read_study(write_study(tmp_path, rows=80, arms=("old", "new"), change=widen, study=changes))
    look = look_at_data(study)
    analysis = Analysis(study, look.trial, True, Watcher())
    with threadpool_limits(limits=1):
        learn_risk(Learning(analysis, look.quality))
    assert analysis.risk.risk.estimator.penalty_ >= 30
    enough = analysis.only(SampleAdequacy)
    assert not enough.enough
    assert "there are too few" in enough.text()
    assert analysis.only(Discrimination).crossfit.high < 0.9


def test_an_arm_with_one_event_is_named_where_the_arm_is_a_covariate(write_study, tmp_path):
    def one_sided(frame):
        new = frame.index[(frame["arm"] == "new") & (frame["progressed"] == 1)]
        frame.loc[new[1:], "progressed"] = 0
        frame.loc[new[1:], "days"] = 500

    study = read_study(write_study(tmp_path, rows=240, change=one_sided))
    with pytest.raises(
        AnalysisError, match=r"The experimental arm has (no events|1 event) among \d+ training patients.*'blinded'"
    ):
        analyse(study, quick=True)
