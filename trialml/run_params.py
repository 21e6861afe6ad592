"""The parameters of a tracked run: the cohort, the estimand, the resampling and the model, as the reviewer compares runs by them."""

from __future__ import annotations

from trialml.analysis import Analysis, Subject
from trialml.data.trial import Trial
from trialml.effects.primary_outcome import prediction_name
from trialml.strata.strata import strata_made_by

__all__ = ["counted_events", "run_params"]


def run_params(analysis: Analysis, subject: Subject) -> dict[str, str]:
    """Return the parameters of the run of one of the two models, by name.

    Parameters
    ----------
    analysis
        A finished analysis.
    subject
        ``"risk"`` or ``"response"``.

    Returns
    -------
    dict
        Only of a time to event ``horizon``, ``tau`` and ``censoring_model``; of another endpoint ``endpoint.kind`` and
        ``endpoint.direction``.
    """
    study, trial = analysis.study, analysis.trial
    treatment = trial.treatment
    primary = trial.only(treatment.control, treatment.experimental)
    asked = study.models.risk if subject == "risk" else study.models.response
    balanced = {"continuous": "arm, stratification factor"}.get(
        trial.endpoint.kind, "arm, event, stratification factor"
    )
    params = {
        "cohort.name": trial.name,
        "cohort.n": str(len(primary)),
        "cohort.events": str(counted_events(primary)),
        "cohort.sha256": trial.sha256,
        **{f"estimand.{name}": words for name, words in study.estimand.model_dump().items()},
        "split.folds": str(asked.folds),
        "split.repeats": str(analysis.repeats(subject)),
        "split.balanced_by": balanced,
        "model.name": analysis.model_name(subject),
        **({"model.arm": study.models.risk.treatment} if subject == "risk" else {}),
        "model.covariates": ", ".join(covariate.name for covariate in trial.covariates),
        **_endpoint(analysis, subject),
        "seed": str(study.study.seed),
        "quick": str(analysis.quick).lower(),
    }
    if trial.endpoint.kind == "continuous":
        del params["cohort.events"]
    if subject == "response":
        better = trial.endpoint.higher_is_better
        predicted = prediction_name(trial.endpoint.kind, higher_is_better=better)
        params["strata.groups"] = str(study.strata.groups)
        params["strata.rule"] = strata_made_by(study.strata.kind, predicted)
    return params


def counted_events(trial: Trial) -> int:
    """Return the events of a trial's patients, 0 where the endpoint is continuous."""
    return 0 if trial.endpoint.kind == "continuous" else int(trial.event.sum())


def _endpoint(analysis: Analysis, subject: Subject) -> dict[str, str]:
    """Return where and how the endpoint is read."""
    endpoint = analysis.trial.endpoint
    if endpoint.kind != "time to event":
        return {"endpoint.kind": endpoint.kind, "endpoint.direction": endpoint.direction}
    return {
        "horizon": f"{endpoint.horizon:g} {endpoint.unit}",
        "tau": f"{endpoint.tau:g} {endpoint.unit}",
        "censoring_model": "Kaplan-Meier" if subject == "risk" else "Kaplan-Meier by arm",
    }
