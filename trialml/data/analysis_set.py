"""Who is analysed, who is not, and why; with the counts of a CONSORT flow where the data hold them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from trialml.data.flow_figure import draw_flow
from trialml.data.rare_levels import join_rare_levels
from trialml.data.sufficiency import refuse_too_little
from trialml.data.trial import Trial
from trialml.errors import DataError
from trialml.result import Result, format_count

__all__ = ["AnalysisSet", "analysis_set"]


@dataclass(frozen=True, eq=False)
class AnalysisSet(Result):
    """The patients of the file, those excluded with the reason, and those analysed.

    Attributes
    ----------
    rows
        Columns ``step``, ``patients`` and ``excluded`` (boolean), in the order of exclusion.
    by_arm
        Columns ``arm``, ``role``, ``patients``, ``events`` (NaN for a continuous endpoint).
    randomised
        Patients randomised in the trial, where the study file gives it.
    statements
        How the file was read.
    consort
        Columns ``step``, ``arm``, ``patients``: randomised, treated, in each population, completed and discontinued by
        reason, analysed; empty where the data do not hold them.
    population
        The column that defines the population, empty where there is none.
    """

    title = "Patients analysed"
    figure_size = (7.2, 5.0)
    methods = (
        "Patients were analysed in the arm that the data record, taken as the arm that they were randomised to. Patients outside the population of the estimand, or without "
        "a recorded arm or outcome, were excluded and counted; no other patient was left out."
    )

    rows: pd.DataFrame
    by_arm: pd.DataFrame
    randomised: int | None
    statements: tuple[str, ...]
    consort: pd.DataFrame = field(default_factory=lambda: pd.DataFrame({"step": [], "arm": [], "patients": []}))
    population: str = ""

    @property
    def read(self) -> int:
        """Patients in the file."""
        return int(self.rows["patients"].iloc[0])

    @property
    def analysed(self) -> int:
        """Patients in the analysis set, over all arms."""
        return int(self.rows["patients"].iloc[-1])

    def frame(self) -> pd.DataFrame:
        """Return the steps, then the arms, then the CONSORT counts by arm."""
        arms = self.by_arm.rename(columns={"arm": "step"})
        parts = [self.rows, arms, *([self.consort] if len(self.consort) else [])]
        return pd.concat(parts, ignore_index=True)

    def text(self) -> str:
        """Return who was read, excluded and analysed."""
        excluded = self.rows[self.rows["excluded"]]
        reasons = "; ".join(
            f"{format_count(row.patients)} {row.step[:1].lower() + row.step[1:]}" for row in excluded.itertuples()
        )
        said = f"The file holds {format_count(self.read)} patients; {format_count(self.analysed)} are analysed"
        said += f" ({reasons} excluded)." if reasons else ", none was excluded."
        if self.randomised is not None and self.randomised > self.read:
            said += (
                f" The trial randomised {format_count(self.randomised)}: the other "
                f"{format_count(self.randomised - self.read)} are not in the file, so a full CONSORT flow diagram cannot be drawn."
            )
        elif len(self.consort):
            said += f" {self._flow_words()}"
        elif self.randomised is None:
            said += " How many were screened and randomised is not known from the file, so no CONSORT flow diagram is drawn."
        return f"{said} {self._event_words()} {' '.join(self.statements)}".replace("  ", " ").strip()

    def _event_words(self) -> str:
        """Return the events of the two primary arms, since an event code read the wrong way round shows here first."""
        primary = self.by_arm.iloc[:2]
        if primary["events"].isna().any():
            return ""
        told = (
            f"{format_count(row.events)} of {format_count(row.patients)} with {row.arm}" for row in primary.itertuples()
        )
        return f"The event happened in {' and '.join(told)}."

    def _flow_words(self) -> str:
        counts = self.consort.groupby("step", sort=False)["patients"].sum()
        told = [f"{format_count(counts[step])} {step.lower()}" for step in _TOLD if step in counts]
        return f"Of the arms named, {', '.join(told)}." if told else ""

    def scalars(self) -> dict[str, float]:
        """Return patients read, excluded and analysed."""
        return {
            "patients_read": float(self.read),
            "patients_excluded": float(self.read - self.analysed),
            "patients_analysed": float(self.analysed),
        }

    def draw(self, figure: Any) -> None:
        """Draw the flow of patients, from the first count that is known."""
        draw_flow(self, figure)

    def table(self) -> pd.DataFrame:
        """Return one row a step, then one row an arm; where CONSORT counts are known, one column an arm."""
        steps = [(row.step, format_count(row.patients)) for row in self.rows.itertuples()]
        if not len(self.consort):
            arms = [
                (f"{row.arm} ({row.role})", format_count(row.patients), format_count(row.events))
                for row in self.by_arm.itertuples()
            ]
            return pd.DataFrame([*((*step, "") for step in steps), *arms], columns=["", "Patients", "Events"])
        names = [str(arm) for arm in self.by_arm["arm"]]
        rows = [(*step, *("" for _ in names)) for step in steps]
        counts = self.consort.set_index(["step", "arm"])["patients"]
        for step in self.consort["step"].unique():
            by_arm = [int(counts.get((step, arm), 0)) for arm in names]
            rows.append((str(step), format_count(sum(by_arm)), *(format_count(count) for count in by_arm)))
        if self.by_arm["events"].notna().all():
            events = self.by_arm["events"].tolist()
            rows.append(("Events", format_count(sum(events)), *(format_count(count) for count in events)))
        heads = [f"{name} (arm)" if name in ("", "Patients") else name for name in names]
        return pd.DataFrame(rows, columns=["", "Patients", *heads])


_TOLD = ("Randomised", "Treated", "Completed", "Discontinued")


def analysis_set(trial: Trial, *, randomised: int | None = None) -> tuple[Trial, AnalysisSet]:
    """Exclude patients outside the population or without arm or outcome, with the reason, and refuse what cannot be analysed.

    Parameters
    ----------
    trial
        The trial as read.
    randomised
        How many patients the trial randomised, where known.

    Returns
    -------
    trial : Trial
        The patients analysed, of the arms that the study file names; levels of a category that fewer than 11 of them have
        are joined (`join_rare_levels`), since whatever comes after may be published.
    flow : AnalysisSet
        The counts.

    Raises
    ------
    DataError
        If the file holds more patients than the trial randomised.
    AnalysisError
        If an arm of the primary contrast has fewer than 20 patients. For a time to event, if the two have fewer than 20
        events, fewer than 10 of them by the horizon or by tau, or if their follow-up ends before these times. For a
        binary endpoint, if all patients or none have the event; for a continuous one, if all values are the same.
    """
    treatment, frame = trial.treatment, trial.frame
    known = trial.disposition.reindex(frame.index)
    held = int(known["randomised"].astype(bool).sum()) if "randomised" in known else len(frame)
    if randomised is not None and randomised < held:
        message = f"[data] randomised = {randomised:,}, but the file holds {held:,} patients: correct one of the two."
        raise DataError(message)
    arms = [treatment.control, treatment.experimental, *treatment.secondary]
    steps: list[tuple[str, int, bool]] = [("Patients in the file", len(frame), False)]
    kept = pd.Series(data=True, index=frame.index)
    for reason, applies in _exclusions(trial, arms).items():
        if (applies & kept).any():
            steps.append((reason, int((applies & kept).sum()), True))
        kept &= ~applies
    steps.append(("Analysis set", int(kept.sum()), False))
    selected = trial.rows(kept.to_numpy())
    by_arm = _count_arms(selected, arms)
    refuse_too_little(selected, by_arm)
    rows = pd.DataFrame(steps, columns=["step", "patients", "excluded"])
    consort = _consort(trial, arms, kept)
    return join_rare_levels(selected), AnalysisSet(
        rows, by_arm, randomised, trial.statements, consort, trial.population
    )


def _exclusions(trial: Trial, arms: list[str]) -> dict[str, pd.Series]:
    """Return whom each reason applies to, in the order of exclusion."""
    frame, known = trial.frame, trial.disposition.reindex(trial.frame.index)
    reasons = {}
    if "randomised" in known:
        reasons["Not randomised"] = ~known["randomised"].astype(bool)
    reasons["Arm not recorded"] = frame["arm"].isna()
    reasons["In an arm that the study file does not name"] = frame["arm"].notna() & ~frame["arm"].isin(arms)
    if "population" in known:
        reasons[f"Not in the population {trial.population}"] = ~known["population"].astype(bool)
    missing = {
        "time": "Time to event not recorded",
        "event": "Event indicator not recorded" if "time" in frame else "Outcome not recorded",
        "value": "Outcome not recorded",
    }
    return reasons | {words: frame[column].isna() for column, words in missing.items() if column in frame}


def _count_arms(trial: Trial, arms: list[str]) -> pd.DataFrame:
    roles = ["control", "experimental", *["secondary"] * (len(arms) - 2)]
    rows = []
    for arm, role in zip(arms, roles, strict=True):
        own = trial.frame[trial.frame["arm"] == arm]
        events = float(own["event"].astype(bool).sum()) if "event" in own else math.nan
        rows.append((trial.treatment.label(arm), role, len(own), events))
    counted = pd.DataFrame(rows, columns=["arm", "role", "patients", "events"])
    return counted.astype({"events": "int64"}) if counted["events"].notna().all() else counted


def _consort(trial: Trial, arms: list[str], kept: pd.Series) -> pd.DataFrame:
    """Count each step by arm as randomised; reasons for leaving are counted among the randomised."""
    known = trial.disposition.reindex(trial.frame.index)
    rows: list[tuple[str, str, int]] = []
    if not {"randomised", "treated", "ended"} & set(known.columns):
        return pd.DataFrame(rows, columns=["step", "arm", "patients"])
    arm = trial.frame["arm"]
    randomised = known["randomised"].astype(bool) if "randomised" in known else arm.notna()
    steps: dict[str, pd.Series] = {"Randomised": randomised}
    if "treated" in known:
        steps["Treated"] = randomised & known["treated"].astype(bool)
    flags = [str(name) for name in known.columns if str(name).startswith("flag ")]
    steps |= {f"Population {name.removeprefix('flag ')}": randomised & known[name].astype(bool) for name in flags}
    if "ended" in known:
        ended = known["ended"].where(randomised)
        steps["Completed"] = ended == "Completed"
        left = ended.notna() & (ended != "Completed")
        steps["Discontinued"] = left
        steps |= {f"  {reason}": ended == reason for reason in ended[left].value_counts().index}
    steps["Analysed"] = kept
    for step, applies in steps.items():
        rows += [(step, trial.treatment.label(one), int((applies & (arm == one)).sum())) for one in arms]
    return pd.DataFrame(rows, columns=["step", "arm", "patients"])
