"""Who is analysed, who is not, and why."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from trialml.data.trial import Trial
from trialml.errors import AnalysisError, DataError
from trialml.result import Result, format_count

__all__ = ["AnalysisSet", "analysis_set"]

MINIMUM_PER_ARM = 20
MINIMUM_EVENTS = 20
MINIMUM_EVENTS_BY_THEN = 10


@dataclass(frozen=True, eq=False)
class AnalysisSet(Result):
    """The patients of the file, those excluded with the reason, and those analysed.

    Attributes
    ----------
    rows
        Columns ``step``, ``patients`` and ``excluded`` (boolean), in the order of exclusion.
    by_arm
        Columns ``arm``, ``role``, ``patients``, ``events``.
    randomised
        Patients randomised in the trial, where the study file gives it.
    statements
        How the file was read.
    """

    title = "Patients analysed"
    methods = (
        "Patients were analysed in the arm that they were randomised to. Patients without a recorded arm or outcome were "
        "excluded and counted; no other patient was left out."
    )

    rows: pd.DataFrame
    by_arm: pd.DataFrame
    randomised: int | None
    statements: tuple[str, ...]

    @property
    def read(self) -> int:
        """Patients in the file."""
        return int(self.rows["patients"].iloc[0])

    @property
    def analysed(self) -> int:
        """Patients in the analysis set, over all arms."""
        return int(self.rows["patients"].iloc[-1])

    def frame(self) -> pd.DataFrame:
        """Return the steps, then the arms."""
        arms = self.by_arm.rename(columns={"arm": "step"})
        return pd.concat([self.rows, arms], ignore_index=True)

    def text(self) -> str:
        """Return who was read, excluded and analysed."""
        excluded = self.rows[self.rows["excluded"]]
        reasons = "; ".join(f"{format_count(row.patients)} {row.step.lower()}" for row in excluded.itertuples())
        said = f"The file holds {format_count(self.read)} patients; {format_count(self.analysed)} are analysed"
        said += f" ({reasons} excluded)." if reasons else ", none was excluded."
        if self.randomised is not None and self.randomised > self.read:
            said += (
                f" The trial randomised {format_count(self.randomised)}: the other "
                f"{format_count(self.randomised - self.read)} are not in the file, so a full CONSORT flow diagram cannot be drawn."
            )
        elif self.randomised is None:
            said += " How many were screened and randomised is not known from the file, so no CONSORT flow diagram is drawn."
        return f"{said} {' '.join(self.statements)}".strip()

    def scalars(self) -> dict[str, float]:
        """Return patients read, excluded and analysed."""
        return {
            "patients_read": float(self.read),
            "patients_excluded": float(self.read - self.analysed),
            "patients_analysed": float(self.analysed),
        }

    def table(self) -> pd.DataFrame:
        """Return one row a step, then one row an arm."""
        steps = [(row.step, format_count(row.patients), "") for row in self.rows.itertuples()]
        arms = [
            (f"{row.arm} ({row.role})", format_count(row.patients), format_count(row.events))
            for row in self.by_arm.itertuples()
        ]
        return pd.DataFrame([*steps, *arms], columns=["", "Patients", "Events"])


def analysis_set(trial: Trial, *, randomised: int | None = None) -> tuple[Trial, AnalysisSet]:
    """Exclude patients without arm or outcome, with the reason, and refuse what cannot be analysed.

    Parameters
    ----------
    trial
        The trial as read.
    randomised
        How many patients the trial randomised, where known.

    Returns
    -------
    trial : Trial
        The patients analysed, of the arms that the study file names.
    flow : AnalysisSet
        The counts.

    Raises
    ------
    DataError
        If the file holds more patients than the trial randomised.
    AnalysisError
        If an arm of the primary contrast has fewer than 20 patients, if the two have fewer than 20 events, fewer than 10
        of them by the horizon or by tau, or if their follow-up ends before these times.
    """
    treatment, frame = trial.treatment, trial.frame
    if randomised is not None and randomised < len(frame):
        message = (
            f"[data] randomised = {randomised:,}, but the file holds {len(frame):,} patients: correct one of the two."
        )
        raise DataError(message)
    arms = [treatment.control, treatment.experimental, *treatment.secondary]
    steps: list[tuple[str, int, bool]] = [("Patients in the file", len(frame), False)]
    reasons = {
        "Arm not recorded": frame["arm"].isna(),
        "In an arm that the study file does not name": frame["arm"].notna() & ~frame["arm"].isin(arms),
        "Time to event not recorded": frame["time"].isna(),
        "Event indicator not recorded": frame["event"].isna(),
    }
    kept = pd.Series(data=True, index=frame.index)
    for reason, applies in reasons.items():
        if (applies & kept).any():
            steps.append((reason, int((applies & kept).sum()), True))
        kept &= ~applies
    steps.append(("Analysis set", int(kept.sum()), False))
    selected = trial.rows(kept.to_numpy())
    by_arm = _count_arms(selected, arms)
    _refuse_too_small(by_arm)
    _refuse_reading_times(selected)
    rows = pd.DataFrame(steps, columns=["step", "patients", "excluded"])
    return selected, AnalysisSet(rows, by_arm, randomised, trial.statements)


def _count_arms(trial: Trial, arms: list[str]) -> pd.DataFrame:
    roles = ["control", "experimental", *["secondary"] * (len(arms) - 2)]
    rows = []
    for arm, role in zip(arms, roles, strict=True):
        events = trial.frame.loc[trial.frame["arm"] == arm, "event"].astype(bool)
        rows.append((trial.treatment.label(arm), role, len(events), int(events.sum())))
    return pd.DataFrame(rows, columns=["arm", "role", "patients", "events"])


def _refuse_too_small(by_arm: pd.DataFrame) -> None:
    primary = by_arm.iloc[:2]
    for row in primary.itertuples():
        if row.patients < MINIMUM_PER_ARM:
            message = (
                f"The {row.role} arm '{row.arm}' has {row.patients} patients in the analysis set; models and their validation need "
                f"at least {MINIMUM_PER_ARM} in each arm: use more data."
            )
            raise AnalysisError(message)
    events = int(primary["events"].sum())
    if events == 0:
        message = (
            f"All {int(primary['patients'].sum())} patients of the primary contrast are censored: check which event code means "
            "that the event happened (event_values in [[endpoints]])."
        )
        raise AnalysisError(message)
    for row in primary.itertuples():
        if row.events == 0:
            message = (
                f"The {row.role} arm '{row.arm}' has no events among its {row.patients} patients, so that no hazard ratio can be "
                "estimated: check the event codes of this arm, or wait for a longer follow-up."
            )
            raise AnalysisError(message)
    if events < MINIMUM_EVENTS:
        message = (
            f"The primary contrast has {events} events; models and their validation need at least {MINIMUM_EVENTS}: use more data "
            "or a longer follow-up."
        )
        raise AnalysisError(message)


def _refuse_reading_times(trial: Trial) -> None:
    """Refuse a horizon or a tau at which too little has happened, or that follow-up does not reach."""
    endpoint, treatment = trial.endpoint, trial.treatment
    primary = trial.only(treatment.control, treatment.experimental)
    for name, asked in (("horizon", endpoint.horizon), ("tau", endpoint.tau)):
        events = int((primary.event & (primary.time <= asked)).sum())
        if events < MINIMUM_EVENTS_BY_THEN:
            message = (
                f"[[endpoints]] {name} = {asked:g} {endpoint.unit}, by when the primary contrast has {events} events: choose a time "
                f"with at least {MINIMUM_EVENTS_BY_THEN}."
            )
            raise AnalysisError(message)
        for arm in (treatment.control, treatment.experimental):
            own = trial.only(arm)
            last = float(own.time.max())
            if asked > last and not own.event[own.time == last].all():
                message = (
                    f"[[endpoints]] {name} = {asked:g} {endpoint.unit}, but the follow-up of the arm '{treatment.label(arm)}' ends at "
                    f"{last:g} with patients still event-free: choose {name} = {last:g} or less."
                )
                raise AnalysisError(message)
