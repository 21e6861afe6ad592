"""What a model without coefficients is: its settings, what it tuned, and how much information it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd

from trialml.models import Model
from trialml.models.person_periods import HazardTrees
from trialml.models.tree_arrays import TreeArrays
from trialml.result import Result, counted, format_count, format_number

__all__ = ["LearnedModel", "learned_model"]


SETTINGS = {
    "fewest": "fewest in a leaf",
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
    """

    title: ClassVar[str] = "The model"

    subject: str
    model: str
    words: str
    columns: int
    settings: pd.DataFrame
    n: int
    events: int

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
        return (
            f"{self.model}: {self.words}. Learned from {format_count(self.n)} patients with {counted(self.events, 'event')}: "
            f"{format_number(self.events_per_parameter)} events for each of {counted(self.columns, 'column')} that it may use"
            f"{f' (found in the data: {found})' if found else ''}. It has no coefficients; what moves it is in the chapter "
            "Explanation, how well it predicts in the chapter Validation."
        )

    def scalars(self) -> dict[str, float]:
        """Return the events, events for each column and the number of columns."""
        return {
            "events": float(self.events),
            "events_per_parameter": self.events_per_parameter,
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


def learned_model(model: Model, fitted: Any, *, subject: str, n: int, events: int) -> LearnedModel:
    """Put a fitted model on trees into words.

    Parameters
    ----------
    model
        What its file says of it.
    fitted
        The fitted estimator, with a `TreeDesign` as `design_`.
    subject, n, events
        What is predicted, and what the model was learned from.

    Returns
    -------
    LearnedModel
        Its parameters but for the arm and the seed, and the numbers of trees where they were tuned.
    """
    given = {name: value for name, value in fitted.get_params().items() if name not in ("treatment", "seed")}
    rows = [(SETTINGS.get(name, name.replace("_", " ")), f"{value}", False) for name, value in given.items()]
    for name, part in vars(fitted).items():
        trees = part.trees if isinstance(part, HazardTrees) else part if isinstance(part, TreeArrays) else None
        # A forest grows as many trees as it is told to: these were not found in the data.
        if trees is not None and "trees" not in given:
            rows.append(
                (f"trees of the {name.rstrip('_')}" if name != "trees_" else "trees grown", f"{len(trees.root)}", True)
            )
    settings = pd.DataFrame(rows, columns=["setting", "value", "learned"])
    return LearnedModel(subject, model.name, model.words, len(fitted.design_.columns()), settings, n, events)
