"""Risk by a foundation model for tables, in context, from a checkpoint file at hand; an extra, `pip install 'trialml[foundation]'`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from trialml.errors import AnalysisError, ModelInputError
from trialml.models.columns import names_of
from trialml.models.cox_model import FEWEST_EVENTS, checked_times_of_risk
from trialml.models.outcome import BinaryOutcome, checked_survival, window_outcome
from trialml.models.score import ScoredByConcordance
from trialml.models.tree_design import TreeDesign
from trialml.survival.ipcw import FEWEST_AT_RISK
from trialml.survival.ties import not_after

__all__ = ["FoundationSurvival"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_ARRAYS = ("matrix", "time", "event")


class FoundationSurvival(ScoredByConcordance, BaseEstimator):  # type: ignore[misc]
    """TabICL's classifier asked, at each of several horizons, whether the event has happened by then.

    Nothing is trained: the patients of `fit` are the context that the checkpoint reads beside each new patient. It takes no
    weights, so those censored before a horizon are made up for by resampling: a patient whose state at the horizon is known stands in
    the context ``floor`` or ``ceil`` of ``m w / sum(w)`` times, ``w = 1 / G(u-)`` (`BinaryOutcome.of`), by systematic
    sampling from the seed. What that adds in noise is in `resampling_error`. Risks at the horizons are made to rise by isotonic regression
    and joined by straight lines from 0 at time 0; one horizon alone is classification at that horizon. One thread of the
    processor is used, so that the bits repeat.

    Parameters
    ----------
    treatment : str or None
        Column of X that holds the arm (0 or 1), a column like the others.
    checkpoint : path or None
        The file. It is never downloaded.
    sha256 : str or None
        What the file must be; None records what it is.
    licence : str
        That of the checkpoint, as its makers state it; recorded.
    horizons : sequence of float or None
        Where the state is asked; None takes `grid` quantiles of the event times.
    grid, draws, members, most, seed : int
        Horizons taken, resamplings of the context at each, TabICL's ensemble members, most rows of a context, seed.

    Attributes
    ----------
    horizons_ : ndarray of shape (g,)
    horizon_limit_ : float
        The last horizon.
    checkpoint_sha256_, context_sha256_ : str
        Of the checkpoint's file and of the content that `write_context` writes.
    licence_ : str
    threads_, device_ : int, str
        1 and ``"cpu"``.

    References
    ----------
    Qu J, Holzmuller D, Varoquaux G, Le Morvan M. TabICL: a tabular foundation model for in-context learning on large data. ICML 2025.
    """

    def __init__(
        self,
        treatment: str | None = None,
        checkpoint: str | Path | None = None,
        sha256: str | None = None,
        licence: str = "",
        horizons: Sequence[float] | None = None,
        grid: int = 8,
        draws: int = 2,
        members: int = 4,
        most: int = 10_000,
        seed: int = 1,
    ) -> None:
        self.treatment = treatment
        self.checkpoint = checkpoint
        self.sha256 = sha256
        self.licence = licence
        self.horizons = horizons
        self.grid = grid
        self.draws = draws
        self.members = members
        self.most = most
        self.seed = seed

    def fit(self, X: pd.DataFrame, y: NDArray[np.void]) -> Self:
        """Take covariates X, shape (n, p), and the structured outcome y, shape (n,), as the context.

        Raises
        ------
        AnalysisError
            If there are fewer than 5 events, or too few are followed through a horizon.
        ModelInputError
            If the checkpoint is absent, another file or of another shape, or the extra is not installed.
        """
        time, event = checked_survival(y)
        if event.sum() < FEWEST_EVENTS:
            raise AnalysisError(
                f"The foundation model has {int(event.sum())} events in its context: at least {FEWEST_EVENTS} are needed."
            )
        self._network, self.checkpoint_sha256_ = _opened(self.checkpoint, self.sha256)
        self.feature_names_in_ = names_of(X)
        self.design_ = TreeDesign.learn(X, self.treatment)
        self._context = {"matrix": self.design_.matrix(X), "time": time, "event": event}
        self.context_sha256_ = hashlib.sha256(_context_bytes(self._context)).hexdigest()
        self.horizons_ = self._horizons(time, event)
        self.horizon_limit_ = float(self.horizons_[-1])
        self.licence_ = self.licence or "not stated"
        self.threads_, self.device_ = 1, "cpu"
        for horizon in self.horizons_:  # refused here rather than at the first patient
            self._known_at(float(horizon))
        return self

    def _horizons(self, time: Floats, event: Flags) -> Floats:
        if self.horizons is not None:
            return np.unique(np.asarray(self.horizons, dtype=np.float64))
        # Half of those with the event and enough of those without have to be seen at the ends.
        end = np.sort(time)[-min(FEWEST_AT_RISK, len(time))]
        happened = time[event & not_after(time, end)]
        wanted = np.arange(1, self.grid + 1) / self.grid
        return np.unique(np.quantile(happened, wanted, method="inverted_cdf")) if len(happened) else np.array([end])

    def _known_at(self, horizon: float) -> BinaryOutcome:
        return BinaryOutcome.of(window_outcome(self._context["time"], self._context["event"], horizon))

    def _risks(self, X: pd.DataFrame) -> Floats:
        """Return each draw's risk at each horizon as the checkpoint says it, shape (draws, n, g)."""
        check_is_fitted(self, "horizons_")
        if not hasattr(self, "_context"):
            raise ModelInputError(
                "The foundation model's context is not here: it is patients' data and stays outside the registry; give its file "
                f"(sha256 {self.context_sha256_[:12]}...) and the checkpoint to attach()."
            )
        matrix = self.design_.matrix(X)
        risks = np.empty((self.draws, len(matrix), len(self.horizons_)))
        for place, horizon in enumerate(self.horizons_):
            known = self._known_at(float(horizon))
            for draw in range(self.draws):
                rows = _systematic(known.weight, self.most, np.random.default_rng([self.seed, place, draw]))
                risks[draw, :, place] = self._classified(rows, known.event, matrix)
        return risks

    def _classified(self, rows: NDArray[np.intp], event: Flags, matrix: Floats) -> Floats:
        if event[rows].all() or not event[rows].any():
            return np.full(len(matrix), float(event[rows][0]))
        with _one_thread():
            asked = _classifier(self._network, self.members, self.seed).fit(self._context["matrix"][rows], event[rows])
            return np.asarray(asked.predict_proba(matrix)[:, 1], dtype=np.float64)

    def survival(self, X: pd.DataFrame, times: ArrayLike) -> Floats:
        """Return S(t | x), shape (n, number of times), never rising in t.

        Raises
        ------
        AnalysisError
            If a time lies beyond the last horizon.
        ModelInputError
            If the model was read and its context is not attached.
        """
        check_is_fitted(self, "horizons_")
        wanted = checked_times_of_risk(times, self.horizon_limit_)
        rising = _rising(self._risks(X).mean(axis=0))
        at = np.concatenate([[0.0], self.horizons_])
        risk = np.column_stack([np.zeros(len(rising)), rising])
        return np.asarray([1 - np.interp(wanted, at, one) for one in risk]).reshape(len(risk), len(wanted))

    def risk(self, X: pd.DataFrame, horizon: float) -> Floats:
        """Return 1 - S(horizon | x), shape (n,)."""
        return np.asarray(1.0 - self.survival(X, [horizon])[:, 0])

    def predict(self, X: pd.DataFrame) -> Floats:
        """Return the risk averaged over the horizons, higher is worse, shape (n,)."""
        return np.asarray(1.0 - self.survival(X, self.horizons_).mean(axis=1))

    def resampling_error(self, X: pd.DataFrame) -> Floats:
        """Return the standard error, from the draws, that resampling adds to the risk at each horizon, shape (n, g).

        Raises
        ------
        AnalysisError
            If there is one draw alone.
        """
        if self.draws < 2:
            raise AnalysisError("draws = 1 does not show how much resampling the context adds: take 2 or more.")
        return np.asarray(self._risks(X).std(axis=0, ddof=1) / np.sqrt(self.draws))

    def write_context(self, path: Path) -> None:
        """Write the context, which is patients' data, to a file of your own; the model's state names it by its sha256."""
        path.write_bytes(_context_bytes(self._context))

    def attach(self, checkpoint: str | Path, context: str | Path) -> Self:
        """Give a model that was read its two files.

        Raises
        ------
        ModelInputError
            If either is absent or another file than the one that the model was made with.
        """
        import safetensors.numpy

        self._network, _ = _opened(checkpoint, self.checkpoint_sha256_)
        content, _ = _content(context, self.context_sha256_, "context")
        arrays = safetensors.numpy.load(content)
        self._context = {name: arrays[name] for name in _ARRAYS}
        return self

    def state(self) -> dict[str, Any]:
        """Return what the model is as plain JSON types: no patient, and no weight of the checkpoint."""
        return {
            "design": self.design_.state(),
            "horizons": self.horizons_.tolist(),
            "checkpoint_sha256": self.checkpoint_sha256_,
            "context_sha256": self.context_sha256_,
            "licence": self.licence_,
            "asked": {name: getattr(self, name) for name in ("draws", "members", "most", "seed")},
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the model that `state` described, which scores once it is given its files by `attach`."""
        model = cls(treatment=state["design"]["treatment"], **state["asked"])
        model.design_ = TreeDesign.from_state(state["design"])
        model.horizons_ = np.asarray(state["horizons"], dtype=np.float64)
        model.horizon_limit_ = float(model.horizons_[-1])
        model.checkpoint_sha256_, model.context_sha256_ = state["checkpoint_sha256"], state["context_sha256"]
        model.licence_, model.threads_, model.device_ = state["licence"], 1, "cpu"
        return model


def _systematic(weight: Floats, most: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return rows drawn in proportion to their weights, each as often as is expected or up to one more or less."""
    total = np.cumsum(weight)
    size = min(len(weight), most)
    points = (np.arange(size) + rng.random()) / size * total[-1]
    return np.asarray(np.searchsorted(total, points, side="right"), dtype=np.intp).clip(max=len(weight) - 1)


def _rising(risk: Floats) -> Floats:
    """Return each row's isotonic regression on its place, shape (n, g)."""
    from sklearn.isotonic import isotonic_regression

    return np.asarray([isotonic_regression(row) for row in risk], dtype=np.float64).reshape(risk.shape)


def _context_bytes(context: Mapping[str, NDArray[Any]]) -> bytes:
    import safetensors.numpy

    return bytes(safetensors.numpy.save({name: np.ascontiguousarray(context[name]) for name in _ARRAYS}))


def _content(path: str | Path | None, wanted: str | None, what: str) -> tuple[bytes, str]:
    """Return a file's content and its sha256."""
    if path is None or not Path(path).is_file():
        named = "no file is named" if path is None else f"'{path}' is no file"
        raise ModelInputError(f"The foundation model's {what}: {named}, and none is ever downloaded: give its path.")
    content = Path(path).read_bytes()
    seen = hashlib.sha256(content).hexdigest()
    if wanted is not None and seen != wanted.lower():
        raise ModelInputError(
            f"The foundation model's {what} '{path}' has the sha256 {seen[:12]}..., not {wanted[:12]}...: give the file that was meant."
        )
    return content, seen


def _opened(path: str | Path | None, wanted: str | None) -> tuple[Any, str]:
    """Return a checkpoint's network, and the sha256 of its file."""
    import io

    try:
        import torch
        from tabicl._model.tabicl import TabICL
    except ImportError as error:
        raise ModelInputError(
            "A foundation model needs tabicl and torch, which are not installed: pip install 'trialml[foundation]'."
        ) from error
    content, digest = _content(path, wanted, "checkpoint")
    try:
        # Weights alone: a pickle that would run code is refused.
        held = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        network = TabICL(**held["config"])
        network.load_state_dict(held["state_dict"])
    except Exception as error:
        raise ModelInputError(
            f"The foundation model's checkpoint '{path}' has not the shape of a TabICL classifier ({type(error).__name__}): give one "
            "of its classification checkpoints."
        ) from error
    if network.max_classes < 2:
        raise ModelInputError(
            f"The foundation model's checkpoint '{path}' is of a regression, with no classes: give a classification checkpoint."
        )
    return network.eval(), digest


def _classifier(network: Any, members: int, seed: int) -> Any:
    from tabicl import TabICLClassifier

    class Offline(TabICLClassifier):  # type: ignore[misc]
        """Takes the network at hand where its parent would look for a file, and then for the internet."""

        def _load_model(self) -> None:
            self.model_ = network

    return Offline(
        n_estimators=members, allow_auto_download=False, device="cpu", use_amp=False, use_fa3=False, offload_mode=False,
        random_state=seed,
    )  # fmt: skip


@contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
