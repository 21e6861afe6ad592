"""What contradicts what within a study file: refused before any data are read."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from trialml.errors import nearest
from trialml.study_tables import EndpointTable, TreatmentTable

if TYPE_CHECKING:
    from trialml.config import Study

__all__ = ["refuse_contradictions"]

_KEPT = frozenset({"arm", "time", "event", "cause", "value", "factor", "treated", "stratum", "enrolling_site"})
"""Columns that an analysis adds beside the covariates."""


def refuse_contradictions(study: Study) -> None:
    """Raise a ValueError, a sentence without its full stop, for the first contradiction."""
    _check_arms(study.treatment)
    _check_roles(study)
    _check_covariates(study)
    _check_groups(study)
    _check_visits(study)
    _check_effects(study)
    _check_event_codes(study.endpoints[0])
    _check_dates(study)
    _check_population(study)


def _check_arms(treatment: TreatmentTable) -> None:
    arms = [treatment.control, treatment.experimental, *treatment.secondary]
    for arm in arms:
        if arms.count(arm) > 1:
            raise ValueError(
                f"[treatment] names the arm '{arm}' twice: control, experimental and secondary must differ"
            )
    for code in treatment.labels:
        if code not in arms:
            raise ValueError(
                f"[treatment.labels] names the arm '{code}', which is no arm of [treatment]: {nearest(code, arms)}"
            )

    words = [treatment.labels.get(arm, arm) for arm in arms]
    for word in words:
        if words.count(word) > 1:
            raise ValueError(f"[treatment.labels] calls two arms '{word}': give each arm words of its own")


def _check_groups(study: Study) -> None:
    """Refuse groups of patients that the analysis does not have."""
    known = [*study.covariates.binary, *study.covariates.categorical]
    for name in study.models.risk.groups:
        if name in study.covariates.numeric:
            raise ValueError(f"[models.risk] groups names '{name}', which is numeric: name a column with categories")
        if name not in known:
            raise ValueError(
                f"[models.risk] groups names '{name}', which is no covariate with categories: {nearest(name, known)}"
            )


def _check_roles(study: Study) -> None:
    """Refuse a column that would have to be two things at once."""
    endpoint, factors = study.endpoints[0], study.treatment.stratification
    roles = {"[data] subject": study.data.subject, "[treatment] column": study.treatment.column}
    roles |= {f"[[endpoints]] {key}": column for key, column in endpoint.columns().items()}
    roles |= {f"[treatment] stratification #{place}": factor for place, factor in enumerate(factors, 1)}
    for (first, column), (second, other) in itertools.combinations(roles.items(), 2):
        if column == other:
            raise ValueError(f"{first} and {second} are both '{column}': one column cannot play both parts")
    site = study.data.site
    if site is not None and site in roles.values() and site not in factors:
        raise ValueError(
            f"[data] site is '{site}', which is another role's column: name the column of the enrolling site"
        )
    for factor in factors:
        if factor in study.data.post_baseline:
            raise ValueError(
                f"[treatment] stratification lists '{factor}', which [data] post_baseline says was measured later: decide"
            )


def _check_covariates(study: Study) -> None:
    names = study.covariates.names()
    if not names:
        raise ValueError("[covariates] lists nothing: name at least one baseline covariate")
    endpoint = study.endpoints[0]
    refused = dict.fromkeys(study.data.post_baseline, "was measured after randomisation ([data] post_baseline)")
    refused |= {
        study.data.subject: "identifies the subject",
        study.treatment.column: "is the arm",
    }
    refused |= {column: f"is the endpoint's {key}" for key, column in endpoint.columns().items()}
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"[covariates] lists '{name}' twice: keep it once")
        if name in refused:
            raise ValueError(f"[covariates] lists '{name}', which {refused[name]}: take it out")
        if name in _KEPT or name.endswith("__missing"):
            raise ValueError(f"[covariates] lists '{name}', a name that trialml keeps for itself: rename the column")
    _check_covariate_words(study)


def _check_covariate_words(study: Study) -> None:
    """Refuse words and levels of what is no covariate, and one word for two."""
    names = study.covariates.names()
    for name in study.covariates.labels:
        if name not in names:
            raise ValueError(f"[covariates.labels] names '{name}', which is no covariate: {nearest(name, names)}")
    for name in study.covariates.levels:
        if name not in study.covariates.categorical:
            known = nearest(name, study.covariates.categorical)
            raise ValueError(f"[covariates.levels] names '{name}', which is no categorical covariate: {known}")

    words = [study.covariates.labels.get(name, name) for name in names]
    for word in words:
        if words.count(word) > 1:
            raise ValueError(f"[covariates.labels] calls two covariates '{word}': give each words of its own")


def _check_visits(study: Study) -> None:
    """Refuse a column made of visits that the whitelist does not name."""
    made = [column for one in study.visits for column in one.columns]
    for column in made:
        if made.count(column) > 1:
            raise ValueError(f"[[data.visits]] makes the column '{column}' twice: give each table a name of its own")
        if column not in study.covariates.numeric:
            raise ValueError(
                f"[[data.visits]] makes '{column}', which [covariates] numeric does not list: list it, or take it out of "
                "summaries"
            )


def _check_effects(study: Study) -> None:
    """Refuse a subgroup factor that is no baseline covariate, and cut-points that no factor needs."""
    asked, covariates = study.effects, study.covariates
    _check_adjustment(study)
    known = (*covariates.names(), *study.treatment.stratification)
    for name in asked.subgroups:
        if asked.subgroups.count(name) > 1:
            raise ValueError(f"[effects] subgroups lists '{name}' twice: keep it once")
        if name not in known:
            raise ValueError(
                f"[effects] subgroups lists '{name}', which is neither a covariate nor a stratification factor: {nearest(name, known)}"
            )
        if name in covariates.numeric and name not in asked.cut_points:
            raise ValueError(
                f"[effects] subgroups lists the numeric covariate '{name}' without cut-points: give them in [effects.cut_points], chosen "
                "before the data were seen"
            )
    for name in asked.cut_points:
        if name not in asked.subgroups or name not in covariates.numeric:
            raise ValueError(
                f"[effects.cut_points] names '{name}', which is no numeric covariate of [effects] subgroups: take it out"
            )
    _check_effect_words(study)


def _check_adjustment(study: Study) -> None:
    asked, names = study.effects.adjust_for, study.covariates.names()
    if asked and study.endpoints[0].kind == "time to event":
        raise ValueError(
            "[effects] adjust_for is for a binary or continuous endpoint: take it out (adjusted_logrank adjusts a time to event)"
        )
    for name in asked:
        if asked.count(name) > 1:
            raise ValueError(f"[effects] adjust_for lists '{name}' twice: keep it once")
        if name not in names:
            raise ValueError(f"[effects] adjust_for lists '{name}', which is no covariate: {nearest(name, names)}")


def _check_effect_words(study: Study) -> None:
    """Refuse words for what is no subgroup factor, and one word for two things."""
    asked, covariates = study.effects, study.covariates
    for table, names in (("labels", asked.labels), ("levels", asked.levels)):
        for name in names:
            if name not in asked.subgroups:
                raise ValueError(
                    f"[effects.{table}] names '{name}', which [effects] subgroups does not list: take it out"
                )
    words = [asked.labels.get(name, covariates.labels.get(name, name)) for name in asked.subgroups]
    for place, of_one in (
        ("labels", words),
        *((f"levels.{name}", [*of.values()]) for name, of in asked.levels.items()),
    ):
        for word in of_one:
            if of_one.count(word) > 1 or (place == "labels" and word == "Overall"):
                raise ValueError(f"[effects.{place}] uses '{word}' for two things: give each words of its own")


def _check_event_codes(endpoint: EndpointTable) -> None:
    if bool(endpoint.event_values) != bool(endpoint.censored_values):
        raise ValueError("[[endpoints]] needs both event_values and censored_values, or neither: list the missing one")
    if endpoint.event is not None and endpoint.event.upper() == "CNSR" and not endpoint.event_values:
        raise ValueError(
            f"[[endpoints]] event = '{endpoint.event}' is ADaM's censoring flag, in which 0 means that the event happened: add "
            "event_values = [0] and censored_values = [1]"
        )
    _check_competing_codes(endpoint)
    both = set(endpoint.event_values) & set(endpoint.censored_values)
    if both:
        raise ValueError(f"[[endpoints]] calls the code '{min(both)}' both event and censored: decide on one")


def _check_competing_codes(endpoint: EndpointTable) -> None:
    """Refuse codes of competing events where there is no time to event in one table, or that mean something else too."""
    if not endpoint.competing_values:
        return
    place = "[endpoints.competing_values]"
    if endpoint.kind != "time to event" or not endpoint.columns():
        raise ValueError(f"{place} is for a time to event of one table: take it out")
    if not endpoint.event_values:
        raise ValueError(
            f"{place} needs event_values and censored_values: list the codes of the event and of censoring"
        )
    taken = [*endpoint.event_values, *endpoint.censored_values]
    for words, codes in endpoint.competing_values.items():
        if not words.strip():
            raise ValueError(f"{place} has an event without words: name it")
        for code in codes:
            if code in taken:
                raise ValueError(
                    f"{place} gives the code '{code}' to '{words}', but it means something else too: decide on one"
                )
            taken.append(code)


def _check_population(study: Study) -> None:
    taken = {study.data.subject: "identifies the subject", study.treatment.column: "is the arm"}
    taken |= {column: f"is the endpoint's {key}" for key, column in study.endpoints[0].columns().items()}
    if study.data.population in taken:
        raise ValueError(
            f"[data] population = '{study.data.population}', which {taken[study.data.population]}: name a flag"
        )


def _check_dates(study: Study) -> None:
    """Refuse a date without the date that it counts from, and a time zero that nothing counts from."""
    endpoint, zero = study.endpoints[0], study.data.time_zero
    if endpoint.date is not None and zero is None:
        raise ValueError(
            f"[[endpoints]] date = '{endpoint.date}' needs [data] time_zero, the date that time counts from: add it"
        )
    if zero is not None and endpoint.time is not None:
        raise ValueError(
            f"[data] time_zero = '{zero}' is a date, but [[endpoints]] time = '{endpoint.time}' counts already: keep one"
        )
