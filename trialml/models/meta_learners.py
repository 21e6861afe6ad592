"""S- and T-learners: any risk model made to say what either arm would do. Comparators, not defaults.

A T-learner fits one model in each arm and takes the difference of what they say; the arms are penalised apart, so that
unequal arms or noise look like effect modification. An S-learner fits one model with the arm as a covariate like the others and
asks it twice; its penalty pulls the effect of the arm towards nothing. Both are shrunk like every response model here.
Kuenzel SR, Sekhon JS, Bickel PJ, Yu B. Metalearners for estimating heterogeneous treatment effects using machine
learning. Proc Natl Acad Sci USA 2019;116:4156-4165.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.errors import AnalysisError
from trialml.models.outcome import BinaryOutcome, checked_survival
from trialml.models.outcome_benefit import OutcomeBenefit, areas_to, checked_tau
from trialml.survival.ties import not_after

__all__ = ["OfEvents", "OfMeans", "OfTimes", "SLearner", "TLearner"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_ROWS_AT_ONCE = 4096


class _Learner(OutcomeBenefit):
    """Risk models, and the value of what they say of a patient."""

    learner: ClassVar[type[Any]]
    """The risk model."""

    seed: int
    learned_: tuple[Any, ...]

    @abstractmethod
    def _value(self, model: Any, X: pd.DataFrame) -> Floats:
        """Return what a risk model expects, higher is better, shape (n,)."""

    @abstractmethod
    def _settled(self) -> dict[str, Any]:
        """Return what was settled before anything was learned, as attributes of plain JSON types."""

    def state(self) -> dict[str, Any]:
        """Return what was learned as plain JSON types."""
        return {
            "names": [str(name) for name in self.feature_names_in_],
            "treatment": self.treatment,
            "settled": self._settled(),
            "models": [model.state() for model in self.learned_],
            **self._shrinkage_state(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the model that `state` described."""
        model = cls()
        model.treatment = state["treatment"]
        model.feature_names_in_ = np.asarray(state["names"], dtype=object)
        for name, value in state["settled"].items():
            setattr(model, name, value)
        model.learned_ = tuple(cls.learner.from_state(one) for one in state["models"])
        model._take_shrinkage(state)
        return model


class TLearner(_Learner):
    """One risk model in each arm."""

    def _learn(self, X: pd.DataFrame, outcome: NDArray[Any], arm: Flags) -> tuple[Any, ...]:
        return tuple(self._of_arm(X[who], outcome[who], of) for who, of in ((~arm, "control"), (arm, "experimental")))

    def _of_arm(self, X: pd.DataFrame, outcome: NDArray[Any], of: str) -> Any:
        try:
            return self.learner(seed=self.seed).fit(X, outcome)
        except AnalysisError as error:
            raise AnalysisError(
                f"A T-learner's model of the {of} arm cannot be learned from the {len(X):,} patients of that arm in a training set "
                f"({str(error).rstrip('.')}): name a response model that learns from scores, or use more data."
            ) from error

    def _contrast(self, learned: tuple[Any, ...], X: pd.DataFrame) -> Floats:
        control, treated = (self._value(model, X) for model in learned)
        return treated - control


class SLearner(_Learner):
    """One risk model with the arm as a covariate."""

    def _learn(self, X: pd.DataFrame, outcome: NDArray[Any], arm: Flags) -> tuple[Any, ...]:
        with_arm = X.assign(**{self.treatment: arm.astype(np.float64)})
        return (self.learner(treatment=self.treatment, seed=self.seed).fit(with_arm, outcome),)

    def _contrast(self, learned: tuple[Any, ...], X: pd.DataFrame) -> Floats:
        control, treated = (self._value(learned[0], X.assign(**{self.treatment: arm})) for arm in (0.0, 1.0))
        return treated - control


class OfTimes(_Learner):
    """With a time to event: the value is the restricted mean, the area under S(t | x) up to tau.

    Parameters
    ----------
    treatment, folds, seed, repeats, gate
        As in `OutcomeBenefit`.
    tau : float or None
        Where the means are restricted. None: the longest follow-up of the arm where it is shorter.

    Attributes
    ----------
    tau_ : float
    grid_ : list of float
        Event times up to tau, where the curves step. Beyond the follow-up of what a fold learned from, a curve stays as it is.
    """

    def __init__(
        self,
        treatment: str = "arm",
        tau: float | None = None,
        folds: int = 5,
        seed: int = 1,
        repeats: int = 2,
        gate: float | None = None,
    ) -> None:
        self.treatment = treatment
        self.tau = tau
        self.folds = folds
        self.seed = seed
        self.repeats = repeats
        self.gate = gate

    def _prepare(self, outcome: NDArray[Any], arm: Flags) -> None:
        time, event = checked_survival(outcome, "a response model of a time to event")
        self.tau_ = checked_tau(self.tau, time, arm)
        times = np.unique(time[event & (time > 0)])
        self.grid_ = times[not_after(times, self.tau_)].tolist()

    def _settled(self) -> dict[str, Any]:
        return {"tau_": self.tau_, "grid_": self.grid_}

    def _balanced_by(self, outcome: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(outcome["event"])

    def _value(self, model: Any, X: pd.DataFrame) -> Floats:
        grid = np.asarray(self.grid_, dtype=np.float64)
        known = np.minimum(grid, model.horizon_limit_)
        parts = [
            areas_to(grid, model.survival(X.iloc[start : start + _ROWS_AT_ONCE], known), self.tau_)
            for start in range(0, len(X), _ROWS_AT_ONCE)
        ]
        return np.concatenate(parts) if parts else np.empty(0)


class _OfOneNumber(_Learner):
    """With an outcome that a model predicts as one number."""

    def _settled(self) -> dict[str, Any]:
        return {"higher_is_better": bool(self.higher_is_better)}

    def _value(self, model: Any, X: pd.DataFrame) -> Floats:
        said = np.asarray(model.predict(X), dtype=np.float64)
        return said if self.higher_is_better else -said

    higher_is_better: bool


class OfEvents(_OfOneNumber):
    """With a binary endpoint: the value is the probability of the event, or less it.

    Parameters
    ----------
    treatment, folds, seed, repeats, gate
        As in `OutcomeBenefit`.
    higher_is_better : bool
        Whether the event is good for the patient.
    """

    def __init__(
        self,
        treatment: str = "arm",
        higher_is_better: bool = False,
        folds: int = 5,
        seed: int = 1,
        repeats: int = 2,
        gate: float | None = None,
    ) -> None:
        self.treatment = treatment
        self.higher_is_better = higher_is_better
        self.folds = folds
        self.seed = seed
        self.repeats = repeats
        self.gate = gate

    def _balanced_by(self, outcome: NDArray[Any]) -> NDArray[Any]:
        return BinaryOutcome.of(outcome).event


class OfMeans(_OfOneNumber):
    """With a continuous endpoint: the value is the mean, or less it.

    Parameters
    ----------
    treatment, folds, seed, repeats, gate
        As in `OutcomeBenefit`.
    higher_is_better : bool
        Whether larger values are good for the patient.
    """

    def __init__(
        self,
        treatment: str = "arm",
        higher_is_better: bool = True,
        folds: int = 5,
        seed: int = 1,
        repeats: int = 2,
        gate: float | None = None,
    ) -> None:
        self.treatment = treatment
        self.higher_is_better = higher_is_better
        self.folds = folds
        self.seed = seed
        self.repeats = repeats
        self.gate = gate
