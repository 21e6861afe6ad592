"""What a model without coefficients is: its settings, what it tuned, and how much information it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd

from trialml.models import Model
from trialml.models.person_periods import HazardTrees
from trialml.models.tree_arrays import TreeArrays
from trialml.result import Result, counted, format_count, format_number, format_p

__all__ = ["LearnedModel", "learned_model"]


SETTINGS = {
    "fewest": "fewest in a leaf",
    "gate": "level of the gate's test",
    "folds": "folds of the tuning",
    "grid": "most times at which a leaf's curve is kept",
    "iterations": "most trees",
    "leaves": "most leaves of a tree",
    "periods": "most periods of follow-up",
    "ridge": "ridge penalty on a leaf's value",
    "share": "share of the columns that a split looks at",
}
"""Words for a model's parameters."""


@dataclass(frozen=True, eq=False)
class LearnedModel(Result):
    """A model that is no sum of coefficients, in words and settings.

    Attributes
    ----------
    subject
        What the model predicts, in words.
    model, words
        What the study file calls it, and what it is.
    columns
        Columns that it may use: numbers as one, text as one a frequent category, the arm where it is a covariate.
    settings
        Columns setting, value, learned (whether it was found in the data).
    n, events
        What it was learned from.
    counted
        What `events` counts: patients, for a continuous endpoint.
    """

    title: ClassVar[str] = "The model"

    subject: str
    model: str
    words: str
    columns: int
    settings: pd.DataFrame
    n: int
    events: int
    counted: str = "events"

    def heading(self) -> str:
        """Return the title with what is predicted."""
        return f"The model of {self.subject}"

    @property
    def events_per_parameter(self) -> float:
        """Events for each column that the model may use."""
        return self.events / max(self.columns, 1)

    def frame(self) -> pd.DataFrame:
        """Return one row a setting."""
        return self.settings

    def text(self) -> str:
        """Return what the model is, what was found in the data, and what it rests on."""
        learned = self.settings[self.settings["learned"]]
        found = "; ".join(f"{row.setting} {row.value}" for row in learned.itertuples())
        events = f" with {counted(self.events, 'event')}" if self.counted == "events" else ""
        return (
            f"{self.model}: {self.words}. Learned from {format_count(self.n)} patients{events}: "
            f"{format_number(self.events_per_parameter)} {self.counted} for each of {counted(self.columns, 'column')} that it may use"
            f"{f' (found in the data: {found})' if found else ''}. It has no coefficients; what moves it is in the chapter Explanation, how well it predicts is in "
            "the chapter Validation."
        )

    def scalars(self) -> dict[str, float]:
        """Return the events, events for each column and the number of columns."""
        return {
            self.counted: float(self.events),
            f"{self.counted}_per_parameter": self.events_per_parameter,
            "columns": float(self.columns),
        }

    def table(self) -> pd.DataFrame:
        """Return the settings as words."""
        rows = self.settings
        return pd.DataFrame(
            {
                "Setting": rows["setting"],
                "Value": rows["value"],
                "From": ["the data" if learned else "fixed beforehand" for learned in rows["learned"]],
            }
        )


def learned_model(
    model: Model, fitted: Any, *, subject: str, n: int, events: int, counted: str = "events"
) -> LearnedModel:
    """Put a fitted model without coefficients into words.

    Parameters
    ----------
    model
        What its file says of it.
    fitted
        The fitted estimator; its columns are those of its `TreeDesign`, where it has one as `design_`, or else its covariates.
    subject, n, events, counted
        What is predicted, what the model was learned from, and what is counted of it.

    Returns
    -------
    LearnedModel
        Its parameters but for the arm and the seed, and the numbers of trees where they were tuned.
    """
    given = {name: value for name, value in fitted.get_params().items() if name not in ("treatment", "seed")}
    rows = [(SETTINGS.get(name, name.replace("_", " ")), f"{value}", False) for name, value in given.items()]
    if given.get("gate") is not None:
        rows.append(("p-value of the gate's test", format_p(fitted.gate_p_), True))
        rows.append(("gate", "open" if fitted.gate_open_ else "closed: everybody gets the average effect", True))
    for name, part in vars(fitted).items():
        trees = part.trees if isinstance(part, HazardTrees) else part if isinstance(part, TreeArrays) else None
        # A forest grows as many trees as it is told to: these were not found in the data.
        if trees is not None and "trees" not in given:
            rows.append(
                (f"trees of the {name.rstrip('_')}" if name != "trees_" else "trees grown", f"{len(trees.root)}", True)
            )
    settings = pd.DataFrame(rows, columns=["setting", "value", "learned"])
    design = getattr(fitted, "design_", None)
    columns = len(fitted.feature_names_in_) if design is None else len(design.columns())
    return LearnedModel(subject, model.name, model.words, columns, settings, n, events, counted)
