"""What must not change a Cox model, for drawn data; and the example that every textbook prints."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from trialml.errors import AnalysisError
from trialml.survival.cox import cox, fit_cox
from trialml.survival.cox_fit import CoxProblem

ROOT = Path(__file__).parents[2]


def drawn(seed, n=60, p=2):
    """A data set with ties, strata, weights and delayed entry."""
    rng = np.random.default_rng(seed)
    time = rng.integers(2, 15, n).astype(float)
    return {
        "time": time,
        "event": rng.random(n) < 0.7,
        "X": rng.normal(size=(n, p)),
        "strata": rng.integers(0, 3, n),
        "weights": rng.uniform(0.5, 2, n),
        "entry": np.floor(time * rng.random(n) * 0.8),
    }


def fitted(arguments, **more):
    try:
        return fit_cox(**arguments, **more)
    except AnalysisError:
        assume(condition=False)


def same(one, other, rtol=1e-8):
    for name in ("coefficients", "covariance", "log_likelihood", "score"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=rtol, atol=1e-10, err_msg=name)


seeds = st.integers(0, 2**32 - 1)
methods = st.sampled_from(["efron", "breslow"])


@settings(max_examples=25)
@given(seeds, methods)
def test_the_order_of_rows_changes_nothing(seed, ties):
    data = drawn(seed)
    one = fitted(data, ties=ties, id=np.arange(60))
    order = np.random.default_rng(seed).permutation(60)
    other = fit_cox(**{name: values[order] for name, values in data.items()}, ties=ties, id=order)
    same(one, other)
    np.testing.assert_allclose(one.robust_covariance, other.robust_covariance, rtol=1e-8, atol=1e-10)


@settings(max_examples=25)
@given(seeds, methods)
def test_splitting_a_row_at_any_time_changes_nothing(seed, ties):
    data = drawn(seed)
    one = fitted(data, ties=ties, id=np.arange(60))
    rng = np.random.default_rng(seed)
    at = data["entry"] + (data["time"] - data["entry"]) * rng.uniform(0.05, 0.95, 60)
    at[::3] = np.clip(np.round(at[::3]), data["entry"][::3] + 0.5, data["time"][::3] - 0.5)  # some at event times
    early = data | {"time": at, "event": np.zeros(60, bool)}
    late = data | {"entry": at}
    split = {name: np.concatenate((early[name], late[name])) for name in data}
    other = fit_cox(**split, ties=ties, id=np.tile(np.arange(60), 2))
    same(one, other)
    np.testing.assert_allclose(one.robust_covariance, other.robust_covariance, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(one.robust_score, other.robust_score, rtol=1e-8)


@settings(max_examples=25)
@given(seeds)
def test_doubled_weights_are_doubled_rows_for_breslow(seed):
    data = drawn(seed)
    one = fitted(data | {"weights": 2 * data["weights"]}, ties="breslow")
    other = fit_cox(**{name: np.repeat(values, 2, axis=0) for name, values in data.items()}, ties="breslow")
    same(one, other)


@settings(max_examples=25)
@given(seeds, methods)
def test_times_a_billionth_apart_are_ties(seed, ties):
    data = drawn(seed)
    one = fitted(data, ties=ties)
    rng = np.random.default_rng(seed)
    moved = {name: data[name] * (1 + rng.choice([0.0, 1e-9], 60)) for name in ("time", "entry")}
    same(one, fit_cox(**data | moved, ties=ties))


@settings(max_examples=25)
@given(seeds, st.floats(-4, 4), st.floats(-1e3, 1e3))
def test_units_and_origins_of_covariates_change_only_their_coefficients(seed, power, origin):
    data = drawn(seed)
    one = fitted(data)
    scale = np.array([10.0**power, 1.0])
    other = fit_cox(**data | {"X": data["X"] * scale + origin * scale})
    np.testing.assert_allclose(other.coefficients * scale, one.coefficients, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(other.log_likelihood, one.log_likelihood, rtol=1e-10)


@settings(max_examples=25)
@given(seeds, methods)
def test_entry_at_zero_is_no_entry(seed, ties):
    data = drawn(seed)
    del data["entry"]
    same(fitted(data, ties=ties), fit_cox(**data, entry=np.zeros(60), ties=ties))


@settings(max_examples=15)
@given(seeds, methods)
def test_likelihood_and_derivatives_with_delayed_entry_are_those_of_the_definition(seed, ties):
    data = drawn(seed, n=30)
    problem = CoxProblem(**data, ties=ties)
    rng = np.random.default_rng(seed)
    beta = rng.normal(size=2)

    def value(b):
        eta, total = data["X"] @ b, 0.0
        for s in range(3):
            for t in np.unique(data["time"][data["event"] & (data["strata"] == s)]):
                inside = data["strata"] == s
                dead = inside & data["event"] & (data["time"] == t)
                at_risk = inside & (data["time"] >= t) & (data["entry"] < t)
                r, m, w = data["weights"] * np.exp(eta), dead.sum(), data["weights"]
                total += np.sum((w * eta)[dead])
                shares = [k / m if ties == "efron" else 0.0 for k in range(m)]
                total -= w[dead].mean() * sum(np.log(r[at_risk].sum() - f * r[dead].sum()) for f in shares)
        return total

    found, gradient, information = problem.derivatives(beta)
    assert found == pytest.approx(value(beta), rel=1e-10)
    for j, one in enumerate(np.eye(2)):
        slope = (value(beta + 1e-5 * one) - value(beta - 1e-5 * one)) / 2e-5
        assert gradient[j] == pytest.approx(slope, abs=1e-6)
        curve = (problem.derivatives(beta + 1e-5 * one)[1] - problem.derivatives(beta - 1e-5 * one)[1]) / 2e-5
        np.testing.assert_allclose(-information[j], curve, atol=1e-6)


def test_huge_hazards_that_leave_do_not_spoil_the_sums_of_those_who_stay():
    """Sums from which much larger numbers were taken off are added up afresh: compared with sums that never held them."""
    rng = np.random.default_rng(4)
    n = 200
    time = np.concatenate((rng.uniform(1, 5, n), rng.uniform(6, 9, 3)))
    entry = np.concatenate((np.zeros(n), np.full(3, 5.5)))
    event = np.concatenate((rng.random(n) < 0.7, [True] * 3))
    X = np.concatenate((rng.normal(size=n), rng.normal(size=3)))[:, None]
    offset = np.concatenate((np.zeros(n), np.full(3, 30.0)))
    with_them = CoxProblem(time, event, X, entry=entry, offset=offset).derivatives([0.3])
    apart = CoxProblem(time, event, X, strata=np.repeat([0, 1], [n, 3]), offset=offset).derivatives([0.3])
    np.testing.assert_allclose(with_them[0], apart[0], rtol=1e-12)
    np.testing.assert_allclose(with_them[1], apart[1], rtol=1e-9)
    np.testing.assert_allclose(with_them[2], apart[2], rtol=1e-9)


REMISSION = """
import numpy as np
rng = np.random.default_rng(1)
from trialml.survival.cox import fit_cox
X = rng.normal(size=(5000, 8))
time, event = np.ceil(40 * rng.exponential(np.exp(-X[:, 0]))), rng.random(5000) < .6
found = fit_cox(time, event, X, id=rng.integers(0, 2000, 5000), strata=rng.integers(0, 5, 5000))
print(found.coefficients.tobytes().hex(), found.covariance.tobytes().hex(), found.robust_covariance.tobytes().hex())
"""


def test_one_core_and_many_give_the_same_bits():
    answers = set()
    for threads in ("1", "4"):
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS")
        done = subprocess.run(
            [sys.executable, "-c", REMISSION], capture_output=True, text=True, check=True, cwd=ROOT,
            env=os.environ | dict.fromkeys(names, threads),
        )  # fmt: skip
        answers.add(done.stdout)
    assert len(answers) == 1


def remission():
    """Weeks of remission of 42 children with leukaemia on 6-mercaptopurine or placebo, and their log white cells.

    Freireich EJ et al. Blood 1963;21:699-716, in Cox (1972); with white cells in Kleinbaum DG, Klein M. Survival
    Analysis: A Self-Learning Text, 3rd ed., Springer 2012, chapter 1.
    """
    drug = [35, 34, 32, 32, 25, 23, 22, 20, 19, 17, 16, 13, 11, 10, 10, 9, 7, 6, 6, 6, 6]
    relapse = [0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 1, 0, 1, 0, 1, 1, 1]
    placebo = [23, 22, 17, 15, 12, 12, 11, 11, 8, 8, 8, 8, 5, 5, 4, 4, 3, 2, 2, 1, 1]
    cells = [1.45, 1.47, 2.20, 2.53, 1.78, 2.57, 2.32, 2.01, 2.05, 2.16, 3.60, 2.88, 2.60, 2.70, 2.96, 2.80, 4.43, 3.20,
             2.31, 4.06, 3.28, 1.97, 2.73, 2.95, 2.30, 1.50, 3.06, 3.49, 2.12, 3.52, 3.05, 2.32, 3.26, 3.49, 3.97, 4.36,
             2.42, 4.01, 4.91, 4.48, 2.80, 5.00]  # fmt: skip
    table = pd.DataFrame({"placebo": np.repeat([0.0, 1.0], 21), "log_white_cells": cells})
    return np.array(drug + placebo), np.array(relapse + [1] * 21), table


def test_the_remission_table_of_kleinbaum_and_klein():
    """Chapter 3 of the book (Breslow's ties): coefficient, error, hazard ratio, limits and likelihood as printed."""
    time, event, table = remission()
    both = cox(time, event, table, ties="breslow")
    wanted = [[1.294, 0.422, 3.648, 1.595, 8.343], [1.604, 0.329, 4.975, 2.609, 9.486]]
    columns = ["coefficient", "se", "hazard_ratio", "low", "high"]
    np.testing.assert_allclose(both.frame()[columns], wanted, atol=0.00051)
    assert -2 * both.log_likelihood == pytest.approx(144.559, abs=0.00051)
    alone = cox(time, event, table[["placebo"]], ties="breslow")
    np.testing.assert_allclose(alone.frame()[columns], [[1.509, 0.410, 4.523, 2.027, 10.094]], atol=0.00051)
    assert alone.log_likelihood == pytest.approx(-86.380, abs=0.00051)


def test_efrons_ties_of_the_remission_data_are_those_that_r_prints():
    """coxph(Surv(time, cens) ~ treat, gehan) in R's documentation of MASS::gehan: 1.5721, se 0.4124."""
    time, event, table = remission()
    found = cox(time, event, table[["placebo"]]).frame().iloc[0]
    np.testing.assert_allclose(found[["coefficient", "se"]].to_numpy(float), [1.5721, 0.4124], atol=0.000051)
