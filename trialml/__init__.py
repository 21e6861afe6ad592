"""From the data of one randomised trial to the design of the next.

The names below are loaded when they are first asked for, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:
    from trialml.config import Study, read_study
    from trialml.data.adam_trial import read_adam_trial
    from trialml.data.adverse_events import adverse_events
    from trialml.data.analysis_set import analysis_set
    from trialml.data.baseline import baseline_table
    from trialml.data.deidentify import deidentify
    from trialml.data.quality import data_quality
    from trialml.data.read import read_table
    from trialml.data.roles import Covariate, Endpoint, Records, Treatment
    from trialml.data.trial import Trial, build_trial
    from trialml.design.adaptive_enrichment import simulate_enrichment
    from trialml.design.closed_test import closed_test
    from trialml.design.enrichment import Population, plan_enrichment
    from trialml.design.enrichment_design import EnrichmentDesign
    from trialml.design.forecast import forecast_events
    from trialml.design.group_sequential import Design
    from trialml.design.interim_analysis import interim_analysis
    from trialml.design.means import plan_means
    from trialml.design.minimisation import Minimisation
    from trialml.design.next_trial import plan_trial
    from trialml.design.randomisation import permuted_blocks
    from trialml.design.rates import plan_rates
    from trialml.design.scenario import Scenario
    from trialml.design.sequential_estimate import sequential_estimate
    from trialml.design.simulate import simulate, simulate_one_trial
    from trialml.effects.adjusted_logrank import adjusted_logrank
    from trialml.effects.binary import binary_contrast
    from trialml.effects.continuous import continuous_contrast
    from trialml.effects.contrast import contrast
    from trialml.effects.endpoint_scores import crossfit_outcome_scores
    from trialml.effects.heterogeneity import heterogeneity_test
    from trialml.effects.outcome_heterogeneity import outcome_heterogeneity_test
    from trialml.effects.scores import crossfit_scores
    from trialml.effects.standardisation import standardised_contrast
    from trialml.effects.subgroups import subgroup_effects
    from trialml.errors import TrialmlError
    from trialml.result import Estimate, Result
    from trialml.strata.strata import Strata
    from trialml.stratifier import Stratifier
    from trialml.study import analyse, read_trial
    from trialml.survival.cox import cox
    from trialml.survival.cumulative_incidence import cumulative_incidence
    from trialml.survival.fine_gray import fine_gray
    from trialml.survival.kaplan_meier import kaplan_meier
    from trialml.survival.logrank import logrank
    from trialml.survival.maxcombo import maxcombo
    from trialml.survival.nelson_aalen import nelson_aalen
    from trialml.survival.proportional_hazards import proportional_hazards
    from trialml.survival.rmst import restricted_mean

__all__ = [
    "Covariate",
    "Design",
    "Endpoint",
    "EnrichmentDesign",
    "Estimate",
    "Minimisation",
    "Population",
    "Records",
    "Result",
    "Scenario",
    "Strata",
    "Stratifier",
    "Study",
    "Treatment",
    "Trial",
    "TrialmlError",
    "__version__",
    "adjusted_logrank",
    "adverse_events",
    "analyse",
    "analysis_set",
    "baseline_table",
    "binary_contrast",
    "build_trial",
    "closed_test",
    "continuous_contrast",
    "contrast",
    "cox",
    "crossfit_outcome_scores",
    "crossfit_scores",
    "cumulative_incidence",
    "data_quality",
    "deidentify",
    "fine_gray",
    "forecast_events",
    "heterogeneity_test",
    "interim_analysis",
    "kaplan_meier",
    "logrank",
    "maxcombo",
    "nelson_aalen",
    "outcome_heterogeneity_test",
    "permuted_blocks",
    "plan_enrichment",
    "plan_means",
    "plan_rates",
    "plan_trial",
    "proportional_hazards",
    "read_adam_trial",
    "read_study",
    "read_table",
    "read_trial",
    "restricted_mean",
    "sequential_estimate",
    "simulate",
    "simulate_enrichment",
    "simulate_one_trial",
    "standardised_contrast",
    "subgroup_effects",
]

_MODULES = {
    "config": ("Study", "read_study"),
    "data.adam_trial": ("read_adam_trial",),
    "data.adverse_events": ("adverse_events",),
    "data.analysis_set": ("analysis_set",),
    "data.baseline": ("baseline_table",),
    "data.deidentify": ("deidentify",),
    "data.quality": ("data_quality",),
    "data.read": ("read_table",),
    "data.roles": ("Covariate", "Endpoint", "Records", "Treatment"),
    "data.trial": ("Trial", "build_trial"),
    "design.adaptive_enrichment": ("simulate_enrichment",),
    "design.closed_test": ("closed_test",),
    "design.enrichment": ("Population", "plan_enrichment"),
    "design.enrichment_design": ("EnrichmentDesign",),
    "design.forecast": ("forecast_events",),
    "design.group_sequential": ("Design",),
    "design.interim_analysis": ("interim_analysis",),
    "design.means": ("plan_means",),
    "design.minimisation": ("Minimisation",),
    "design.next_trial": ("plan_trial",),
    "design.randomisation": ("permuted_blocks",),
    "design.rates": ("plan_rates",),
    "design.scenario": ("Scenario",),
    "design.sequential_estimate": ("sequential_estimate",),
    "design.simulate": ("simulate", "simulate_one_trial"),
    "effects.adjusted_logrank": ("adjusted_logrank",),
    "effects.binary": ("binary_contrast",),
    "effects.continuous": ("continuous_contrast",),
    "effects.contrast": ("contrast",),
    "effects.endpoint_scores": ("crossfit_outcome_scores",),
    "effects.heterogeneity": ("heterogeneity_test",),
    "effects.outcome_heterogeneity": ("outcome_heterogeneity_test",),
    "effects.scores": ("crossfit_scores",),
    "effects.standardisation": ("standardised_contrast",),
    "effects.subgroups": ("subgroup_effects",),
    "errors": ("TrialmlError",),
    "result": ("Estimate", "Result"),
    "strata.strata": ("Strata",),
    "stratifier": ("Stratifier",),
    "study": ("analyse", "read_trial"),
    "survival.cox": ("cox",),
    "survival.cumulative_incidence": ("cumulative_incidence",),
    "survival.fine_gray": ("fine_gray",),
    "survival.kaplan_meier": ("kaplan_meier",),
    "survival.logrank": ("logrank",),
    "survival.maxcombo": ("maxcombo",),
    "survival.nelson_aalen": ("nelson_aalen",),
    "survival.proportional_hazards": ("proportional_hazards",),
    "survival.rmst": ("restricted_mean",),
}
_PLACE = {name: module for module, names in _MODULES.items() for name in names}

if not TYPE_CHECKING:  # a type checker would take a module's __getattr__ as leave to accept any name

    def __getattr__(name: str) -> object:
        if name not in _PLACE:
            raise AttributeError(f"module 'trialml' has no attribute '{name}'")
        value = getattr(importlib.import_module(f"{__name__}.{_PLACE[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
