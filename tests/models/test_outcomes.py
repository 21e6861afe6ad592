"""Outcomes as models take them, and weights of a window with censoring before its end."""

import numpy as np
import pytest

from trialml.errors import AnalysisError, DataError
from trialml.models.outcome import BinaryOutcome, binary_outcome, competing_outcome, survival_outcome, window_outcome

TIME = np.array([1, 2, 3, 4, 5, *[6.0] * 5, *[8.0] * 5])
CAUSE = np.array([1, 0, 1, 0, 2, *[0] * 5, *[1] * 5])


def test_a_window_by_hand_weights_who_is_known_and_leaves_out_who_is_not():
    """Oracle: by hand. Censored at 2 with 14 at risk and at 4 with 12: G is 13/14, then 13/14 * 11/12.

    Five are censored as the window ends: they are known to be free of the event within it.
    """
    found = BinaryOutcome.of(window_outcome(TIME, CAUSE, 6.0))
    np.testing.assert_array_equal(found.event, [True, False, True] + [False] * 12)
    late = 14 / 13 * 12 / 11
    np.testing.assert_allclose(found.weight, [1, 0, 14 / 13, 0, *[late] * 11], rtol=1e-14)


def test_weights_of_a_window_add_up_to_the_patients_and_give_the_kaplan_meier_risk():
    """The weighted share with the event is 1 less Kaplan-Meier, where no event and censoring tie (closed form)."""
    generator = np.random.default_rng(1)
    time, last = generator.exponential(size=400), generator.uniform(0, 2.5, 400)
    event = time <= last
    found = BinaryOutcome.of(window_outcome(np.minimum(time, last), event, 1.0))
    assert found.weight.sum() == pytest.approx(400, rel=1e-12)
    at_risk = [np.minimum(time, last) >= t for t in np.sort(time[event & (time <= 1)])]
    assert found.weight[found.event].sum() / 400 == pytest.approx(1 - np.prod([1 - 1 / n.sum() for n in at_risk]))


def test_a_fold_learns_its_weights_from_its_own_patients():
    y = window_outcome(TIME, CAUSE, 6.0)
    rows = np.array([0, 2, 3, 4, 5, 6])
    np.testing.assert_allclose(BinaryOutcome.of(y[rows]).weight, [1, 1, 0, 4 / 3, 4 / 3, 4 / 3])


def test_without_censoring_before_the_window_all_weigh_alike():
    found = BinaryOutcome.of(window_outcome([1, 2, 9.0], [1, 1, 0], 5.0))
    np.testing.assert_array_equal(found.weight, 1)
    np.testing.assert_array_equal(BinaryOutcome.of(np.array([1, 0])).weight, 1)
    np.testing.assert_array_equal(BinaryOutcome.of(binary_outcome([1, 0], [2, 0.5])).weight, [2, 0.5])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (
            lambda: window_outcome(TIME, CAUSE, 9.0),
            "0 patients are followed through the window 9 .*longest follow-up is 8",
        ),
        (lambda: window_outcome(TIME, CAUSE, 0.0), "window is 0, but"),
        (lambda: competing_outcome([1.0, np.inf], [0, 1]), "finite numbers"),
        (lambda: competing_outcome([1.0, 2.0], [0, 1.5]), "cause holds 1.5, but"),
        (lambda: competing_outcome([1.0, 2.0], [0]), r"time has shape \(2,\) and cause \(1,\)"),
        (lambda: binary_outcome([1, 0], [1, -1]), "weight must hold"),
        (lambda: BinaryOutcome.of(np.array([1, 0, np.nan])), "True \\(happened\\) or False"),
        (lambda: BinaryOutcome.of(np.array(["yes", "no"])), "True \\(happened\\) or False"),
        (lambda: BinaryOutcome.of(survival_outcome([1, 2], [1, 0])), "fields event, time, but .* window_outcome"),
        (
            lambda: BinaryOutcome.of(np.zeros(4, dtype=bool)),
            "0 of the 4 patients whose outcome is known have the event",
        ),
        (lambda: BinaryOutcome.of(window_outcome(TIME, CAUSE > 9, 6.0)), "0 of the 10 patients"),
    ],
)
def test_an_outcome_that_cannot_be_used_is_refused_in_words(make, words):
    with pytest.raises((DataError, AnalysisError), match=words):
        make()
