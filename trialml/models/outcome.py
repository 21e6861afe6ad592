"""Time-to-event outcomes as scikit-learn wants them: one structured array."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["survival_outcome"]


def survival_outcome(time: ArrayLike, event: ArrayLike) -> NDArray[np.void]:
    """Return a structured array with fields ``event`` (boolean) and ``time`` (float), shape (n,)."""
    times = np.asarray(time, dtype=np.float64)
    outcome = np.empty(len(times), dtype=[("event", np.bool_), ("time", np.float64)])
    outcome["event"], outcome["time"] = np.asarray(event, dtype=np.bool_), times
    return outcome
