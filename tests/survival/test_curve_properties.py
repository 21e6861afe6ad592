"""What must hold whatever the data: hypothesis draws small trials with many ties."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trialml.survival.aalen_johansen import aalen_johansen
from trialml.survival.cumulative_incidence import cumulative_incidence
from trialml.survival.fine_gray_fit import fit_fine_gray
from trialml.survival.gray import gray_arrays
from trialml.survival.kaplan_meier import kaplan_meier
from trialml.survival.logrank import logrank_arrays
from trialml.survival.nelson_aalen import nelson_aalen
from trialml.survival.product_limit import product_limit
from trialml.survival.rmst import restricted_mean_one
from trialml.survival.weighted_logrank import weighted_sums

SMALL = settings(max_examples=60)
WEIGHTS = ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.5, 2.0))


@st.composite
def trials(draw, least=4, most=25):
    n = draw(st.integers(least, most))
    time = np.array(draw(st.lists(st.integers(1, 12), min_size=n, max_size=n)), dtype=float)
    cause = np.array(draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)))
    group = np.array(draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)))
    strata = np.array(draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)))
    cause[0] = 1
    return time, cause, group, strata, np.random.default_rng(draw(st.integers(0, 2**20)))


def same(first, second, rtol=1e-9):
    for one, other in zip(first, second, strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=1e-11)


def everything(time, cause, group, strata, entry=None):
    """Return what every estimator says, but for the times at which it says it."""
    event = cause > 0
    return [
        *product_limit(time, event, entry=entry)[1:],
        *product_limit(time, event, entry=entry, variance="robust")[1:],
        *weighted_sums(time, event, group, 3, WEIGHTS, strata=strata, entry=entry),
        *(aalen_johansen(time, cause, 2)[1:] if entry is None else ()),
        *(aalen_johansen(time, cause, 2, "delta")[1:] if entry is None else ()),
        *(gray_arrays(time, cause, group, 3, 1, strata=strata) if entry is None else ()),
    ]


@SMALL
@given(trials())
def test_permuted_rows_change_nothing(trial):
    time, cause, group, strata, draw = trial
    shuffled = draw.permutation(time.size)
    entry = time * draw.uniform(0, 0.9, time.size)
    for late in (None, entry):
        moved = None if late is None else late[shuffled]
        same(
            everything(time, cause, group, strata, late),
            everything(*(x[shuffled] for x in (time, cause, group, strata)), moved),
        )


def split(time, event, entry, draw):
    """Cut every second row at a time inside it, now and then at the time of somebody's event."""
    pieces = []
    for i in range(time.size):
        inside = [t for t in time if entry[i] < t < time[i]]
        cut = draw.choice(inside) if inside and draw.random() < 0.5 else draw.uniform(entry[i], time[i])
        if i % 2 and entry[i] < cut < time[i] * (1 - 1e-6) and cut > entry[i] + 1e-6:
            pieces += [(i, entry[i], cut, False), (i, cut, time[i], event[i])]
        else:
            pieces.append((i, entry[i], time[i], event[i]))
    rows = np.array([row[0] for row in pieces])
    return rows, *(np.array([row[j] for row in pieces]) for j in (1, 2, 3))


@SMALL
@given(trials())
def test_splitting_a_patients_row_at_any_time_changes_nothing(trial):
    time, cause, group, strata, draw = trial
    event = cause > 0
    entry = np.where(draw.random(time.size) < 0.5, 0.0, time * draw.uniform(0, 0.8, time.size))
    rows, start, stop, flag = split(time, event, entry, draw)
    for variance in ("greenwood", "robust"):
        whole = product_limit(time, event, entry=entry, id=np.arange(time.size), variance=variance)
        cut = product_limit(stop, flag, entry=start, id=rows, variance=variance)
        same(whole, cut)
    same(
        weighted_sums(time, event, group, 3, WEIGHTS, strata=strata, entry=entry),
        weighted_sums(stop, flag, group[rows], 3, WEIGHTS, strata=strata[rows], entry=start),
    )


@SMALL
@given(trials())
def test_a_cut_row_leaves_tables_and_counts_of_patients_alone(trial):
    time, cause, _, _, draw = trial
    rows, start, stop, flag = split(time, cause > 0, np.zeros(time.size), draw)
    call = {"unit": "months"}
    whole = kaplan_meier(time, cause > 0, id=np.arange(time.size), **call)
    cut = kaplan_meier(stop, flag, entry=start, id=rows, **call)
    pd.testing.assert_frame_equal(whole.frame(), cut.frame(), rtol=1e-9)
    pd.testing.assert_frame_equal(whole.sizes, cut.sizes)
    whole = nelson_aalen(time, cause > 0, id=np.arange(time.size), **call)
    cut = nelson_aalen(stop, flag, entry=start, id=rows, **call)
    pd.testing.assert_frame_equal(whole.frame(), cut.frame(), rtol=1e-9)


@SMALL
@given(trials())
def test_doubled_weights_are_doubled_rows(trial):
    time, cause, _, _, draw = trial
    event = cause > 0
    entry = time * draw.uniform(0, 0.9, time.size)
    for late in (None, entry):
        doubled = product_limit(time, event, np.full(time.size, 2), entry=late)
        rows = product_limit(np.tile(time, 2), np.tile(event, 2), entry=None if late is None else np.tile(late, 2))
        same(doubled, rows)


@SMALL
@given(trials(), st.sampled_from([1e-6, 0.1, 3.0, 30.4375, 1e6]))
def test_scaling_time_scales_restricted_means_and_leaves_probabilities_alone(trial, factor):
    time, cause, group, strata, _ = trial
    event = cause > 0
    tau = float(time.max())
    mean, scaled = restricted_mean_one(time, event, tau), restricted_mean_one(time * factor, event, tau * factor)
    np.testing.assert_allclose(scaled, np.array(mean) * factor, rtol=1e-9)
    same(everything(time, cause, group, strata), everything(time * factor, cause, group, strata))
    before, after = product_limit(time, event).time, product_limit(time * factor, event).time
    np.testing.assert_allclose(after, before * factor, rtol=1e-12)


@SMALL
@given(trials())
def test_times_that_differ_by_a_billionth_are_ties(trial):
    time, cause, group, strata, draw = trial
    entry = np.where(draw.random(time.size) < 0.5, 0.0, np.maximum(time - 3, 0.0))
    blurred = time * (1 + draw.integers(0, 2, time.size) * 0.9e-9)
    for late in (None, entry):
        hazy = None if late is None else late * (1 + draw.integers(0, 2, time.size) * 0.9e-9)
        same(everything(time, cause, group, strata, late), everything(blurred, cause, group, strata, hazy), rtol=1e-8)
    apart = time * (1 + np.arange(time.size) * 1e-6)
    assert product_limit(apart, cause > 0).time.size == time.size


@SMALL
@given(trials(least=12))
def test_permuted_and_rescaled_rows_leave_fine_grays_model_alone(trial):
    time, cause, _, _, draw = trial
    cause[:3] = (1, 1, 2)
    X = draw.normal(size=(time.size, 1))
    X -= X.mean(axis=0)
    try:
        whole = fit_fine_gray(time, cause, X, 1, ("x",), "breslow")
    except Exception as error:  # noqa: BLE001  (the same refusal is the answer that must not change)
        with pytest.raises(type(error)):
            fit_fine_gray(time * 7, cause, X, 1, ("x",), "breslow")
        return
    shuffled = draw.permutation(time.size)
    moved = fit_fine_gray(time[shuffled] * 7, cause[shuffled], X[shuffled], 1, ("x",), "breslow")
    np.testing.assert_allclose(moved.coefficients, whole.coefficients, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(moved.covariance, whole.covariance, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(moved.times, whole.times * 7)


@SMALL
@given(trials())
def test_observed_and_expected_events_add_up_alike_and_incidences_with_survival_to_one(trial):
    time, cause, group, strata, _ = trial
    sums = logrank_arrays(time, cause > 0, group, 3, strata, rho=0.5, gamma=1)
    assert sums.observed.sum() == pytest.approx(sums.expected.sum(), abs=1e-12)
    np.testing.assert_allclose(sums.covariance.sum(axis=0), 0, atol=1e-12)
    curves = aalen_johansen(time, cause, 2)
    np.testing.assert_allclose(curves.incidence.sum(axis=1) + curves.survival, 1, rtol=1e-12)
    assert (np.diff(curves.incidence, axis=0) >= 0).all()


@SMALL
@given(trials())
def test_a_robust_error_of_one_row_a_patient_is_greenwoods(trial):
    """Of a Kaplan-Meier curve the infinitesimal jackknife and Greenwood's formula are one, ties or not."""
    time, cause, _, _, _ = trial
    plain, robust = (product_limit(time, cause > 0, variance=v) for v in ("greenwood", "robust"))
    np.testing.assert_allclose(robust.se_log, plain.se_log, rtol=1e-9, atol=1e-12)


def test_incidence_by_group_is_that_of_each_group_alone():
    draw = np.random.default_rng(8)
    time, cause, group = draw.integers(1, 30, 200).astype(float), draw.integers(0, 3, 200), draw.integers(0, 2, 200)
    both = cumulative_incidence(time, cause, group=group)
    for label in (0, 1):
        alone = cumulative_incidence(time[group == label], cause[group == label])
        pd.testing.assert_frame_equal(
            both.frame()[both.frame()["group"] == str(label)].drop(columns="group").reset_index(drop=True),
            alone.frame().drop(columns="group"),
        )
