"""Who will do badly (risk), and who will benefit (response)?

One model stands in one file, which names itself with ``MODEL``; `models_for` lists the folder, so that a new file
is a new choice in the study file and nothing else has to change.

Every estimator has ``fit(X, y)``, ``predict(X)``, ``score(X, y)`` (higher is better), ``state()`` as plain JSON types (a deep
model's with numpy arrays in it, which are written apart) and ``from_state``; X is a frame of baseline covariates, one row a patient. A risk model has the parameters ``treatment`` (the
arm's column in X, 0 or 1; None for a model that does not see the arm) and ``seed``. What y is, and what else there is,
depends on the endpoint (`trialml.models.outcome` makes y):

- time to event: y with fields event and time; ``survival(X, times)``, shape (n, times), ``risk(X, horizon)``, shape (n,), both
  refused beyond ``horizon_limit_``; ``predict`` orders patients, higher is worse;
- competing risks: y with fields cause and time; ``cumulative_incidence(X, times)`` of cause 1, shape (n, times),
  ``risk(X, horizon)`` and ``predict`` as above;
- binary: y of True and False, perhaps with weights, or an event within a window; ``risk(X)``, the probability of the
  event, which ``predict`` returns as well, shape (n,);
- continuous: y of numbers; ``predict`` returns the mean given X, shape (n,).

A response model has ``benefit_score(X)``, which orders patients, ``predict(X)``, the expected benefit, both of shape (n,) and
higher where the experimental arm is better, and ``shrinkage``, ``slope_``, ``slope_mc_error_``, ``average_``, ``repeats`` and
``for_folds(share)`` (see `trialml.models.shrunk_benefit`). What it learns from, its `Model` says:

- scores: y of doubly robust scores, shape (n,), and X of covariates alone. It serves any endpoint that has scores, on the
  scale of these;
- outcomes: y an outcome with the scores beside it (`trialml.models.outcome.scored_outcome`), and X with the arm's column, named by
  ``treatment``, which ``predict`` does not look at. With a time to event, ``tau`` restricts the means; with a binary or a
  continuous endpoint ``higher_is_better`` says which direction is benefit. The scores have to be on the same scale.
"""

from __future__ import annotations

import importlib.util
import pkgutil
from dataclasses import dataclass
from typing import Any, Literal, get_args

from trialml.errors import StudyFileError, nearest

__all__ = ["ENDPOINTS", "EXTRAS", "EndpointKind", "Model", "model_named", "models_for", "usable_model"]

EXTRAS = {"deep": ("safetensors", "torch"), "foundation": ("safetensors", "tabicl", "torch")}
"""The packages without which a model of an extra can neither be fitted nor loaded, by the extra's name."""

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
        The kind of endpoint that it predicts; of a response model on scores, that which it was made for.
    needs
        A package beyond those that trialml requires, without which it cannot be fitted; empty for none.
    learns_from
        What the y of a response model holds: ``scores``, or ``outcomes`` with scores beside them.
    fewest_patients
        A trial with fewer should not use it, and the estimator refuses.
    extra
        One of `EXTRAS`, whose packages it needs to score as well as to be fitted; empty for none.
    """

    name: str
    question: Literal["risk", "response"]
    words: str
    estimator: type[Any]
    endpoint: EndpointKind = "time to event"
    needs: str = ""
    learns_from: Literal["scores", "outcomes"] = "scores"
    fewest_patients: int = 0
    extra: str = ""

    @property
    def installed(self) -> bool:
        """Whether the package that it needs is there."""
        return not self.needs or _there(self.needs)

    @property
    def absent(self) -> str:
        """Which packages of its extra are not there and how to get them, in a sentence; empty where all are."""
        missing = [name for name in EXTRAS.get(self.extra, ()) if not _there(name)]
        if not missing:
            return ""
        verb = "is" if len(missing) == 1 else "are"
        return (
            f"The model {self.name} needs {' and '.join(missing)}, which {verb} not installed: pip install "
            f"'trialml[{self.extra}]', or choose another model."
        )

    def suits(self, endpoint: str | None) -> bool:
        """Return whether it can be used with a kind of endpoint: a response model on scores with any; None for any."""
        return endpoint in (None, self.endpoint) or (self.question == "response" and self.learns_from == "scores")


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
        if isinstance(model, Model) and model.question == question and model.suits(endpoint):
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


def usable_model(name: str, question: str, endpoint: str | None = None, *, key: str = "model") -> Model:
    """Return `model_named`, refused where the packages of its extra are not installed.

    Raises
    ------
    StudyFileError
        As `model_named`, and with the extra to install.
    """
    model = model_named(name, question, endpoint, key=key)
    if model.absent:
        raise StudyFileError(f"[models.{question}] {key} = '{name}' cannot be used here. {model.absent}")
    return model


def _there(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # a package that is blocked
        return False
