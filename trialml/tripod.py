"""The items of TRIPOD+AI in short words, and what a finished run can say to each."""

from __future__ import annotations

from trialml.analysis import Analysis
from trialml.data.analysis_set import AnalysisSet
from trialml.data.baseline import BaselineTable
from trialml.data.cleaning_log import CleaningLog
from trialml.data.missingness import Missingness
from trialml.data.quality import DataQuality
from trialml.data.starter_text import FILL_IN
from trialml.models import model_named
from trialml.models.coefficients import Coefficients
from trialml.models.learned_model import LearnedModel
from trialml.models.sample_adequacy import SampleAdequacy
from trialml.result import Result, counted, format_count
from trialml.risk_patients import ARM_WORDS
from trialml.strata.wording import StrataWording
from trialml.survival.kaplan_meier import KaplanMeier
from trialml.validation.benefit import BenefitCalibration
from trialml.validation.binary import BinaryPerformance
from trialml.validation.binary_calibration import BinaryCalibration
from trialml.validation.by_group import GroupPerformance
from trialml.validation.calibration import Calibration
from trialml.validation.calibration_curve import CalibrationCurve
from trialml.validation.continuous import ContinuousPerformance
from trialml.validation.discrimination import Discrimination
from trialml.validation.external import InternalExternal
from trialml.validation.net_benefit import NetBenefit
from trialml.validation.optimism import Optimism
from trialml.validation.outcome_by_group import OutcomeGroups
from trialml.validation.performance import Performance
from trialml.validation.policy_value import PolicyValue
from trialml.validation.prediction_error import PredictionError
from trialml.validation.targeting_curve import TargetingCurve

__all__ = ["TRIPOD_ITEMS", "tripod_answers"]

TRIPOD_ITEMS = {
    "1 Title": "Development or evaluation of a prediction model, its population and outcome named in the title",
    "2 Abstract": "A structured abstract as TRIPOD+AI for Abstracts asks",
    "3a Background": "The healthcare context, why a model is needed, models that exist",
    "3b Background": "Target population, purpose in the care pathway, intended users",
    "3c Background": "Known health inequalities between groups of patients",
    "4 Objectives": "What the study sets out to do: develop, evaluate, or both",
    "5a Data": "Sources of the data, and why these; how far they represent the target population",
    "5b Data": "Dates of recruitment and of the end of follow-up",
    "6a Participants": "Setting: kind, number and place of centres",
    "6b Participants": "Who was eligible",
    "6c Participants": "Treatments received and how they were handled in the model",
    "7 Data preparation": "Pre-processing and quality checks of the data, alike in all groups",
    "8a Outcome": "What is predicted, over which time, how and when it was assessed",
    "8b Outcome": "Who assessed an outcome that needs judgement",
    "8c Outcome": "Whether assessors of the outcome were blinded",
    "9a Predictors": "How the candidate predictors were chosen",
    "9b Predictors": "All predictors, and how and when they were measured",
    "9c Predictors": "Who assessed predictors that need judgement",
    "10 Sample size": "How the size was arrived at, and whether it suffices",
    "11 Missing data": "How missing values were handled, and what was left out for them",
    "12a Methods": "How the data were used: for development, for evaluation",
    "12b Methods": "How predictors were coded, transformed, standardised",
    "12c Methods": "Kind of model, its building, tuning and internal validation",
    "12d Methods": "Differences between clusters such as centres",
    "12e Methods": "Measures and plots by which performance was judged",
    "12f Methods": "Updating of the model after evaluation",
    "12g Methods": "How predictions are computed for new patients",
    "13 Class imbalance": "Methods against imbalance of classes, and recalibration after them",
    "14 Fairness": "What was done to find and lessen unfairness between groups",
    "15 Output": "What the model returns, and how any grouping was made",
    "16 Training and evaluation": "Differences between the data of development and of evaluation",
    "17 Ethics": "Approval and consent",
    "18a Open science": "Funding, and the funder's part",
    "18b Open science": "Conflicts of interest",
    "18c Open science": "Where the protocol is, or that there is none",
    "18d Open science": "Registration, or that there is none",
    "18e Open science": "Availability of the data",
    "18f Open science": "Availability of the code",
    "19 Involvement": "Patients and public: how they were involved",
    "20a Participants": "Flow of participants, with and without the outcome; follow-up",
    "20b Participants": "Characteristics of participants, missing values shown",
    "20c Participants": "Development and evaluation data side by side",
    "21 Development": "Participants and events in each analysis",
    "22 Specification": "The full model, so that others can predict with it",
    "23a Performance": "Performance with intervals, in key subgroups too",
    "23b Performance": "Performance across clusters",
    "24 Updating": "The updated model and its performance",
    "25 Interpretation": "What the results mean, fairness included",
    "26 Limitations": "What limits the study, and what follows",
    "27a Usability": "How missing or poor input is handled when the model is used",
    "27b Usability": "What users must do, and the expertise they need",
    "27c Usability": "What future research must show",
}
"""Item and part by what it asks for, in this package's words."""

_Answer = tuple[str, str]
_RUN, _PART = "from the run", "in part"


def tripod_answers(analysis: Analysis) -> dict[str, _Answer]:
    """Return what the run says to the items, as (words, ``"from the run"`` or ``"in part"``) by key of `TRIPOD_ITEMS`.

    Parameters
    ----------
    analysis
        A finished analysis.

    Returns
    -------
    dict
        Items that a run cannot know are not in it: they are the author's to answer.
    """
    return _aims(analysis) | _data(analysis) | _methods(analysis) | _results(analysis)


def _see(analysis: Analysis, *kinds: type[Result]) -> str:
    """Return where results of some classes stand in the report, empty where there is none."""
    found: list[Result] = [result for result in analysis.results if isinstance(result, kinds)]
    return f"See {'; '.join(dict.fromkeys(result.heading() for result in found))}." if found else ""


def _stated(words: str) -> bool:
    return bool(words.strip()) and FILL_IN not in words


def _answered(pairs: dict[str, _Answer]) -> dict[str, _Answer]:
    return {item: answer for item, answer in pairs.items() if answer[0]}


def _aims(analysis: Analysis) -> dict[str, _Answer]:
    study, endpoint = analysis.study, analysis.trial.endpoint
    population = study.estimand.population if _stated(study.estimand.population) else ""
    return _answered(
        {
            "1 Title": (
                f"The title of this report is “{study.study.title}”; the outcome is {endpoint.label}. The title must say that models were developed.",
                _PART,
            ),
            "3b Background": (f"Population: {population}." if population else "", _PART),
            "4 Objectives": (
                "To develop a model of risk and a model of benefit and to validate them internally, and to plan the next trial with them.",
                _RUN,
            ),
        }
    )


def _data(analysis: Analysis) -> dict[str, _Answer]:
    study, trial, endpoint = analysis.study, analysis.trial, analysis.trial.endpoint
    unit = f" {endpoint.unit}" if endpoint.unit else ""
    over = f", over {endpoint.horizon:g}{unit} from randomisation" if endpoint.kind == "time to event" else ""
    variable = study.estimand.variable if _stated(study.estimand.variable) else endpoint.label
    labels = ", ".join(covariate.label for covariate in trial.covariates)
    missing = _see(analysis, Missingness)
    return _answered(
        {
            "5a Data": (f"One randomised trial, read from {study.data.source} (SHA-256 {trial.sha256[:12]}…).", _PART),
            "6b Participants": (study.estimand.population if _stated(study.estimand.population) else "", _PART),
            "6c Participants": (f"Arms: {_arms(analysis)}. {ARM_WORDS[study.models.risk.treatment]}", _RUN),
            "7 Data preparation": (_see(analysis, DataQuality, CleaningLog), _RUN),
            "8a Outcome": (f"{variable}{over}.", _PART),
            "9a Predictors": (
                f"The {counted(len(trial.covariates), 'covariate')} that the study file lists; nothing measured after randomisation is taken. "
                "Why these, the author must say.",
                _PART,
            ),
            "9b Predictors": (f"{labels}. How and when each was measured, the author must say.", _PART),
            "10 Sample size": (_see(analysis, SampleAdequacy, Coefficients, LearnedModel), _PART),
            "11 Missing data": (
                f"{missing} Missing baseline values are imputed from what the training patients of each fold teach.".strip(),
                _RUN,
            ),
        }
    )


def _arms(analysis: Analysis) -> str:
    treatment = analysis.trial.treatment
    return ", ".join(treatment.label(arm) for arm in (treatment.control, treatment.experimental, *treatment.secondary))


def _methods(analysis: Analysis) -> dict[str, _Answer]:
    asked = analysis.study.models
    risk = model_named(analysis.model_name("risk"), "risk").words
    response = model_named(asked.response.model, "response").words
    validated = (
        f"Cross-validation in {asked.risk.folds} folds, {analysis.repeats('risk')} times (risk), and {asked.response.folds} folds, "
        f"{analysis.repeats('response')} times (response); everything learned is learned again in each"
    )
    boot = f"; optimism by {asked.risk.bootstrap} bootstrap samples" if _see(analysis, Optimism) else ""
    kinds = (
        Discrimination,
        Calibration,
        CalibrationCurve,
        PredictionError,
        Performance,
        NetBenefit,
        BinaryPerformance,
    )
    more = (BinaryCalibration, ContinuousPerformance, BenefitCalibration, TargetingCurve, PolicyValue)
    by_group = _see(analysis, GroupPerformance, OutcomeGroups)
    return _answered(
        {
            "12a Methods": (
                "All patients serve for development and, left out in turn, for internal validation; none is set apart.",
                _RUN,
            ),
            "12b Methods": (
                "See Methods, Models: coding, standardisation and imputation, each learned in the training fold.",
                _RUN,
            ),
            "12c Methods": (f"Risk: {risk}. Response: {response}. {validated}{boot}.", _RUN),
            "12d Methods": (_see(analysis, InternalExternal), _RUN),
            "12e Methods": (_see(analysis, *kinds, *more), _RUN),
            "12f Methods": ("The models were not updated.", _RUN),
            "12g Methods": (
                "The registered stratifier returns risk, expected benefit and stratum; see the model cards.",
                _RUN,
            ),
            "13 Class imbalance": ("No resampling and no weighting of classes was used.", _RUN),
            "14 Fairness": (by_group, _PART),
            "15 Output": (
                f"Risk, expected benefit and stratum. {_see(analysis, StrataWording)}".strip(),
                _RUN,
            ),
            "16 Training and evaluation": ("None: evaluation is internal, in the same trial.", _RUN),
        }
    )


def _results(analysis: Analysis) -> dict[str, _Answer]:
    trial = analysis.trial
    treatment = trial.treatment
    primary = trial.only(treatment.control, treatment.experimental)
    events = f", {format_count(int(primary.frame['event'].sum()))} with the event" if "event" in primary.frame else ""
    performance = (
        Discrimination,
        Calibration,
        PredictionError,
        BinaryPerformance,
        ContinuousPerformance,
        BenefitCalibration,
    )
    return _answered(
        {
            "18f Open science": ("Commands, versions, seed and hashes stand in Reproduce this report.", _PART),
            "20a Participants": (_see(analysis, AnalysisSet, KaplanMeier), _RUN),
            "20b Participants": (_see(analysis, BaselineTable, Missingness), _RUN),
            "20c Participants": ("No other data were used for evaluation.", _RUN),
            "21 Development": (f"{format_count(len(primary))} patients of the two primary arms{events}.", _RUN),
            "22 Specification": (
                f"{_see(analysis, Coefficients, LearnedModel)} The whole model is registered in MLflow.".strip(),
                _RUN,
            ),
            "23a Performance": (_see(analysis, *performance, GroupPerformance, OutcomeGroups), _RUN),
            "23b Performance": (_see(analysis, InternalExternal), _RUN),
            "24 Updating": ("The models were not updated.", _RUN),
            "25 Interpretation": ("The first page says what was found and how sure it is.", _PART),
            "26 Limitations": ("See Limitations.", _PART),
            "27a Usability": (
                "A required input that is missing is refused; others are imputed and flagged; see the model cards.",
                _RUN,
            ),
            "27c Usability": (
                "Validation on patients of another trial, before either model selects or stratifies anybody.",
                _PART,
            ),
        }
    )
