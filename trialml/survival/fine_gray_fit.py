"""Fine and Gray's model in arrays: the weighted risk sets as two running sums, so that no row is expanded."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from trialml.errors import AnalysisError
from trialml.survival.terms import dependent_words
from trialml.survival.ties import Array, Codes, distinct_times, nobody

__all__ = ["FineGrayArrays", "fine_gray_likelihood", "fit_fine_gray"]

STEPS = 60
HALVINGS = tuple(0.5**k for k in range(20))
RUNAWAY = 1e-7
FLAT = 1e-10

Ties = Literal["breslow", "efron"]


class FineGrayArrays(NamedTuple):
    """A fitted Fine-Gray model of p columns.

    Attributes
    ----------
    coefficients
        Log subdistribution hazard ratios, shape ``(p,)``.
    covariance
        Fine and Gray's sandwich, which includes the estimation of the censoring weights, shape ``(p, p)``.
    covariance_model
        The inverse of the information, which takes the weights as known, shape ``(p, p)``.
    log_likelihood, log_likelihood_null
        Of the weighted partial likelihood.
    times, hazard
        The event times and the baseline subdistribution hazard's jumps, where every column is 0; shape ``(k,)``.
    """

    coefficients: Array
    covariance: Array
    covariance_model: Array
    log_likelihood: float
    log_likelihood_null: float
    times: Array
    hazard: Array


class _Data(NamedTuple):
    X: Array
    times: Array
    place: Codes
    dead: Codes  # rows with the event of interest, in order of time
    share: Array  # what Efron takes off for the earlier of tied events
    tie: Codes  # the tie (event time) of each row of `dead`
    at: Codes  # the position among `times` of each tie
    competing: Array
    censored: Array
    left_g: Array  # probability of being uncensored just before each time
    kept: Array  # 1 / left_g at the competing event, 0 for the others


class _State(NamedTuple):
    log_likelihood: float
    relative: Array
    total: Array  # of each row of `dead`
    mean: Array  # of the covariates in the risk set of each row of `dead`
    shift: float


def fine_gray_likelihood(time: Array, code: Codes, X: Array, cause: int, beta: Array, ties: Ties = "breslow") -> float:
    """Return the weighted log partial likelihood at coefficients `beta`, shape ``(p,)``; arguments as in `fit_fine_gray`."""
    return _state(_prepare(time, code, X, cause, ties), beta).log_likelihood


def fit_fine_gray(
    time: Array, code: Codes, X: Array, cause: int, names: tuple[str, ...], ties: Ties, ridge: Array | None = None
) -> FineGrayArrays:
    """Return the proportional subdistribution hazards model of one cause.

    Parameters
    ----------
    time, code
        Checked follow-up and 0 for censored, else the cause's number; shape ``(n,)``.
    X
        Centred columns, shape ``(n, p)``.
    cause
        The cause of interest.
    names
        Of the columns, for the messages.
    ties
        ``"breslow"``: as ``cmprsk::crr``, whose Kaplan-Meier estimate of censoring counts an event at the time of a
        censoring as at risk; ``"efron"``: as ``survival::finegray`` with ``coxph``, where it has left before.
    ridge
        Penalties lambda_j of 0 or more, shape ``(p,)``: the likelihood less ``sum(lambda_j beta_j^2) / 2`` is maximised, and
        both covariances take the penalised information. None for none.

    Returns
    -------
    FineGrayArrays
        A patient with a competing event at T stays in later risk sets with weight ``G(t-) / G(T-)``. A risk-set sum is
        therefore that of the patients still followed plus ``G(t-)`` times a running sum of ``r / G(T-)``.

    Raises
    ------
    AnalysisError
        If the cause has no event, a column is flat or collinear, or a coefficient runs away.

    References
    ----------
    Fine JP, Gray RJ. A proportional hazards model for the subdistribution of a competing risk. J Am Stat Assoc
    1999;94:496-509.
    """
    data = _prepare(time, code, X, cause, ties)
    null = _state(data, np.zeros(X.shape[1]))
    penalty = np.zeros(X.shape[1]) if ridge is None else ridge
    at_zero = _information(data, null) + np.diag(penalty)
    _refuse_flat(at_zero, data, names)
    beta, state = _newton(data, null, names, penalty)
    information = _information(data, state) + np.diag(penalty)
    _refuse_runaway(beta, information, at_zero, data, names)
    inverse = np.asarray(np.linalg.inv(information), dtype=float)
    score = _patient_scores(data, state)
    jumps = np.bincount(data.tie, 1 / state.total) * np.exp(-state.shift)
    covariance = np.asarray(inverse @ (score.T @ score) @ inverse, dtype=float)
    return FineGrayArrays(
        beta, covariance, inverse, state.log_likelihood, null.log_likelihood, data.times[data.at], jumps
    )


def _prepare(time: Array, code: Codes, X: Array, cause: int, ties: Ties) -> _Data:
    times, place = distinct_times(time)
    size = times.size
    interest, censored = code == cause, code == 0
    competing = ~interest & ~censored
    dead = np.flatnonzero(interest)
    if dead.size == 0:
        raise AnalysisError(f"{nobody(code.size)} had the event of interest: this model needs at least one")
    dead = dead[np.argsort(place[dead], kind="stable")]
    at, tie, count = np.unique(place[dead], return_inverse=True, return_counts=True)
    first = np.concatenate(([0], np.cumsum(count)[:-1]))
    share = (np.arange(dead.size) - first[tie]) / count[tie] if ties == "efron" else np.zeros(dead.size)
    n_risk = np.cumsum(np.bincount(place, minlength=size)[::-1])[::-1].astype(float)
    if ties == "efron":
        n_risk = n_risk - np.bincount(place, ~censored, size)
    lost = np.bincount(place, censored, size)
    g = np.cumprod(1 - lost / np.where(lost > 0, n_risk, 1.0))
    left_g = np.concatenate(([1.0], g[:-1]))
    # Nobody is at risk after G has reached 0, so what stands in its place there is never used.
    kept = np.where(competing, 1 / np.where(left_g > 0, left_g, 1.0)[place], 0.0)
    return _Data(X, times, place, dead, share, tie, at, competing, censored, left_g, kept)


def _sums(data: _Data, values: Array) -> Array:
    """Return each event time's sum over its weighted risk set of `values`, shape ``(k, ...)``."""
    here = _by(data.place, values, data.times.size)
    weighted = values * data.kept.reshape((-1,) + (1,) * (values.ndim - 1))
    gone = _by(data.place, weighted, data.times.size)
    still = np.cumsum(here[::-1], axis=0)[::-1]
    before = np.concatenate((np.zeros((1, *values.shape[1:])), np.cumsum(gone, axis=0)[:-1]))
    g = data.left_g[data.at].reshape((-1,) + (1,) * (values.ndim - 1))
    return np.asarray(still[data.at] + g * before[data.at])


def _state(data: _Data, beta: Array) -> _State:
    eta = data.X @ beta
    shift = float(eta.max())
    r = np.exp(eta - shift)
    rx = r[:, None] * data.X
    own, own_x = _tied(data, r[data.dead]), _tied(data, rx[data.dead])
    total = _sums(data, r)[data.tie] - data.share * own[data.tie]
    mean = (_sums(data, rx)[data.tie] - data.share[:, None] * own_x[data.tie]) / total[:, None]
    log_likelihood = float((eta[data.dead] - shift).sum() - np.log(total).sum())
    return _State(log_likelihood, r, total, mean, shift)


def _accumulated(data: _Data, steps: Array, own: Array) -> Array:
    """Return what each patient gathers of `steps` (one an event time) while at risk; `own` is taken off at the event."""
    shape = (data.times.size, *steps.shape[1:])
    at_times = np.zeros(shape)
    at_times[data.at] = steps
    upto = np.cumsum(at_times, axis=0)
    weighted = at_times * data.left_g.reshape((-1,) + (1,) * (steps.ndim - 1))
    later = np.cumsum(weighted[::-1], axis=0)[::-1] - weighted
    kept = data.kept.reshape((-1,) + (1,) * (steps.ndim - 1))
    out = upto[data.place] + kept * later[data.place]
    out[data.dead] -= own[data.tie]
    return np.asarray(out)


def _tied(data: _Data, values: Array) -> Array:
    return _by(data.tie, values, data.at.size)


def _by(place: Codes, values: Array, size: int) -> Array:
    """Return the sums of `values`, of shape ``(n,)`` or ``(n, p)``, at each place."""
    if values.ndim == 1:
        return np.asarray(np.bincount(place, values, size), dtype=float)
    return np.column_stack([np.bincount(place, column, size) for column in values.T])


def _hazards(data: _Data, state: _State) -> Array:
    step = 1 / state.total
    return _accumulated(data, _tied(data, step), _tied(data, data.share * step))


def _information(data: _Data, state: _State) -> Array:
    weight = state.relative * _hazards(data, state)
    return np.asarray(data.X.T @ (data.X * weight[:, None]) - state.mean.T @ state.mean)


def _newton(data: _Data, state: _State, names: tuple[str, ...], penalty: Array) -> tuple[Array, _State]:
    beta = np.zeros(data.X.shape[1])
    for _ in range(STEPS):
        gradient = data.X[data.dead].sum(axis=0) - state.mean.sum(axis=0) - penalty * beta
        value = state.log_likelihood - 0.5 * float(penalty @ beta**2)
        try:
            step = np.linalg.solve(_information(data, state) + np.diag(penalty), gradient)
        except np.linalg.LinAlgError:
            break
        decrement = float(gradient @ step)
        for length in HALVINGS:
            trial = beta + length * step
            found = _state(data, trial)
            if found.log_likelihood - 0.5 * float(penalty @ trial**2) >= value - 1e-9 * (1 + abs(value)):
                break
        else:
            break
        beta, state = trial, found
        if decrement < 1e-12:
            return beta, state
    raise AnalysisError(
        f"the Fine-Gray model did not converge; '{_largest(beta, data, names)}' moved furthest: look for a column that nearly "
        "separates events from the rest, and drop it"
    )


def _largest(beta: Array, data: _Data, names: tuple[str, ...]) -> str:
    return names[int(np.argmax(np.abs(beta) * data.X.std(axis=0)))]


def _refuse_flat(information: Array, data: _Data, names: tuple[str, ...]) -> None:
    variance = np.diag(information)
    spread = np.mean(data.X**2, axis=0) * data.dead.size
    flat = np.flatnonzero(~(variance > np.maximum(FLAT * spread, 1e-300)))
    if flat.size:
        raise AnalysisError(f"'{names[flat[0]]}' varies in no risk set, so it has no hazard ratio: drop it")
    scale = np.sqrt(variance)
    values, vectors = np.linalg.eigh(information / np.outer(scale, scale))
    if values[0] < 1e-11 * values.size:
        column = names[int(np.argmax(np.abs(vectors[:, 0])))]
        raise AnalysisError(dependent_words(column, values.size, len(data.X)))


def _refuse_runaway(beta: Array, at_end: Array, at_zero: Array, data: _Data, names: tuple[str, ...]) -> None:
    scale = np.sqrt(np.diag(at_zero))
    root = np.linalg.cholesky(at_zero / np.outer(scale, scale))
    half = np.linalg.solve(root, at_end / np.outer(scale, scale))
    if float(np.linalg.eigvalsh(np.linalg.solve(root, half.T))[0]) < RUNAWAY:
        raise AnalysisError(
            f"the coefficient of '{_largest(beta, data, names)}' runs away to infinity: events and the rest are separated by "
            "it, so pool its levels or drop it"
        )


def _patient_scores(data: _Data, state: _State) -> Array:
    """Return each patient's part of the score and of the estimation of G, shape ``(n, p)``."""
    step = 1 / state.total
    hazard, hazard_x = _tied(data, step), _tied(data, step[:, None] * state.mean)
    own_x = _tied(data, (data.share * step)[:, None] * state.mean)
    gathered, gathered_x = _hazards(data, state), _accumulated(data, hazard_x, own_x)
    score = -state.relative[:, None] * (data.X * gathered[:, None] - gathered_x)
    count = np.bincount(data.tie)
    score[data.dead] += data.X[data.dead] - (_tied(data, state.mean) / count[:, None])[data.tie]

    # q(u): how the score moves with the censoring hazard at u, through patients with an earlier competing event.
    size, p = data.times.size, data.X.shape[1]
    weighted = state.relative * data.kept
    gone, gone_x = _by(data.place, weighted, size), _by(data.place, weighted[:, None] * data.X, size)
    before = np.cumsum(gone) - gone
    before_x = np.cumsum(gone_x, axis=0) - gone_x
    later, later_x = np.zeros(size), np.zeros((size, p))
    later[data.at] = data.left_g[data.at] * hazard
    later_x[data.at] = data.left_g[data.at][:, None] * hazard_x
    later, later_x = np.cumsum(later[::-1])[::-1], np.cumsum(later_x[::-1], axis=0)[::-1]
    q = before_x * later[:, None] - before[:, None] * later_x
    n_risk = np.cumsum(np.bincount(data.place, minlength=size)[::-1])[::-1].astype(float)
    lost = np.bincount(data.place, data.censored, size)
    drift = np.cumsum(q * (lost / n_risk**2)[:, None], axis=0)
    from_g = np.where(data.censored[:, None], (q / n_risk[:, None])[data.place], 0.0) - drift[data.place]
    return np.asarray(score + from_g)
