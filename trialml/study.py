"""The whole flow, readable top to bottom: from the study file to results, models and a next trial.

Nothing is written here: `publish.py` writes the report and tracks the runs.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from trialml.analysis import Analysis, Watcher
from trialml.comparing import compare
from trialml.config import Study
from trialml.data.analysis_set import analysis_set
from trialml.data.baseline import baseline_table
from trialml.data.quality import data_quality
from trialml.data.read import read_table
from trialml.data.trial import Trial, build_trial
from trialml.learning import Learning
from trialml.planning import plan_next_trial
from trialml.survival.cox import cox
from trialml.survival.kaplan_meier import kaplan_meier
from trialml.survival.logrank import logrank
from trialml.survival.proportional_hazards import proportional_hazards
from trialml.survival.rmst import restricted_mean

__all__ = ["analyse", "read_trial"]


def read_trial(study: Study) -> Trial:
    """Read the data of a study file and give every column its role.

    Raises
    ------
    DataError, AnalysisError
        If the data cannot be read or contradict the study file.
    """
    table = read_table(study.data.source, study.path.parent)
    return build_trial(
        table,
        name=study.study.name,
        subject=study.data.subject,
        endpoint=study.endpoint,
        treatment=study.arms,
        covariates=study.covariate_list,
        post_baseline=study.data.post_baseline,
    )


def analyse(study: Study, *, quick: bool = False, watcher: Watcher | None = None) -> Analysis:
    """Run everything that the study file asks for.

    Parameters
    ----------
    study
        What to do.
    quick
        Two repeats for the risk model, six for the response model and 199 permutations, for a first look.
    watcher
        Told of every step and result.

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
        return _analyse(study, quick, watcher or Watcher())


def _analyse(study: Study, quick: bool, watcher: Watcher) -> Analysis:
    selected, flow = analysis_set(read_trial(study), randomised=study.data.randomised)
    analysis = Analysis(study, selected, quick, watcher)
    analysis.add(flow)
    quality = data_quality(selected)
    analysis.add(quality)
    analysis.add(baseline_table(selected))
    _follow(analysis)
    effect = compare(analysis, quality)
    learning = Learning(analysis, quality)
    heterogeneity = learning.ask_heterogeneity()
    learning.learn_risk()
    held, by_stratum = learning.learn_response(heterogeneity)
    plan_next_trial(analysis, effect, by_stratum, held, learning.outcomes)
    return analysis


def _follow(analysis: Analysis) -> None:
    """Describe survival by arm over the whole trial, then test the primary contrast."""
    trial, endpoint, treatment = analysis.trial, analysis.trial.endpoint, analysis.trial.treatment
    order = [treatment.label(arm) for arm in (treatment.control, treatment.experimental, *treatment.secondary)]
    analysis.add(
        kaplan_meier(
            trial.time,
            trial.event,
            group=trial.arm_labels,
            order=order,
            unit=endpoint.unit,
            milestone=endpoint.horizon,
        )
    )
    primary = trial.only(treatment.control, treatment.experimental)
    labels = [treatment.label(treatment.control), treatment.label(treatment.experimental)]
    analysis.add(logrank(primary.time, primary.event, primary.arm_labels, order=labels, strata=primary.factor))
    arm = pd.DataFrame({f"{labels[1]} against {labels[0]}": primary.treated.astype(np.float64)})
    analysis.add(cox(primary.time, primary.event, arm, strata=primary.factor))
    analysis.add(proportional_hazards(primary.time, primary.event, arm, strata=primary.factor))
    analysis.add(
        restricted_mean(
            primary.time,
            primary.event,
            primary.arm_labels,
            control=labels[0],
            experimental=labels[1],
            tau=endpoint.tau,
            unit=endpoint.unit,
        )
    )
