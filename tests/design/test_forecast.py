"""Forecasts of a running trial: closed forms of order statistics and predictive distributions, coverage, refusals."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from scipy.stats import beta, betaprime, binom, gamma

from trialml.design.event_forecast import EventForecast
from trialml.design.forecast import forecast_events
from trialml.design.forecast_models import EventModel, exposure_by_piece
from trialml.errors import AnalysisError

CLOSE = {"cut_months": 10.0, "simulations": 20_000}


def closed_trial(waiting=20, happened=30, time=10.0):
    """Everybody entered at month 0; some have had the event halfway, the others are in follow-up at the cut."""
    n = waiting + happened
    event = np.arange(n) < happened
    return pd.DataFrame({"entry_months": 0.0, "time_months": np.where(event, time / 2, time), "event": event})


def quantiles(found, milestone):
    row = found.milestones.set_index("milestone").loc[milestone]
    return row["low"], row["months"], row["high"], row["mc_error"]


def running(seed, *, planned=200, rate=15.0, cut=8.0, hazard=0.05, dropout=0.0, shape=1.0):
    """One trial's whole truth and its data at the cut."""
    draw = np.random.default_rng(seed)
    entry = np.cumsum(draw.exponential(1 / rate, planned))
    life = draw.weibull(shape, planned) / hazard
    gone = draw.exponential(1 / dropout, planned) if dropout else np.full(planned, np.inf)
    inside = entry < cut
    end = np.minimum(life, gone)
    seen = np.minimum(end, cut - entry)[inside]
    event = (life <= np.minimum(gone, cut - entry))[inside]
    left = (gone < np.minimum(life, cut - entry))[inside]
    table = pd.DataFrame({"entry_months": entry[inside], "time_months": seen, "event": event, "left": left})
    table["arm"] = np.where(np.arange(len(table)) % 2 == 0, "a", "b")
    months = np.sort(np.where(life <= gone, entry + life, np.inf))
    return table, months, entry


# Closed forms -------------------------------------------------------------------------------------------------------


def test_events_of_known_hazard_are_order_statistics_of_exponentials():
    """The k-th of m exponential times has the quantiles of ``-log(1 - Beta(k, m - k + 1)) / hazard``."""
    table = closed_trial()
    found = forecast_events(table, [35, 45], parameter_uncertainty=False, level=0.8, **CLOSE)
    hazard = 30 / (30 * 5 + 20 * 10)
    for target in (35, 45):
        k = target - 30
        wanted = 10 - np.log1p(-beta.ppf([0.1, 0.5, 0.9], k, 20 - k + 1)) / hazard
        low, middle, high, error = quantiles(found, f"{target} events")
        assert abs(middle - wanted[1]) < 4 * error
        np.testing.assert_allclose([low, high], wanted[[0, 2]], rtol=0.02)


def test_one_event_with_an_uncertain_hazard_has_the_lomax_distribution():
    """Gamma(d + 1/2, E) mixed over an exponential: ``E ((1 - u)**(-1 / (d + 1/2)) - 1)``."""
    found = forecast_events(closed_trial(waiting=1, happened=3), [4], level=0.5, **CLOSE)
    exposure, shape = 3 * 5 + 10, 3.5
    wanted = 10 + exposure * ((1 - np.array([0.25, 0.5, 0.75])) ** (-1 / shape) - 1)
    low, middle, high, error = quantiles(found, "4 events")
    assert abs(middle - wanted[1]) < 4 * error
    np.testing.assert_allclose([low, high], wanted[[0, 2]], rtol=0.03)


@pytest.mark.parametrize("uncertain", [False, True])
def test_the_end_of_enrolment_has_the_gamma_or_the_beta_prime_distribution(uncertain):
    table, _, _ = running(1, planned=400, cut=10.0)
    n, to_come = len(table), 60
    found = forecast_events(table, [], planned_patients=n + to_come, parameter_uncertainty=uncertain, **CLOSE)
    share = np.array([0.05, 0.5, 0.95])
    wanted = 10 + (
        10 * betaprime.ppf(share, to_come, n + 0.5) if uncertain else gamma.ppf(share, to_come, scale=10 / n)
    )
    low, middle, high, error = quantiles(found, "enrolment complete")
    assert abs(middle - wanted[1]) < 4 * error
    np.testing.assert_allclose([low, high], wanted[[0, 2]], rtol=0.01)


def test_dropout_makes_the_share_of_futures_that_get_there_binomial():
    """Two patients, event and dropout of equal known hazards: both events in a quarter of the futures."""
    table = pd.DataFrame(
        {"entry_months": 0.0, "time_months": [5.0, 5.0, 10.0, 10.0], "event": [1, 0, 0, 0], "left": [0, 1, 0, 0]}
    )
    found = forecast_events(table, [2, 3], dropped="left", parameter_uncertainty=False, **CLOSE)
    reached = found.milestones.set_index("milestone")["reached"]
    for name, p in (("2 events", 0.75), ("3 events", 0.25)):
        assert abs(reached[name] - p) < 4 * math.sqrt(p * (1 - p) / 20_000)
    assert quantiles(found, "3 events")[1] == math.inf


def test_conditional_times_solve_for_the_cumulative_hazard():
    """Each model's time is where the cumulative hazard has grown by the draw since the patient was last seen."""
    breaks, hazards = np.array([0.0, 3.0, 8.0]), np.array([[0.2, 0.05, 0.1]])
    model = EventModel(breaks, hazards, np.empty(0), np.empty(0))
    known, grown = np.array([0.0, 1.0, 3.0, 5.0, 12.0]), np.array([[0.1, 0.9, 0.2, 0.4, 0.3]])
    times = model.times(known, grown)

    def cumulative(t):
        return exposure_by_piece(np.array([t]), breaks) @ hazards[0]

    for start, amount, end in zip(known, grown[0], times[0], strict=True):
        assert cumulative(end) - cumulative(start) == pytest.approx(amount, rel=1e-12)
    weibull = EventModel(np.zeros(1), np.empty((1, 0)), np.array([1.7]), np.array([9.0]))
    ends = weibull.times(known, grown)[0]
    np.testing.assert_allclose((ends / 9) ** 1.7 - (known / 9) ** 1.7, grown[0], rtol=1e-12)


def test_a_piecewise_model_of_one_piece_is_the_exponential():
    table, _, _ = running(2)
    one = forecast_events(table, [60], cut_months=8, planned_patients=200, simulations=2000)
    same = forecast_events(
        table, [60], cut_months=8, planned_patients=200, simulations=2000, model="piecewise", breaks_months=(0.0,)
    )
    assert one.milestones.equals(same.milestones)


def test_by_arm_and_pooled_forecasts_agree_where_the_arms_are_alike():
    table, _, _ = running(3)
    apart = forecast_events(table, [70], cut_months=8, planned_patients=200, arm="arm")
    pooled = forecast_events(table, [70], cut_months=8, planned_patients=200)
    assert apart.per_arm
    assert not pooled.per_arm
    a, b = quantiles(apart, "70 events"), quantiles(pooled, "70 events")
    assert abs(a[1] - b[1]) < 0.1 * b[1]


# Coverage -----------------------------------------------------------------------------------------------------------


def coverage(trials, **options):
    """Share of trials whose 60th event, and last entry, fall in the 80 % prediction interval."""
    truth = {key: options.pop(key) for key in ("shape", "dropout") if key in options}
    hits = np.zeros(2)
    for seed in range(trials):
        table, months, entry = running(seed, **truth)
        found = forecast_events(
            table, [max(60, int(table["event"].sum()) + 5)], cut_months=8, planned_patients=200, level=0.8, simulations=600, seed=seed, **options
        )  # fmt: skip
        target = int(found.milestones["events"].iloc[1])
        for place, value in enumerate((entry[-1], months[target - 1])):
            row = found.milestones.iloc[place]
            hits[place] += row["low"] <= value <= row["high"]
    return hits


def test_prediction_intervals_cover_as_often_as_they_say():
    hits = coverage(200)
    for count in hits:
        assert 0.0005 < binom.cdf(count, 200, 0.8) < 0.9995


@pytest.mark.long
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"dropout": 0.02, "dropped": "left"},
        {"shape": 1.4, "model": "weibull"},
        {"model": "piecewise", "breaks_months": (0.0, 2.0)},
        {"arm": "arm"},
    ],
    ids=["exponential", "dropout", "weibull", "piecewise", "by arm"],
)
def test_prediction_intervals_cover_as_often_as_they_say_in_a_thousand_trials(options):
    hits = coverage(1000, **options)
    for count in hits:
        # Jeffreys' prior and the Weibull's normal approximation may cost up to three points at 30 events or so.
        assert 0.77 - 3 * 0.0127 < count / 1000 < 0.83 + 3 * 0.0127


# Words, figure, refusals --------------------------------------------------------------------------------------------


def test_the_result_has_dates_words_and_a_figure_and_survives_json():
    table, _, _ = running(4)
    found = forecast_events(
        table, [60, 80], cut_months=8, planned_patients=200, start_date="2025-01-01", simulations=1000
    )
    row = found.milestones.iloc[0]
    assert row["date"] == str((pd.Timestamp("2025-01-01") + pd.Timedelta(days=round(row["months"] * 30.4375))).date())
    again = EventForecast.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.text() == found.text()
    assert "90 % prediction interval" in found.text()
    assert found.estimate("60 events").kind == "simulated"
    assert set(found.scalars()) >= {"enrolment_months", "events_60_months_low"}
    assert (np.diff(found.course["events"]) >= 0).all()
    assert len(found.table()) == 3
    found.draw(Figure())
    with pytest.raises(AnalysisError, match="nearest name is '60 events'"):
        found.estimate("60 event")


def test_the_same_seed_gives_the_same_forecast():
    table, _, _ = running(5)
    runs = [
        forecast_events(table, [60], cut_months=8, planned_patients=200, simulations=700, seed=seed)
        for seed in (3, 3, 4)
    ]
    assert runs[0].milestones.equals(runs[1].milestones)
    assert not runs[0].milestones.equals(runs[2].milestones)


def changed(**columns):
    return closed_trial().assign(**columns)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: forecast_events(closed_trial().drop(columns="event"), [35], **CLOSE), "no column 'event'"),
        (lambda: forecast_events(changed(time_months=-1.0), [35], **CLOSE), "row 1 has -1.0 in 'time_months'"),
        (lambda: forecast_events(changed(entry_months=math.nan), [35], **CLOSE), "row 1 has nan"),
        (lambda: forecast_events(changed(entry_months=6.0), [35], **CLOSE), "beyond the cut at month 10"),
        (lambda: forecast_events(changed(event=2), [35], **CLOSE), "other than true and false"),
        (lambda: forecast_events(changed(event=False), [35], **CLOSE), "no event has happened so far"),
        (lambda: forecast_events(changed(left=True), [35], dropped="left", **CLOSE), "left without it"),
        (lambda: forecast_events(closed_trial().iloc[:0], [35], **CLOSE), "no patient"),
        (lambda: forecast_events(closed_trial(), [30], **CLOSE), "30 have happened"),
        (lambda: forecast_events(closed_trial(), [51], **CLOSE), "can give 50 at most"),
        (lambda: forecast_events(closed_trial(), [35], planned_patients=40, **CLOSE), "50 are enrolled already"),
        (lambda: forecast_events(closed_trial(), [35], planned_patients=60, accrual_window_months=2, **CLOSE), "nobody entered"),
        (lambda: forecast_events(closed_trial(), [35], model="gompertz", **CLOSE), "model is 'gompertz'"),
        (lambda: forecast_events(closed_trial(), [35], model="piecewise", **CLOSE), "begin at 0 and increase"),
        (lambda: forecast_events(closed_trial(), [35], breaks_months=(0.0, 2.0), **CLOSE), "the others none"),
        (lambda: forecast_events(closed_trial(), [35], model="piecewise", breaks_months=(0.0, 10.0), **CLOSE), "followed beyond 10"),
        (lambda: forecast_events(closed_trial(), [35], level=1.0, **CLOSE), "level is 1"),
        (lambda: forecast_events(closed_trial(), [35], cut_months=0), "cut_months is 0"),
        (lambda: forecast_events(closed_trial(), [35], start_date="soon", **CLOSE), "no date"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(call, words):
    with pytest.raises(AnalysisError, match=words):
        call()
