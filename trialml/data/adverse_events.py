"""Adverse events by arm: patients with an event, time at risk, and rates per 100 patient-years."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from trialml.data.adam import Subjects, open_adam, read_subjects
from trialml.data.adam_records import select_records
from trialml.data.adverse_event_times import AtRisk, adverse_event_records, at_risk, first_events
from trialml.data.columns import as_codes, is_yes
from trialml.data.dates import PartialDates
from trialml.data.disclosure import SMALLEST_CELL
from trialml.data.roles import CAUSES, Endpoint, Records, Treatment
from trialml.errors import DataError
from trialml.result import Result, format_count, format_number

__all__ = ["DAYS_PER_YEAR", "AdverseEvents", "adverse_events", "harm_limitations", "poisson_limits"]

_SYSTEMS = 12
DAYS_PER_YEAR = 365.25
ANY, SERIOUS = "Any adverse event", "Serious adverse event"


@dataclass(frozen=True, eq=False)
class AdverseEvents(Result):
    """Adverse events of the treated patients, by arm as randomised.

    Attributes
    ----------
    rows
        Columns ``event``, ``level`` (any, serious, body system), ``arm``, ``treated``, ``patients`` (with an event on
        record), ``first_events`` (within the time at risk), ``deaths`` and ``discontinuations`` (that came before an
        event), ``patient_years`` (to the first event or the end of the time at risk), ``rate`` per 100 patient-years
        and its 95 % limits ``low`` and ``high``. Counts of 1 to 10 by body system, and what would give them back, are NaN.
    statements
        What the time at risk is.
    """

    title = "Adverse events"
    methods = (
        "Adverse events are counted in treated patients, once a patient, by the arm they were randomised to. Rates are first events "
        "per 100 patient-years at risk, with exact Poisson limits; they take the hazard as constant. Death and discontinuation "
        "end the time at risk and are shown, since a patient who has left can have no event on record."
    )
    references = (
        "Garwood F. Fiducial limits for the Poisson distribution. Biometrika 1936;28:437-442.",
        "Allignol A, Beyersmann J, Schmoor C. Statistical issues in the analysis of adverse events in time-to-event data. Pharm Stat "
        "2016;15:297-305.",
    )

    rows: pd.DataFrame
    statements: tuple[str, ...]

    def frame(self) -> pd.DataFrame:
        """Return one row an event and arm."""
        return self.rows

    def text(self) -> str:
        """Return who had any and who had a serious event, by arm."""
        said = []
        for event in (ANY, SERIOUS):
            own = self.rows[self.rows["event"] == event]
            told = ", ".join(
                f"{format_count(row.patients)} of {format_count(row.treated)} in {row.arm} "
                f"(rate {format_number(row.rate)})"
                for row in own.itertuples()
            )
            said.append(f"{event}: {told}." if told else "")
        return " ".join([*(one for one in said if one), *self.statements])

    def scalars(self) -> dict[str, float]:
        """Return the patients with any event, over the arms."""
        own = self.rows[self.rows["event"] == ANY]
        return {"patients_with_adverse_event": float(own["patients"].sum())}

    def table(self) -> pd.DataFrame:
        """Return one row an event, and for each arm the patients with their share and the rate."""
        heads = ["Adverse event"]
        arms = list(dict.fromkeys(self.rows["arm"]))
        for arm in arms:
            heads += [f"{arm}: patients", f"{arm}: rate"]
        shown = []
        for event in dict.fromkeys(self.rows["event"]):
            own = self.rows[self.rows["event"] == event].set_index("arm")
            cells: list[str] = [str(event)]
            for arm in arms:
                row = own.loc[arm]
                hidden = math.isnan(row["patients"])
                share = (
                    f"{format_count(row['patients'])} ({100 * row['patients'] / row['treated']:.0f} %)"
                    if not hidden
                    else ""
                )
                cells += [
                    "suppressed" if hidden else share,
                    "" if math.isnan(row["rate"]) else format_number(row["rate"]),
                ]
            shown.append(cells)
        return pd.DataFrame(shown, columns=heads)


def harm_limitations(endpoint: Endpoint, *, counted: bool, weighed: bool = False) -> list[str]:
    """Return what an analysis cannot say of harm.

    Parameters
    ----------
    endpoint
        The endpoint analysed.
    counted
        Whether adverse events are counted in the report.
    weighed
        Whether an adverse reaction stands beside the benefit by stratum.

    Returns
    -------
    list of str
        Sentences for the limitations.
    """
    told = "are counted, but" if counted else "are not in the data and"
    said = [f"One time-to-event endpoint is analysed; adverse reactions {told} do not enter the benefit."]
    if weighed:
        said = [
            "Strata are formed without regard to harm. One adverse reaction stands beside the benefit in them; the two are not "
            "added up, severity and other adverse reactions are not weighed, and events after the time at risk are not seen."
        ]
    if endpoint.competing:
        said.append(
            f"Events that compete with the endpoint ({', '.join(endpoint.competing).lower()}) are taken as censored by every method for one "
            "event: 1 less an event-free probability overstates the risk, and hazard ratios are cause-specific."
        )
    return said


def adverse_events(
    path: Path,
    origin: str,
    *,
    subject: str,
    treatment: Treatment,
    asked: Records | None = None,
    partial_dates: PartialDates = "refuse",
    encoding: str | None = None,
    decimal: str | None = None,
) -> AdverseEvents | None:
    """Count the treatment-emergent adverse events of an ADaM folder: any, serious, and the commonest body systems.

    Parameters
    ----------
    path, origin
        The folder, and how the study file names it.
    subject
        The column of the subject.
    treatment
        The arms; patients are counted as randomised.
    asked
        Which events and which time at risk; by default treatment-emergent ones until the end of treatment.
    partial_dates
        What is done with partial dates.
    encoding, decimal
        Encoding and decimal mark of text files, where they are declared.

    Returns
    -------
    AdverseEvents or None
        None where the folder has no ADAE.

    Raises
    ------
    DataError
        If ADAE or ADSL lack what is needed.
    """
    folder = open_adam(path, origin, encoding=encoding, decimal=decimal)
    if "ADAE" not in folder:
        return None
    records_asked = asked or Records("ADAE")
    subjects = read_subjects(folder, subject, treatment, partial_dates=partial_dates)
    risk = at_risk(subjects, replace(records_asked, where={}), "days")
    records = adverse_event_records(folder, replace(records_asked, where={}), subject)
    parts = _parts(records)
    rows: list[dict[str, object]] = []
    for event, level, chosen in parts:
        rows += _by_arm(event, level, chosen, subjects, risk, treatment, subject, partial_dates)
    frame = pd.DataFrame(rows)
    frame = pd.concat([frame[frame["level"] != "body system"], _common(frame)], ignore_index=True)
    kind = (
        "Treatment-emergent events (TRTEMFL = Y) are counted."
        if records_asked.treatment_emergent
        else "All events are counted."
    )
    return AdverseEvents(
        _suppress(frame), (kind, *risk.statements, "Rates are first events per 100 patient-years at risk.")
    )


def _parts(records: pd.DataFrame) -> list[tuple[str, str, pd.DataFrame]]:
    parts = [(ANY, "any", records)]
    if "AESER" in records:
        parts.append((SERIOUS, "serious", records[is_yes(records["AESER"])]))
    system = next((name for name in ("AEBODSYS", "AESOC") if name in records), None)
    if system is not None:
        codes = as_codes(records[system])
        parts += [
            (
                _words(str(code)),
                "body system",
                select_records(records, "ADAE", where={system: str(code)}, analysed=False),
            )
            for code in sorted(codes.dropna().unique())
        ]
    return parts


def _words(term: str) -> str:
    """Return a term of the dictionary as words: capitals are the way of its files, not of a table."""
    return term.capitalize() if term.isupper() else term


def _by_arm(
    event: str,
    level: str,
    records: pd.DataFrame,
    subjects: Subjects,
    risk: AtRisk,
    treatment: Treatment,
    subject: str,
    partial_dates: PartialDates,
) -> list[dict[str, object]]:
    found = first_events(records, subjects, risk, subject, competing=tuple(CAUSES), partial_dates=partial_dates)
    arm, treated = subjects.frame[treatment.column], risk.start.notna()
    rows: list[dict[str, object]] = []
    for code in (treatment.control, treatment.experimental, *treatment.secondary):
        own = (arm == code) & treated
        if not own.any():
            raise DataError(
                f"The arm '{code}' has no treated patient (TRTSDT): adverse events cannot be counted in it."
            )
        events = int((found.cause[own] == 1).sum())
        years = float(found.days[own].sum()) / DAYS_PER_YEAR
        low, high = poisson_limits(events)
        rows.append(
            {
                "event": event,
                "level": level,
                "arm": treatment.label(code),
                "treated": int(own.sum()),
                "patients": float(found.any_event[own].sum()),
                "first_events": float(events),
                "deaths": float((found.cause[own] == 2).sum()),
                "discontinuations": float((found.cause[own] == 3).sum()),
                "patient_years": years,
                "rate": 100 * events / years,
                "low": 100 * low / years,
                "high": 100 * high / years,
            }
        )
    return rows


def poisson_limits(events: int, level: float = 0.95) -> tuple[float, float]:
    """Return the exact two-sided limits of a Poisson mean after `events` events.

    Half the quantiles of chi-squared: ``chi2(a / 2; 2 x) / 2`` and ``chi2(1 - a / 2; 2 x + 2) / 2``, with ``a = 1 - level``;
    the lower one is 0 where there is no event (Garwood F. Biometrika 1936;28:437-442).
    """
    from scipy.stats import chi2

    tail = (1 - level) / 2
    low = float(chi2.ppf(tail, 2 * events)) / 2 if events else 0.0
    return low, float(chi2.ppf(1 - tail, 2 * (events + 1))) / 2


def _common(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the commonest body systems, the commonest first."""
    systems = rows[rows["level"] == "body system"]
    totals = systems.groupby("event")["patients"].agg(["sum", "max"]).sort_values("sum", ascending=False, kind="stable")
    kept = totals.index[totals["max"] >= SMALLEST_CELL][:_SYSTEMS]
    return systems.set_index("event").loc[kept].reset_index()[list(rows.columns)]


def _suppress(rows: pd.DataFrame) -> pd.DataFrame:
    """Hide counts of 1 to 10 by body system with everything that would give them back."""
    counted = ["patients", "first_events", "deaths", "discontinuations"]
    small = (rows["patients"].between(1, SMALLEST_CELL - 1) | rows["first_events"].between(1, SMALLEST_CELL - 1)) & (
        rows["level"] == "body system"
    )
    rows.loc[small, [*counted, "patient_years", "rate", "low", "high"]] = np.nan
    # Deaths and discontinuations before an event are small by nature; by body system they say nothing of their own.
    rows.loc[rows["level"] == "body system", ["deaths", "discontinuations"]] = np.nan
    return rows
