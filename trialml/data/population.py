"""Whom an estimand is about, and what a population conditions on."""

from __future__ import annotations

import pandas as pd

from trialml.data.findings import Finding

__all__ = ["population_findings"]

_AS_RANDOMISED = frozenset({"ITTFL", "RANDFL", "ENRLFL"})
_LATER = ("pp", "perprotocol", "saf", "safety", "compl", "completer", "evaluable", "treated", "efficacy", "protocol")


def population_findings(population: str, belongs: pd.Series, arm: pd.Series, outcome: pd.Series) -> tuple[Finding, ...]:
    """Return a warning where a population depends on what came after randomisation, and on its patients without arm or outcome.

    Parameters
    ----------
    population
        The column of the study file.
    belongs
        Whether each patient belongs to it.
    arm
        The arm of each patient, missing where there is none.
    outcome
        The time, event or value of each patient, missing where there is none.
    """
    left_out = int((~belongs).sum())
    name = population.lower().replace("_", "").replace(" ", "")
    adam = population.endswith("FL") and population.isupper()
    later = population not in _AS_RANDOMISED if adam else any(name.startswith(word) for word in _LATER)
    found = f"The population is '{population}'; "
    found += f"{left_out:,} patient(s) of the file do not belong to it." if left_out else "all patients belong to it."
    done = "They are excluded and counted." if left_out else ""
    without = (*_without(population, belongs & arm.isna(), "arm"), *_without(population, belongs & outcome.isna(), ""))
    if not later:
        return (Finding("population", population, left_out, found, done), *without)
    found += (
        " It may depend on what happened after randomisation, and then the arms are no longer comparable by design."
    )
    told = Finding("population", population, left_out, found, done, "warning")
    return (told, *without)


def _without(population: str, which: pd.Series, what: str) -> tuple[Finding, ...]:
    count = int(which.sum())
    if not count:
        return ()
    found = f"{count:,} patient(s) belong to the population '{population}' and have no "
    found += "arm: one of the two is wrong." if what else "record of the endpoint: their outcome may exist elsewhere."
    rows = tuple(which.index[which].tolist())
    return (Finding("population", population, count, found, "They are excluded and counted.", "warning", rows),)
