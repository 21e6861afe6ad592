"""Who will do badly (risk), and who will benefit (response)?

One model stands in one file, which names itself with ``MODEL``; `models_for` lists the folder, so that a new file
is a new choice in the study file and nothing else has to change.
"""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from typing import Any, Literal

from trialml.errors import StudyFileError, nearest

__all__ = ["Model", "model_named", "models_for"]


@dataclass(frozen=True)
class Model:
    """What a model file says of itself.

    Attributes
    ----------
    name
        What `study.toml` calls it.
    question
        ``risk`` or ``response``.
    words
        What it is, for the report's methods text.
    estimator
        The scikit-learn estimator.
    """

    name: str
    question: Literal["risk", "response"]
    words: str
    estimator: type[Any]


def models_for(question: str) -> dict[str, Model]:
    """Return the models that answer `question`, by name, from the files of this folder."""
    found = {}
    for module in pkgutil.iter_modules(__path__):
        model = getattr(importlib.import_module(f"{__name__}.{module.name}"), "MODEL", None)
        if isinstance(model, Model) and model.question == question:
            found[model.name] = model
    return found


def model_named(name: str, question: str) -> Model:
    """Return the model called `name` for `question`.

    Raises
    ------
    StudyFileError
        If no file of this folder has that name.
    """
    known = models_for(question)
    if name not in known:
        raise StudyFileError(f"[models.{question}] model = '{name}' does not exist; {nearest(name, known)}.")
    return known[name]
