"""Risk by LightGBM's boosted trees with a Cox objective; an extra, `pip install 'trialml[boost]'`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from trialml.data.folds import splits
from trialml.errors import AnalysisError
from trialml.models import Model
from trialml.models.boosting import Boosted
from trialml.models.cox_model import FEWEST_EVENTS, proportional_survival
from trialml.models.outcome import checked_survival
from trialml.models.score import ScoredByConcordance
from trialml.models.tree_arrays import TreeArrays
from trialml.models.tree_design import TreeDesign
from trialml.survival.cox import baseline_cumulative_hazard
from trialml.survival.cox_predictor import PredictorLikelihood

__all__ = ["MODEL", "BoostedCox"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

# A trial's patients are few enough for a bin each, up to 255.
_BINNING = {"verbosity": -1, "min_data_in_bin": 1, "feature_pre_filter": False}
_NO_TREE: dict[str, Any] = {"tree_info": [{"tree_structure": {"leaf_value": 0.0}}]}


class BoostedCox(ScoredByConcordance, Boosted):
    """Trees that add up to the log hazard given covariates, proportional over follow-up.

    ``S(t | x) = exp(-H0(t) exp(f(x)))`` with f a sum of trees. LightGBM grows them on the gradient and the diagonal of the Hessian of
    the partial log-likelihood (Efron ties) by each patient's f, which `PredictorLikelihood` gives; the baseline hazard H0 is of
    Breslow's form with Efron's correction, at the f of the training patients. The number of trees is the one with the largest
    cross-validated partial likelihood, ``sum over folds of l(f_-k) - l_-k(f_-k)``, as in `CoxRidge`. Missing covariates are
    sent down the side of a split that fits better. The package lightgbm is needed to fit, not to predict.

    Parameters
    ----------
    treatment, iterations, learning_rate, leaves, ridge, folds, seed
        As in `Boosted`.
    fewest : int
        A leaf expects at least as many events (summed curvature) as this many patients have on average.

    Attributes
    ----------
    design_ : TreeDesign
    trees_ : TreeArrays
    baseline_times_, baseline_hazard_ : ndarray
        Cumulative hazard of a patient whose trees add up to 0.
    horizon_limit_ : float
        The last time at which a risk may be read.

    References
    ----------
    Ridgeway G. The state of boosting. Computing Science and Statistics 1999;31:172-181. Ke G, Meng Q, Finley T, et al. LightGBM: a
    highly efficient gradient boosting decision tree. Adv Neural Inf Process Syst 2017;30:3146-3154.
    """

    def fit(self, X: pd.DataFrame, y: NDArray[np.void]) -> Self:
        """Fit on covariates X, shape (n, p), and the structured outcome y, shape (n,).

        Rows of X with the same index are copies of one patient and stay together in the folds of the tuning.

        Raises
        ------
        AnalysisError
            If there are fewer than 5 events, a covariate orders them without an error, or lightgbm is not installed.
        DataError
            If y is no time to event.
        ModelInputError
            If a covariate is infinite or the arm is neither 0 nor 1.
        """
        time, event = checked_survival(y)
        if event.sum() < FEWEST_EVENTS:
            raise AnalysisError(
                f"A boosted Cox model cannot be fitted to {int(event.sum())} events: at least {FEWEST_EVENTS} are needed."
            )
        matrix = self._learn_columns(X)
        self._refuse_perfect_prediction(matrix, time, event)
        wanted = self.iterations
        if self.folds:
            wanted = self._best_number(matrix, time, event, self._tuning_folds(X, event))
        booster = _boosted(self._settings(event), wanted, matrix, time, event)
        self.trees_ = TreeArrays.of_lightgbm(_NO_TREE if booster is None else booster.dump_model())
        score = self.trees_.total(matrix)
        self.baseline_times_, self.baseline_hazard_ = baseline_cumulative_hazard(time, event, score)
        self.horizon_limit_ = float(time.max())
        return self

    def _settings(self, event: Flags) -> dict[str, Any]:
        return {
            "learning_rate": self.learning_rate,
            "num_leaves": self.leaves,
            # LightGBM counts no rows, but guesses them from the curvature, of which patients with early events have little.
            "min_data_in_leaf": 1,
            "min_sum_hessian_in_leaf": self.fewest * float(event.mean()),
            "lambda_l2": self.ridge,
            "seed": self.seed,
            # One thread adds up in one order, and a trial's rows are too few to share.
            "num_threads": 1,
            "deterministic": True,
            "force_row_wise": True,
            "verbosity": -1,
        }

    def _best_number(self, matrix: Floats, time: Floats, event: Flags, fold: NDArray[np.intp]) -> int:
        whole, total = PredictorLikelihood(time, event), np.zeros(self.iterations)
        for train, _ in splits(fold):
            if not event[train].any():
                continue
            part = PredictorLikelihood(time[train], event[train])
            reached: list[float] = []

            def left_out(
                score: Floats, _: Any, train: NDArray[np.intp] = train, part: PredictorLikelihood = part,
                reached: list[float] = reached,
            ) -> tuple[str, float, bool]:  # fmt: skip
                reached.append(whole.log_likelihood(score) - part.log_likelihood(score[train]))
                return "left out", reached[-1], True

            _boosted(
                self._settings(event[train]),
                self.iterations,
                matrix[train],
                time[train],
                event[train],
                matrix,
                left_out,
            )
            # Trees that find no split end the growing: further ones would change nothing.
            if reached:
                total += np.pad(reached, (0, self.iterations - len(reached)), mode="edge")
        return int(np.argmax(total)) + 1

    def log_hazard(self, X: pd.DataFrame) -> Floats:
        """Return the log hazard relative to a patient whose trees add up to 0, shape (n,)."""
        check_is_fitted(self, "trees_")
        return self.trees_.total(self.design_.matrix(X))

    def predict(self, X: pd.DataFrame) -> Floats:
        """Return the log hazard, higher is worse, shape (n,)."""
        return self.log_hazard(X)

    def survival(self, X: pd.DataFrame, times: ArrayLike) -> Floats:
        """Return S(t | x), shape (n, number of times).

        Raises
        ------
        AnalysisError
            If a time lies beyond the follow-up of the training data.
        """
        check_is_fitted(self, "trees_")
        baseline = (self.baseline_times_, self.baseline_hazard_)
        return proportional_survival(self.log_hazard(X), *baseline, times, self.horizon_limit_)

    def risk(self, X: pd.DataFrame, horizon: float) -> Floats:
        """Return 1 - S(horizon | x), shape (n,)."""
        return np.asarray(1.0 - self.survival(X, [horizon])[:, 0])

    def state(self) -> dict[str, Any]:
        """Return what was learned as plain JSON types."""
        return {
            "design": self.design_.state(),
            "trees": self.trees_.state(),
            "baseline_times": self.baseline_times_.tolist(),
            "baseline_hazard": self.baseline_hazard_.tolist(),
            "horizon_limit": self.horizon_limit_,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the model that `state` described."""
        model = cls(treatment=state["design"]["treatment"])
        model.design_ = TreeDesign.from_state(state["design"])
        model.trees_ = TreeArrays.from_state(state["trees"])
        model.baseline_times_ = np.asarray(state["baseline_times"], dtype=np.float64)
        model.baseline_hazard_ = np.asarray(state["baseline_hazard"], dtype=np.float64)
        model.horizon_limit_ = float(state["horizon_limit"])
        return model


def _boosted(
    settings: Mapping[str, Any],
    trees: int,
    matrix: Floats,
    time: Floats,
    event: Flags,
    watched: Floats | None = None,
    watch: Any = None,
) -> Any:
    """Return LightGBM's booster of a Cox model, None where no column varies.

    After each tree `watch` sees the scores of the rows `watched`.
    """
    try:
        import lightgbm
    except (ImportError, OSError) as error:  # OSError where the system has no OpenMP library
        raise AnalysisError(
            "The model boosted_cox needs the package lightgbm, which is not installed or lacks the system's OpenMP library: pip install "
            "'trialml[boost]' (and libgomp1), or choose boosted_hazard, which needs nothing more."
        ) from error
    known = np.where(np.isnan(matrix), np.inf, matrix)
    if not len(matrix) or not (known.min(axis=0) < known.max(axis=0)).any():
        return None
    likelihood = PredictorLikelihood(time, event)

    def slopes(score: Floats, _: Any) -> tuple[Floats, Floats]:
        found = likelihood.derivatives(score)
        return -found.gradient, found.curvature

    data = lightgbm.Dataset(matrix, label=time, params=dict(_BINNING))
    others = []
    if watched is not None:
        others.append(lightgbm.Dataset(watched, label=np.zeros(len(watched)), reference=data, params=dict(_BINNING)))
    return lightgbm.train({**settings, "objective": slopes}, data, trees, valid_sets=others, feval=watch)


MODEL = Model(
    name="boosted_cox",
    question="risk",
    words=(
        "LightGBM's boosted trees that add up to the log hazard of a proportional hazards model, the arm as one covariate, and the "
        "number of trees chosen by cross-validated partial likelihood"
    ),
    estimator=BoostedCox,
    needs="lightgbm",
)
