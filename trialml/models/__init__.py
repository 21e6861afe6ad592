"""Who will do badly (risk), and who will benefit (response)?

One model stands in one file, which names itself with ``MODEL``; `models_for` lists the folder, so that a new file
is a new choice in the study file and nothing else has to change.

Every estimator has ``fit(X, y)``, ``predict(X)``, ``score(X, y)`` (higher is better), ``state()`` as plain JSON types and
``from_state``; X is a frame of baseline covariates, one row a patient. A risk model has the parameters ``treatment`` (the
arm's column in X, 0 or 1; None for a model that does not see the arm) and ``seed``. What y is, and what else there is,
depends on the endpoint (`trialml.models.outcome` makes y):

- time to event: y with fields event and time; ``survival(X, times)``, shape (n, times), ``risk(X, horizon)``, shape (n,), both
  refused beyond ``horizon_limit_``; ``predict`` orders patients, higher is worse;
- competing risks: y with fields cause and time; ``cumulative_incidence(X, times)`` of cause 1, shape (n, times),
  ``risk(X, horizon)`` and ``predict`` as above;
- binary: y of True and False, perhaps with weights, or an event within a window; ``risk(X)``, the probability of the
  event, which ``predict`` returns as well, shape (n,);
- continuous: y of numbers; ``predict`` returns the mean given X, shape (n,).
"""

from __future__ import annotations

import importlib.util
import pkgutil
from dataclasses import dataclass
from typing import Any, Literal, get_args

from trialml.errors import StudyFileError, nearest

__all__ = ["ENDPOINTS", "EndpointKind", "Model", "model_named", "models_for"]

EndpointKind = Literal["time to event", "competing risks", "binary", "continuous"]
ENDPOINTS: tuple[EndpointKind, ...] = get_args(EndpointKind)


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
    endpoint
        The kind of endpoint that it predicts, or whose doubly robust scores it regresses.
    needs
        A package beyond those that trialml requires, without which it cannot be fitted; empty for none.
    """

    name: str
    question: Literal["risk", "response"]
    words: str
    estimator: type[Any]
    endpoint: EndpointKind = "time to event"
    needs: str = ""

    @property
    def installed(self) -> bool:
        """Whether the package that it needs is there."""
        return not self.needs or importlib.util.find_spec(self.needs) is not None


def models_for(question: str, endpoint: str | None = None) -> dict[str, Model]:
    """Return the models that answer `question`, by name, from the files of this folder.

    Parameters
    ----------
    question
        ``risk`` or ``response``.
    endpoint
        Only models of this kind of endpoint; None for all.

    Raises
    ------
    StudyFileError
        If there is no such kind of endpoint.
    """
    if endpoint is not None and endpoint not in ENDPOINTS:
        raise StudyFileError(f"There is no endpoint '{endpoint}'; {nearest(endpoint, ENDPOINTS)}.")
    found = {}
    for module in pkgutil.iter_modules(__path__):
        model = getattr(importlib.import_module(f"{__name__}.{module.name}"), "MODEL", None)
        if isinstance(model, Model) and model.question == question and endpoint in (None, model.endpoint):
            found[model.name] = model
    return found


def model_named(name: str, question: str, endpoint: str | None = None, *, key: str = "model") -> Model:
    """Return the model called `name` for `question`, and for `endpoint` if one is given; `key` of the study file names it.

    Raises
    ------
    StudyFileError
        If no file of this folder has that name, or the model is of another kind of endpoint.
    """
    known = models_for(question)
    if name not in known:
        raise StudyFileError(f"[models.{question}] {key} = '{name}' does not exist; {nearest(name, known)}.")
    if endpoint is not None and name not in (suited := models_for(question, endpoint)):
        others = ", ".join(suited) or "none so far"
        raise StudyFileError(
            f"[models.{question}] {key} = '{name}' is for a {known[name].endpoint} endpoint, but this one is {endpoint}: "
            f"choose one of its models ({others})."
        )
    return known[name]
