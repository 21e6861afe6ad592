"""What is missing, in whom: by variable and arm, and which values are missing together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.data.baseline_counts import Groups, count, groups_by_arm
from trialml.data.disclosure import SMALLEST_CELL
from trialml.data.quality_columns import Codes, code
from trialml.data.trial import Trial
from trialml.result import Result, plain_text

__all__ = ["Missingness", "missingness"]

_MOST_PATTERNS = 8
_MOST_DRAWN = 25
_NOTHING, _REST = "nothing missing", "other patterns"
_OUTCOMES = ("time", "event", "value")

Whole = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Missingness(Result):
    """Missing values by variable and arm, and the commonest patterns; counts from 1 to 10 are withheld.

    Attributes
    ----------
    rows
        One row a variable and arm: ``variable``, ``role`` (``outcome`` or ``covariate``), ``arm``, ``patients``, ``missing`` and
        ``percent`` (NaN where withheld) and ``shown`` (the words of the table).
    patterns
        One row a pattern and arm: ``pattern`` (the covariates missing together), ``arm``, ``patients``, ``shown``.
    """

    title = "Missing values"
    methods = (
        "Missing values are counted by variable and arm: outcomes among all patients in the file, baseline covariates in the analysis "
        "set. Patterns are the sets of covariates missing together."
    )

    rows: pd.DataFrame
    patterns: pd.DataFrame

    def frame(self) -> pd.DataFrame:
        """Return the variables, then the patterns."""
        patterns = self.patterns.rename(columns={"pattern": "variable", "patients": "with_pattern"}).assign(
            role="pattern"
        )
        return pd.concat([self.rows, patterns], ignore_index=True)

    def text(self) -> str:
        """Return how many covariates have missing values, and where most are missing."""
        covariates = self.rows[self.rows["role"] == "covariate"]
        shown = covariates["shown"] != "0"
        lacking = covariates.loc[shown, "variable"].nunique()
        if not lacking:
            return "No baseline value is missing in the analysis set."
        said = f"{lacking} of {covariates['variable'].nunique()} baseline covariates have missing values in the analysis set"
        known = covariates.dropna(subset=["percent"])
        worst = known.loc[known["percent"].idxmax()] if len(known) and known["percent"].max() > 0 else None
        said += (
            f", most {worst['variable']} ({worst['percent']:.0f} % in {worst['arm']})." if worst is not None else "."
        )
        complete = self._complete()
        return said if math.isnan(complete) else f"{said} In {100 * complete:.0f} % of the patients nothing is missing."

    def scalars(self) -> dict[str, float]:
        """Return the share of patients with every covariate recorded, where it is shown."""
        complete = self._complete()
        return {} if math.isnan(complete) else {"complete_baseline_share": complete}

    def _complete(self) -> float:
        own = self.patterns[self.patterns["pattern"] == _NOTHING]
        patients = self.rows[self.rows["role"] == "covariate"].drop_duplicates("arm")["patients"].sum()
        return float(own["patients"].sum(skipna=False) / patients) if len(own) and patients else math.nan

    def table(self) -> pd.DataFrame:
        """Return variables, then patterns, one column an arm."""
        arms = list(dict.fromkeys(self.rows["arm"]))
        parts = [
            ("Outcomes, patients in the file", self.rows[self.rows["role"] == "outcome"], "variable"),
            ("Baseline covariates, analysis set", self._lacking(), "variable"),
            ("Missing together, analysis set", self.patterns, "pattern"),
        ]
        shown: list[tuple[str, ...]] = []
        for heading, part, name in parts:
            if part.empty:
                continue
            shown.append((heading, *("" for _ in arms)))
            wide = part.pivot_table(
                index=name, columns="arm", values="shown", aggfunc="first", sort=False, observed=True
            )
            shown += [(f"  {label}", *wide.loc[label, arms]) for label in wide.index]
        analysed = self.rows[self.rows["role"] == "covariate"].drop_duplicates("arm").set_index("arm")["patients"]
        return pd.DataFrame(shown, columns=["", *(f"{arm} (n = {analysed[arm]:,})" for arm in arms)])

    def _lacking(self) -> pd.DataFrame:
        own = self.rows[self.rows["role"] == "covariate"]
        lacking = set(own.loc[own["shown"] != "0", "variable"])
        return own[own["variable"].isin(lacking)]

    @property
    def has_figure(self) -> bool:
        """Whether anything is missing that could be drawn."""
        return not self._lacking().empty

    def draw(self, figure: Any) -> None:
        """Draw a grid of variables by arms, shaded by the percentage missing; withheld cells are hatched."""
        own = self._lacking()
        variables = list(dict.fromkeys(own["variable"]))
        arms = list(dict.fromkeys(own["arm"]))
        percents = own["percent"].to_numpy(dtype=np.float64).reshape(len(variables), len(arms))
        words = own["shown"].to_numpy(dtype=object).reshape(percents.shape)
        order = np.argsort(-np.nan_to_num(percents, nan=0.0).max(axis=1), kind="stable")[:_MOST_DRAWN]
        top = max(50.0, 1.6 * float(np.nanmax(percents, initial=0.0)))
        # Few rows take the upper part alone, and the picture is cut to what is drawn.
        grid = figure.add_gridspec(2, 1, height_ratios=[len(order) + 0.5, max(0.01, 9 - len(order))])
        axes = figure.add_subplot(grid[0])
        axes.imshow(np.nan_to_num(percents[order], nan=0.0), cmap="Blues", vmin=0, vmax=top, aspect="auto")
        for line, place in enumerate(order):
            for column in range(len(arms)):
                percent = percents[place, column]
                withheld = math.isnan(percent)
                said = (
                    words[place, column] if withheld else f"{percent:.0f} %" if percent >= 1 or percent == 0 else "<1 %"
                )
                colour = "#6a6a6a" if withheld else "#1a1a1a"
                axes.text(column, line, said, ha="center", va="center", fontsize=9.5, color=colour)
        axes.set_xticks(range(len(arms)), [plain_text(arm) for arm in arms])
        axes.set_yticks(range(len(order)), [plain_text(variables[place]) for place in order])
        axes.tick_params(length=0)
        axes.set_xticks(np.arange(1, len(arms)) - 0.5, minor=True)
        axes.set_yticks(np.arange(1, len(order)) - 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=2)
        axes.tick_params(which="minor", length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_title("Missing values, per cent of the arm")


def missingness(trial: Trial, *, read: Trial | None = None) -> Missingness:
    """Count missing values by variable and arm, and the patterns in which they come.

    Parameters
    ----------
    trial
        The analysis set: covariates are counted here.
    read
        The trial before patients without an outcome were excluded: outcomes are counted here, and their counts shown in full, as
        the exclusions of a trial are. None leaves them out.

    Returns
    -------
    Missingness
        Counts from 1 to 10 are withheld, with those that would give them back through the baseline table. A pattern is shown
        where its count is 0 or at least 11 in every arm, and so is what remains of every covariate of it; the others are joined.
    """
    groups = groups_by_arm(trial)
    columns = {covariate.name: code(trial.frame[covariate.name]) for covariate in trial.covariates}
    rows = [] if read is None else _outcomes(read)
    held = {}
    for covariate in trial.covariates:
        counts = count(covariate, columns[covariate.name], groups)
        held[covariate.name] = (counts.cells[-1], counts.hidden[-1])
        for place, arm in enumerate(groups.names):
            cell, hide = int(counts.cells[-1, place]), bool(counts.hidden[-1, place])
            rows.append(_row(covariate.label, "covariate", arm, groups.sizes[place], cell, hide))
    labels = {covariate.name: covariate.label for covariate in trial.covariates}
    patterns = _patterns(columns, labels, groups, held)
    names = ["variable", "role", "arm", "patients", "missing", "percent", "shown"]
    frame = pd.DataFrame(rows, columns=names).astype({"missing": float, "percent": float})
    return Missingness(
        frame, pd.DataFrame(patterns, columns=["pattern", "arm", "patients", "shown"]).astype({"patients": float})
    )


def _row(variable: str, role: str, arm: str, patients: int, cell: int, hide: bool) -> tuple[object, ...]:
    percent = 100 * cell / max(patients, 1)
    if hide:
        return variable, role, arm, patients, math.nan, math.nan, _withheld(cell)
    return variable, role, arm, patients, cell, percent, f"{cell:,} ({percent:.0f} %)" if cell else "0"


def _withheld(cell: int) -> str:
    return f"fewer than {SMALLEST_CELL}" if 0 < cell < SMALLEST_CELL else "suppressed"


def _outcomes(read: Trial) -> list[tuple[object, ...]]:
    groups = groups_by_arm(read)
    endpoint = read.endpoint
    columns = {"time": endpoint.time, "event": endpoint.event, "value": endpoint.value}
    rows = []
    for name in _OUTCOMES:
        if name not in read.frame.columns:
            continue
        lost = read.frame[name].isna().to_numpy()
        for place, arm in enumerate(groups.names):
            cell = int((lost & (groups.member == place)).sum())
            rows.append(_row(columns.get(name, name), "outcome", arm, groups.sizes[place], cell, hide=False))
    return rows


class _Table(NamedTuple):
    """Patterns as booleans (m, p), and their counts by arm (m, g)."""

    missing: NDArray[np.bool_]
    cells: Whole


def _patterns(
    columns: dict[str, Codes], labels: dict[str, str], groups: Groups, held: dict[str, tuple[Whole, NDArray[np.bool_]]]
) -> list[tuple[str, str, float, str]]:
    names = [name for name, column in columns.items() if (column.codes < 0).any()]
    if not names:
        return []
    found = _tabulate(np.column_stack([columns[name].codes < 0 for name in names]), groups)
    totals = np.array([held[name][0] for name in names])
    withheld = np.array([held[name][1] for name in names])
    shown = _safe(found, totals, withheld)
    none = ~found.missing.any(axis=1)
    complete = found.cells[none].sum(axis=0)
    rest = found.cells.sum(axis=0) - complete - found.cells[shown].sum(axis=0)
    # In an arm where few have anything missing, its size would give them back from those who have not.
    hide = ((rest > 0) & (rest < SMALLEST_CELL)) | ((complete > 0) & (complete < SMALLEST_CELL))
    hide = np.full_like(hide, hide.any())
    lines = [(_NOTHING, complete, hide)]
    for place in shown:
        words = ", ".join(labels[name] for name, gone in zip(names, found.missing[place], strict=True) if gone)
        lines.append((words, found.cells[place], np.zeros_like(hide)))
    if rest.sum():
        lines.append((_REST, rest, hide))
    sizes = np.maximum(np.array(groups.sizes), 1)
    rows = []
    for words, cells, hides in lines:
        for arm, cell, size, out in zip(groups.names, cells.tolist(), sizes.tolist(), hides.tolist(), strict=True):
            told = _withheld(cell) if out else f"{cell:,} ({100 * cell / size:.0f} %)"
            rows.append((words, arm, math.nan if out else float(cell), told))
    return rows


def _tabulate(missing: NDArray[np.bool_], groups: Groups) -> _Table:
    """Count the distinct rows of `missing` by arm, the commonest first."""
    use = groups.member >= 0
    packed = np.packbits(missing[use], axis=1)
    keys = np.zeros(len(packed), dtype=np.int64)
    for place in range(packed.shape[1]):
        # Renumbering after each eight covariates keeps the key small, however many there are.
        keys = pd.factorize(keys * 256 + packed[:, place])[0]
    codes, distinct = pd.factorize(keys)
    first = np.full(len(distinct), -1, dtype=np.int64)
    first[codes[::-1]] = np.arange(len(codes))[::-1]
    g = len(groups.names)
    cells = np.bincount(codes * g + groups.member[use], minlength=len(distinct) * g).reshape(-1, g)
    order = np.argsort(-cells.sum(axis=1), kind="stable")
    return _Table(missing[use][first[order]], cells[order])


def _safe(found: _Table, totals: Whole, withheld: NDArray[np.bool_]) -> list[int]:
    """Return the patterns that can be shown: no small count in them, nor in what remains of a covariate or of all patterns.

    Parameters
    ----------
    found
        Patterns, the commonest first.
    totals, withheld
        Missing values of each covariate by arm, shape (p, g), and which of these the tables do not show.
    """
    some = found.missing.any(axis=1)
    small = ((found.cells > 0) & (found.cells < SMALLEST_CELL)).any(axis=1)
    of_hidden = found.missing @ withheld.any(axis=1)
    shown = [int(place) for place in np.flatnonzero(some & ~small & ~of_hidden)][:_MOST_PATTERNS]
    everyone = found.cells[some].sum(axis=0)
    while shown:
        left = totals - found.missing[shown].T.astype(np.int64) @ found.cells[shown]
        rest = everyone - found.cells[shown].sum(axis=0)
        short = ((left > 0) & (left < SMALLEST_CELL)).any(axis=1)
        if short.any():
            # The rarest pattern with such a covariate joins the others, so that they are too many to be told.
            concerned = [place for place in shown if found.missing[place][short].any()]
            if concerned:
                shown.remove(concerned[-1])
                continue
        if ((rest > 0) & (rest < SMALLEST_CELL)).any():
            shown.pop()
            continue
        return shown
    return []
