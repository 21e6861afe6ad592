"""Does the model of a binary or continuous endpoint hold in every stratum and protected group?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.disclosure import suppressed
from trialml.errors import AnalysisError, DataError
from trialml.result import Estimate, Kind, Result, counted, kind_words
from trialml.survival.ties import checked_labels
from trialml.validation.binary import binary_performance
from trialml.validation.binary_calibration import binary_calibration
from trialml.validation.by_group import FEWEST_EVENTS, draw_groups, group_numbers, group_rows
from trialml.validation.continuous import continuous_performance

__all__ = ["OutcomeGroups", "outcome_by_group"]

Floats = NDArray[np.float64]

BINARY = ("observed over expected", "calibration slope", "AUC", "Brier score")
CONTINUOUS = ("observed less predicted mean", "calibration slope", "R²", "root mean squared error")
_ONE = "the model"


@dataclass(frozen=True, eq=False)
class OutcomeGroups(Result):
    """Calibration, discrimination and prediction error of a binary or continuous endpoint within groups of patients."""

    title = "Performance within groups"
    methods = (
        "Within each group the model of the binary or continuous endpoint is judged as over everybody, the null model being the group's own "
        f"share or mean. A group with fewer than {FEWEST_EVENTS} patients with the event or without it (of a continuous endpoint: "
        f"fewer than {FEWEST_EVENTS} patients) is called insufficient and gets no number. An AUC or R-squared is not comparable between groups "
        "whose predictions spread differently: calibration and prediction error are."
    )

    groups: pd.DataFrame
    """Columns group, n, events (NaN where suppressed, and of a continuous endpoint), verdict (``estimated`` or ``insufficient``)."""
    measures: pd.DataFrame
    """Columns group, measure, value, low, high, se; NaN in a group whose verdict is insufficient."""
    factor: str
    unit: str
    binary: bool
    kind: Kind

    def heading(self) -> str:
        """Return the title with what the groups are."""
        return f"Performance by {self.factor}"

    def frame(self) -> pd.DataFrame:
        """Return one row a group and measure."""
        return self.groups.merge(self.measures, on="group", how="left", sort=False)

    def estimate(self, group: str, measure: str) -> Estimate:
        """Return one number of a group; NaN where the group is insufficient."""
        row = self.measures[(self.measures["group"] == group) & (self.measures["measure"] == measure)].iloc[0]
        unit = self.unit if measure in ("observed less predicted mean", "root mean squared error") else ""
        known: dict[str, Any] = {"scale": measure, "unit": unit, "kind": self.kind, "se": float(row["se"])}
        return Estimate(float(row["value"]), float(row["low"]), float(row["high"]), **known)

    @property
    def _names(self) -> tuple[str, ...]:
        return BINARY if self.binary else CONTINUOUS

    def text(self) -> str:
        """Return calibration and discrimination of up to four groups, and which are insufficient."""
        enough = self.groups.loc[self.groups["verdict"] == "estimated", "group"].tolist()
        few = [name for name in self.groups["group"] if name not in enough]
        what = "patients with the event, or without it" if self.binary else "patients"
        left = f" Insufficient (fewer than {FEWEST_EVENTS} {what}): {', '.join(few)}." if few else ""
        if not enough:
            return f"No group by {self.factor} has enough patients to be judged.{left}"
        balance, lead = self._names[0], self._names[2]
        shown = [
            f"{name}: {balance} {self.estimate(name, balance).text()}, {lead} {self.estimate(name, lead).text()}"
            for name in enough[:4]
        ]
        more = f"; {counted(len(enough) - 4, 'more group')} in the table" if len(enough) > 4 else ""
        return f"By {self.factor} ({kind_words(self.kind)}): {'; '.join(shown)}{more}.{left}"

    def scalars(self) -> dict[str, float]:
        """Return each judged group's numbers with limits, and how many groups are insufficient."""
        return group_numbers(self.groups, self.measures, self.factor, self.kind)

    def table(self) -> pd.DataFrame:
        """Return groups as rows and measures as columns, in words."""
        rows = group_rows(self.groups, self.measures, ("n", "events") if self.binary else ("n",))
        heads = ["Patients", "With the event"] if self.binary else ["Patients"]
        return pd.DataFrame(rows, columns=[self.factor, *heads, *self._names])

    def draw(self, figure: Any) -> None:
        """Draw calibration and discrimination of the judged groups."""
        shown = (self._names[0], self._names[2])
        draw_groups(figure, self.groups, self.measures, shown, right=1.0 if self.binary else 0.0)


def outcome_by_group(
    y: Any, predicted: Any, groups: Any, *, factor: str, binary: bool, kind: Kind, unit: str = ""
) -> OutcomeGroups:
    """Judge predicted probabilities or means within groups of patients.

    Parameters
    ----------
    y
        True where the event happened, or numbers, known of everybody, shape ``(n,)``.
    predicted
        Predicted probabilities or means, shape ``(n,)``.
    groups
        The stratum or group of each patient, known at baseline, shape ``(n,)``.
    factor
        What the groups are, for print.
    binary
        Whether the endpoint is an event.
    kind
        What the predictions are.
    unit
        Of a continuous endpoint.

    Returns
    -------
    OutcomeGroups
        Measures as `binary_performance`, `binary_calibration` and `continuous_performance` have them for the group alone.

    Raises
    ------
    DataError
        If the shapes differ or a group is missing.
    """
    values, means = np.asarray(y), np.asarray(predicted, dtype=np.float64)
    if values.shape != means.shape or values.ndim != 1:
        raise DataError(f"y has shape {values.shape} and the predictions {means.shape}: pass one of each a patient")
    labels, codes = checked_labels(groups, values.size, factor)
    names, rows, measures = BINARY if binary else CONTINUOUS, [], []
    for place, label in enumerate(labels):
        own = codes == place
        n, events = int(own.sum()), int(values[own].sum()) if binary else math.nan
        smallest = min(events, n - events) if binary else n
        found = _within(values[own], means[own], binary, kind, unit) if smallest >= FEWEST_EVENTS else {}
        rows.append((str(label), float(n), float(events), "estimated" if found else "insufficient"))
        for name in names:
            one = found.get(name, Estimate(math.nan))
            measures.append((str(label), name, one.value, one.low, one.high, one.se))
    frame = pd.DataFrame(rows, columns=["group", "n", "events", "verdict"])
    for column in ("n", "events") if binary else ("n",):
        frame.loc[suppressed([int(count) for count in frame[column]]), column] = math.nan
    columns = ["group", "measure", "value", "low", "high", "se"]
    return OutcomeGroups(frame, pd.DataFrame(measures, columns=columns), factor, unit, binary, kind)


def _within(y: NDArray[Any], predicted: Floats, binary: bool, kind: Kind, unit: str) -> dict[str, Estimate]:
    """Return the measures of one group by name; none where all its outcomes or predictions are one."""
    try:
        if not binary:
            judged = continuous_performance(y, {_ONE: predicted}, unit=unit, kind=kind)
            return {name: judged.estimate(name, _ONE) for name in CONTINUOUS}
        found = binary_performance(y, {_ONE: predicted}, threshold=0.5, kind=kind)
        calibrated = binary_calibration(y, predicted, kind=kind)
    except AnalysisError:
        return {}
    shown = {name: found.estimate(name, _ONE) for name in ("AUC", "Brier score")}
    for name, by_arm in (("observed over expected", calibrated.ratio), ("calibration slope", calibrated.slope)):
        shown[name] = by_arm["both arms"]
    return shown
