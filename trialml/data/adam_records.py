"""Records of an ADaM data set: which ones an endpoint or a baseline value is made of."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from trialml.data.columns import as_code, as_codes, is_yes, require_columns
from trialml.errors import DataError, nearest

__all__ = ["refuse_two", "select_records"]


def select_records(
    frame: pd.DataFrame,
    dataset: str,
    *,
    parameter: str = "",
    visit: str = "",
    where: Mapping[str, str] | None = None,
    analysed: bool = True,
) -> pd.DataFrame:
    """Return the records of a parameter at a visit that meet some conditions.

    Parameters
    ----------
    frame, dataset
        The data set and its name.
    parameter
        The PARAMCD, empty for data sets without one.
    visit
        AVISIT (text) or AVISITN (number), empty for all.
    where
        Column to code; a flag's Y is read in any writing.
    analysed
        Whether ANL01FL = Y is asked where the data set has that flag.

    Raises
    ------
    DataError
        If the parameter, the visit, a column or a code is not there, naming those that are; or nothing meets all.
    """
    if parameter:
        require_columns(frame, {"[[endpoints]] parameter": "PARAMCD"}, dataset)
        frame = _matching(frame, "PARAMCD", parameter, dataset)
    if visit:
        column = "AVISIT" if "AVISIT" in frame and visit in set(as_codes(frame["AVISIT"])) else "AVISITN"
        column = column if column in frame else "AVISIT"
        require_columns(frame, {"[[endpoints]] visit": column}, dataset)
        if column == "AVISITN" and visit not in set(as_codes(frame["AVISITN"])) and "AVISIT" in frame:
            column = "AVISIT"
        frame = _matching(frame, column, visit, dataset)
    conditions = dict(where or {})
    if analysed and "ANL01FL" in frame and "ANL01FL" not in conditions:
        conditions["ANL01FL"] = "Y"
    for column, code in conditions.items():
        require_columns(frame, {"[[endpoints]] where": column}, dataset)
        flag = column.endswith("FL") and code == "Y"
        frame = frame[is_yes(frame[column])] if flag else _matching(frame, column, code, dataset)
        if frame.empty:
            raise DataError(
                f"{dataset} has no record with {column} = '{code}' among those asked for: correct [[endpoints]]."
            )
    return frame


def _matching(frame: pd.DataFrame, column: str, code: str, dataset: str) -> pd.DataFrame:
    codes = as_codes(frame[column])
    chosen = frame[codes == as_code(code)]
    if chosen.empty:
        names = sorted(map(str, codes.dropna().unique()))
        # Any other column of many values may hold who a patient is, or what one said.
        known = column in ("PARAMCD", "AVISIT", "AVISITN")
        telling = (
            len(names) <= 60 and max(map(len, names), default=0) <= 60 and (known or 10 * len(names) <= len(codes))
        )
        near = nearest(code, names)
        near = f"{near}; " if near.startswith("the nearest") else ""
        hint = f"{near}it has {', '.join(names)}" if telling and names else f"it has {len(names)} other values"
        raise DataError(f"{dataset} has no record with {column} = '{code}': {hint}.")
    return chosen


def refuse_two(records: pd.DataFrame, subject: str, what: str) -> None:
    """Refuse two records of a subject where one is meant.

    Raises
    ------
    DataError
        Naming two records.
    """
    codes = as_codes(records[subject])
    twice = codes[codes.duplicated(keep=False)]
    if len(twice):
        rows = twice.index[twice == twice.iloc[0]][:2]
        message = (
            f"{twice.nunique():,} subject(s) have two or more records of {what} (file rows {rows[0]} and {rows[1]} are one subject's): say "
            "which is meant with [[endpoints]] where or visit."
        )
        raise DataError(message)
