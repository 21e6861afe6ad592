"""The whole flow, readable top to bottom: from the study file to results, models and a next trial.

Nothing is written here: `publish.py` writes the report and tracks the runs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from threadpoolctl import threadpool_limits

from trialml.analysis import Analysis, Watcher
from trialml.bridge import add_response_evidence
from trialml.bridge_design import add_bridge
from trialml.comparing import compare
from trialml.config import Study
from trialml.data.adam_trial import read_adam_trial
from trialml.data.adverse_events import AdverseEvents, adverse_events
from trialml.data.analysis_set import AnalysisSet, analysis_set
from trialml.data.baseline import baseline_table
from trialml.data.cleaning_log import CleaningLog, cleaning_log
from trialml.data.competing_causes import add_causes
from trialml.data.missingness import Missingness, missingness
from trialml.data.quality import DataQuality, data_quality, examine
from trialml.data.quality_catalogue import Seen
from trialml.data.read import locate, read_table
from trialml.data.roles import Endpoint
from trialml.data.time_zero import add_time
from trialml.data.trial import Trial, build_trial
from trialml.data.visit_tables import add_visits
from trialml.designing import compute_design
from trialml.endpoint_run import analyse_outcome, refuse_unready
from trialml.errors import DataError
from trialml.following import follow
from trialml.harm import follow_harm, learn_harm, weigh_harm
from trialml.learning import Learning
from trialml.planning import plan_next_trial
from trialml.result import Result
from trialml.risk_learning import learn_risk
from trialml.survival.leakage import Leakage, leakage

__all__ = ["DataLook", "analyse", "look_at_data", "read_adverse_events", "read_harm", "read_trial"]


def read_trial(study: Study) -> Trial:
    """Read the data of a study file and give every column its role.

    Raises
    ------
    DataError, AnalysisError
        If the data cannot be read or contradict the study file.
    """
    data, endpoint = study.data, study.endpoint
    path = locate(data.source, study.path.parent, folder=True)
    if path.is_dir():
        return _read_folder(study, path, endpoint, data.time_zero)
    if endpoint.records is not None:
        raise DataError(
            f"[[endpoints]] asks for records of {endpoint.records.dataset}, but [data] source = '{data.source}' is a file: give the folder "
            "of the ADaM data sets."
        )
    table = read_table(
        data.source, study.path.parent, columns=_columns(study), encoding=data.encoding, decimal=data.decimal
    )
    if study.endpoints[0].date is not None:
        assert data.time_zero is not None
        table = add_time(table, study.endpoints[0].date, data.time_zero, endpoint, rule=data.partial_dates)
    if study.endpoints[0].competing_values:
        table, endpoint = add_causes(table, endpoint, study.endpoints[0].competing_values, subject=data.subject)
    table = add_visits(table, study.visits, subject=data.subject, base=study.path.parent)
    return build_trial(table, endpoint=endpoint, **_roles(study))


def _roles(study: Study) -> dict[str, Any]:
    data = study.data
    return {
        "name": study.study.name,
        "subject": data.subject,
        "treatment": study.arms,
        "covariates": study.covariate_list,
        "post_baseline": data.post_baseline,
        "site": data.site,
        "population": data.population,
        "population_value": data.population_value,
    }


def _read_folder(study: Study, path: Path, endpoint: Endpoint, time_zero: str | None) -> Trial:
    data = study.data
    return read_adam_trial(
        path,
        data.source,
        endpoint=endpoint,
        time_zero=time_zero,
        partial_dates=data.partial_dates,
        visits=study.visits,
        base=study.path.parent,
        encoding=data.encoding,
        decimal=data.decimal,
        **_roles(study),
    )


def read_harm(study: Study, analysed: Trial) -> Trial | None:
    """Read the adverse reaction of `[harm]` for the patients analysed who were at risk of it; None where none is asked for.

    The time at risk starts with the first dose, whatever the times of the endpoint start with.

    Raises
    ------
    DataError
        If the data are no ADaM folder, or lack what the adverse reaction needs.
    """
    endpoint = study.harm_endpoint
    if endpoint is None:
        return None
    path = locate(study.data.source, study.path.parent, folder=True)
    if not path.is_dir():
        raise DataError(
            f"[harm] needs the adverse events of an ADaM folder (ADSL and ADAE), but [data] source = '{study.data.source}' is a file: "
            "give the folder, or take [harm] out."
        )
    read = _read_folder(study, path, endpoint, None)
    at_risk = read.frame["time"].notna() & read.frame["cause"].notna() & read.frame.index.isin(analysed.frame.index)
    return read.rows(at_risk.to_numpy())


def read_adverse_events(study: Study) -> AdverseEvents | None:
    """Count the adverse events of an ADaM folder; None where the data are one file, or the folder has no ADAE.

    Raises
    ------
    DataError
        If ADAE or ADSL lack what the count needs.
    """
    path = locate(study.data.source, study.path.parent, folder=True)
    if not path.is_dir():
        return None
    return adverse_events(
        path,
        study.data.source,
        subject=study.data.subject,
        treatment=study.arms,
        partial_dates=study.data.partial_dates,
        encoding=study.data.encoding,
        decimal=study.data.decimal,
    )


def _columns(study: Study) -> set[str]:
    """Return the columns that have a part: a long file is not kept whole for a few of them."""
    named = {study.data.subject, study.treatment.column, *study.treatment.stratification, *study.covariates.names()}
    zeros = (one.time_zero for one in study.visits)
    others = (
        study.data.population,
        study.data.site,
        study.data.time_zero,
        *study.endpoints[0].columns().values(),
        *zeros,
    )
    return named | {column for column in others if column is not None}


class DataLook(NamedTuple):
    """What the data show before anything is estimated; `seen` names file rows and is for the terminal alone.

    Attributes
    ----------
    trial
        The analysis set.
    flow, quality, log, missing
        Who is analysed, the numbered checks, what reading changed, and missing values.
    leakage
        Covariates that know the outcome; None where the endpoint is no time to event.
    seen
        The findings with their file rows.
    harm
        The patients at risk of the adverse reaction, where the study file names one.
    """

    trial: Trial
    flow: AnalysisSet
    quality: DataQuality
    log: CleaningLog
    missing: Missingness
    leakage: Leakage | None
    seen: tuple[Seen, ...]
    harm: Trial | None = None

    @property
    def results(self) -> tuple[Result, ...]:
        """What there is to say, in the order in which a check says it."""
        every = (self.flow, self.quality, self.log, self.missing, self.leakage)
        return tuple(result for result in every if result is not None)


def look_at_data(study: Study, change: Callable[[Trial], Trial] | None = None) -> DataLook:
    """Read the data of a study file and check them; a check and a run look alike, and refuse alike.

    Parameters
    ----------
    study
        What to read.
    change
        What is done to the trial as it was read, before anything else: see `trialml.null_trials`.

    Raises
    ------
    DataError, AnalysisError
        If the data cannot be read, contradict the study file, or hold too little for an analysis.
    """
    read = read_trial(study) if change is None else change(read_trial(study))
    selected, flow = analysis_set(read, randomised=study.data.randomised)
    seen = examine(selected)
    quality, log, missing = data_quality(selected, seen), cleaning_log(selected), missingness(selected, read=read)
    known: dict[str, Any] = {"covariates": selected.covariates, "arm": selected.arm_labels}
    timed = selected.endpoint.kind == "time to event"
    leaks = leakage(selected.time, selected.event, selected.baseline, **known) if timed else None
    return DataLook(selected, flow, quality, log, missing, leaks, seen, read_harm(study, selected))


def analyse(
    study: Study,
    *,
    quick: bool = False,
    watcher: Watcher | None = None,
    change: Callable[[Trial], Trial] | None = None,
) -> Analysis:
    """Run everything that the study file asks for.

    Parameters
    ----------
    study
        What to do.
    quick
        Two repeats for the risk model, six for the response model and 199 permutations, for a first look.
    watcher
        Told of every step and result.
    change
        As in `look_at_data`.

    Returns
    -------
    Analysis
        Results in the order of the chapters, and the stratifiers.

    Raises
    ------
    DataError, AnalysisError, StudyFileError
        If the data or the study file do not permit it.
    """
    # One thread for linear algebra: the matrices are small, and the last digits must not depend on the cores.
    with threadpool_limits(limits=1):
        return _analyse(study, quick, watcher or Watcher(), change)


def _analyse(study: Study, quick: bool, watcher: Watcher, change: Callable[[Trial], Trial] | None) -> Analysis:
    timed = study.endpoint.kind == "time to event"
    if not timed:
        refuse_unready(study)
    look = look_at_data(study, change)
    analysis = Analysis(study, look.trial, quick, watcher)
    _describe_data(analysis, look)
    if timed:
        _analyse_times(analysis, look)
    else:
        analyse_outcome(analysis, look.quality)
    for table in study.design.requests().values():
        for designed in compute_design(table, analysis.watcher).results:
            analysis.add(designed, "response")
    return analysis


def _analyse_times(analysis: Analysis, look: DataLook) -> None:
    """Analyse a time to event, and the adverse reaction where there is one."""
    follow(analysis)
    harm = look.harm
    if harm is not None:
        follow_harm(analysis, harm)
    effect = compare(analysis, look.quality)
    learning = Learning(analysis, look.quality)
    heterogeneity = learning.ask_heterogeneity()
    learn_risk(learning)
    if harm is not None:
        learn_harm(analysis, harm.without(*look.quality.not_used))
    held, by_stratum = learning.learn_response(heterogeneity)
    if harm is not None:
        weigh_harm(analysis, harm, learning.trial, held, by_stratum)
    add_response_evidence(analysis, by_stratum, held, learning.outcomes)
    plan_next_trial(analysis, effect, by_stratum, held, learning.outcomes)
    add_bridge(analysis)


def _describe_data(analysis: Analysis, look: DataLook) -> None:
    """Add who is analysed, what the data hold, and the adverse events."""
    selected = look.trial
    for result in (look.flow, look.quality, look.log, look.missing, baseline_table(selected)):
        analysis.add(result)
    if len(set(selected.factor)) > 1:
        analysis.add(baseline_table(selected, by="factor"))
    if look.leakage is not None:
        analysis.add(look.leakage)
    harms = read_adverse_events(analysis.study)
    if harms is not None:
        analysis.add(harms)
