"""What became of each subject, from ADSL: the raw material of a CONSORT flow."""

from __future__ import annotations

import pandas as pd

from trialml.data.adam import Subjects
from trialml.data.columns import as_codes, is_yes

__all__ = ["discontinued", "disposition"]

_FLAGS = ("ENRLFL", "ITTFL", "FASFL", "SAFFL", "PPROTFL", "EFFFL", "COMPLFL")
_REASONS = 20


def disposition(subjects: Subjects, arm: pd.Series) -> pd.DataFrame:
    """Return what ADSL says of each subject's way through the trial.

    Parameters
    ----------
    subjects
        ADSL.
    arm
        The arm as randomised, missing where there is none.

    Returns
    -------
    DataFrame
        ``randomised`` (RANDFL, else RANDDT, else an arm), ``treated`` (SAFFL, else TRTSDT), ``flag ...`` for each
        population flag, and ``ended``: Completed, Ongoing, or the reason for leaving (EOSSTT with DCSREAS, else DCDECOD,
        else DISCONFL with DCREASCD), None where ADSL does not say.
    """
    frame = subjects.frame
    known = pd.DataFrame(index=frame.index)
    if "RANDFL" in frame:
        known["randomised"] = is_yes(frame["RANDFL"])
    elif "RANDDT" in frame:
        known["randomised"] = subjects.date("RANDDT").notna()
    else:
        known["randomised"] = arm.notna()
    if "SAFFL" in frame:
        known["treated"] = is_yes(frame["SAFFL"])
    elif "TRTSDT" in frame:
        known["treated"] = subjects.date("TRTSDT").notna()
    for name in _FLAGS:
        if name in frame:
            known[f"flag {name}"] = is_yes(frame[name])
    ended = _ended(frame)
    if ended is not None:
        known["ended"] = ended
    return known


def _ended(frame: pd.DataFrame) -> pd.Series | None:
    reason = next((name for name in ("DCSREAS", "DCREASCD", "DCDECOD") if name in frame), None)
    words = None if reason is None else as_codes(frame[reason])
    if words is not None and words.nunique() > _REASONS:
        words = None
    status = next((name for name in ("EOSSTT", "DCDECOD", "DISCONFL") if name in frame), None)
    if status is None:
        return None
    left = discontinued(frame)
    told = as_codes(frame[status]).astype(object)
    ended = pd.Series(None, index=frame.index, dtype=object)
    if status == "DISCONFL":
        ended[~left] = "Completed"
    else:
        capitals = told.astype(str).str.upper()
        ended[capitals == "COMPLETED"] = "Completed"
        ended[capitals == "ONGOING"] = "Ongoing"
    given = words if words is not None else pd.Series(None, index=frame.index, dtype=object)
    # Capitals are the way of the terminology, not of a table for readers.
    named = given.map(lambda text: None if text is None else text.capitalize() if text.isupper() else text)
    ended[left] = named[left].where(named[left].notna(), "Reason not recorded")
    return ended


def discontinued(frame: pd.DataFrame, *, treatment: bool = False) -> pd.Series:
    """Return whether a subject left the study early, by EOSSTT, else DCDECOD, else DISCONFL; False where unknown.

    With `treatment`, whether a subject left the treatment early: by EOTSTT where ADSL has it.
    """
    for status in ("EOTSTT", "EOSSTT") if treatment else ("EOSSTT",):
        if status in frame:
            return as_codes(frame[status]).astype(str).str.upper() == "DISCONTINUED"
    if "DCDECOD" in frame:
        codes = as_codes(frame["DCDECOD"])
        return codes.notna() & ~codes.astype(str).str.upper().isin(["COMPLETED", "ONGOING"])
    if "DISCONFL" in frame:
        return is_yes(frame["DISCONFL"])
    return pd.Series(data=False, index=frame.index)
