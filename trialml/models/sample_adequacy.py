"""Are there enough patients for a model of this size? Riley's minimum sample sizes, and events for each parameter."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from trialml.errors import AnalysisError, DataError
from trialml.models import EndpointKind
from trialml.result import Z95, Result, counted, format_count, format_number

__all__ = ["SampleAdequacy", "sample_adequacy"]

SHRINKAGE = 0.9
"""Riley's first criterion: a tenth of the predictor effects may be overfitting."""
OPTIMISM = 0.05
"""The second: the apparent share of the (largest possible) variance explained may be too large by this."""
MARGIN = 0.05
"""The third: the overall risk is known to within this, with a confidence of 95 %."""
SPREAD_MARGIN = 1.1
"""For a continuous endpoint: mean and residual standard deviation are known to within this factor."""
DEFAULT_SHARE = 0.15
"""Where nothing is known of the model, Riley et al. take this share of the largest possible R-squared."""


@dataclass(frozen=True, eq=False)
class SampleAdequacy(Result):
    """What a model of this size needs, and whether it has it.

    Attributes
    ----------
    endpoint
        The kind of endpoint.
    n, events, parameters
        Patients, events (for a continuous endpoint patients) and coefficients that the model may learn: columns of the
        design before any selection.
    r_squared, assumed
        The R-squared that the model is expected to have (Cox and Snell's, but for a continuous endpoint), and where it is from.
    shrinkage
        The global shrinkage to expect with these patients: 1 is no overfitting.
    rows
        One row a criterion: criterion, required_n, required_events, met.
    """

    title: ClassVar[str] = "Is the sample large enough?"
    references: ClassVar[tuple[str, ...]] = (
        "Riley RD, Snell KIE, Ensor J, et al. Minimum sample size for developing a multivariable prediction model: part II - "
        "binary and time-to-event outcomes. Stat Med 2019;38:1276-1296 (part I, continuous outcomes: 1262-1275).",
        "Riley RD, Ensor J, Snell KIE, et al. Calculating the sample size required for developing a clinical prediction model. "
        "BMJ 2020;368:m441.",
    )
    methods: ClassVar[str] = (
        "The minimum sample size of the model follows Riley and colleagues: an expected shrinkage of at least 0.9, an optimism "
        "of at most 0.05 in the proportion of the variation explained, and a precise overall risk or mean."
    )

    endpoint: str
    n: int
    events: int
    parameters: int
    r_squared: float
    assumed: str
    shrinkage: float
    rows: pd.DataFrame

    @property
    def required(self) -> int:
        """Patients that meet every criterion."""
        return int(self.rows["required_n"].max())

    @property
    def enough(self) -> bool:
        """Whether every criterion is met."""
        return bool(self.rows["met"].all())

    @property
    def events_per_parameter(self) -> float:
        """Events (for a continuous endpoint patients) for each coefficient."""
        return self.events / self.parameters

    def frame(self) -> pd.DataFrame:
        """Return one row a criterion."""
        return self.rows

    def table(self) -> pd.DataFrame:
        """Return the criteria with what they need."""
        columns = {"Criterion": self.rows["criterion"], "Patients needed": self.rows["required_n"].map(format_count)}
        if self.endpoint != "continuous":
            columns["Events needed"] = self.rows["required_events"].map(format_count)
        return pd.DataFrame(columns | {"Met": ["yes" if met else "no" for met in self.rows["met"]]})

    def text(self) -> str:
        """Return what there is, what is needed, and what follows."""
        unit = "patients" if self.endpoint == "continuous" else "events"
        have = f"{counted(self.n, 'patient')}" + (
            "" if unit == "patients" else f" with {counted(self.events, 'event')}"
        )
        per = f"{format_number(self.events_per_parameter)} {unit} for each of {counted(self.parameters, 'parameter')}"
        need = f"at an R-squared of {format_number(self.r_squared)} ({self.assumed}) {counted(self.required, 'patient')} are needed"
        expected = f"the shrinkage to expect is {format_number(self.shrinkage)}"
        if self.enough:
            return f"The model learns from {have}, {per}; {need}, so that there are enough, and {expected}."
        return (
            f"The model learns from {have}, {per}; {need}, so that there are too few, and {expected}: use a model that "
            "shrinks its coefficients, judge it by performance corrected for optimism, or leave covariates out before looking "
            "at the outcome."
        )

    def scalars(self) -> Mapping[str, float]:
        """Return the parameters, the patients that meet every criterion and the expected shrinkage."""
        return {
            "parameters": float(self.parameters),
            "required_n": float(self.required),
            "expected_shrinkage": self.shrinkage,
        }


def sample_adequacy(
    endpoint: EndpointKind,
    *,
    n: int,
    parameters: int,
    events: int | None = None,
    r_squared: float | None = None,
    follow_up: float | None = None,
    horizon: float | None = None,
    mean: float | None = None,
    sd: float | None = None,
) -> SampleAdequacy:
    """Return how many patients a model needs, by Riley's criteria, beside how many there are.

    Parameters
    ----------
    endpoint
        The kind of endpoint; competing risks are counted as time to the event of interest.
    n, parameters
        Patients, and columns of the design that the model may use, before selection.
    events
        Events of interest; not for a continuous endpoint.
    r_squared
        What the model is expected to explain: Cox and Snell's R-squared (of a continuous endpoint the adjusted
        R-squared), from earlier studies and not from these data. By default 0.15 of the largest possible Cox-Snell
        R-squared; there is no default for a continuous endpoint.
    follow_up, horizon
        Time to event: mean follow-up of a patient and the time of the risk, in one unit.
    mean, sd
        Continuous: of the outcome; without them the mean's precision is left out.

    Returns
    -------
    SampleAdequacy
        With S the shrinkage, p the parameters and R the R-squared, ``n = p / ((S - 1) log(1 - R / S))`` for S = 0.9 and
        for ``S = R / (R + 0.05 R_max)``; then the overall risk to within 0.05, from the binomial or, over time, from a
        constant rate. ``R_max = 1 - exp(2 l / n)``, l the null log-likelihood (over time ``E log(E / n) - E``). For a
        continuous endpoint shrinkage by Copas's formula, ``n = 1 + p (1 - R) / 0.05``, and residual standard deviation and
        mean to within a factor of 1.1.

    Raises
    ------
    DataError
        If a number is missing or impossible.
    AnalysisError
        If the R-squared is larger than these events allow.
    """
    if n < 1 or parameters < 1:
        raise DataError(f"n is {n} and parameters {parameters}, but both must be 1 or more")
    if endpoint == "continuous":
        return _continuous(n, parameters, r_squared, mean, sd)
    if events is None or not 0 < events < n + (endpoint != "binary"):
        raise DataError(f"events is {events}, but it must be more than 0 and fewer than the {n} patients")
    per = events / n
    null = per * math.log(per) + (1 - per) * math.log(1 - per) if endpoint == "binary" else per * math.log(per) - per
    largest = 1 - math.exp(2 * null)
    expected = DEFAULT_SHARE * largest if r_squared is None else r_squared
    if not 0 < expected < min(largest, SHRINKAGE):
        raise AnalysisError(
            f"the R-squared of {format_number(expected)} is impossible: with {events} events in {n} patients it lies above 0 and below "
            f"{format_number(min(largest, SHRINKAGE))}"
        )
    risk_words = f"overall risk known to within {MARGIN:g}"
    if endpoint == "binary":
        risk_n = per * (1 - per) * (Z95 / MARGIN) ** 2
    else:
        risk_n = _person_time(per, follow_up, horizon) / float(follow_up or math.nan)
    second = expected / (expected + OPTIMISM * largest)
    needed = {
        f"expected shrinkage of {SHRINKAGE:g} or more": _patients(parameters, expected, SHRINKAGE),
        f"optimism of R-squared of {OPTIMISM:g} or less": _patients(parameters, expected, second),
        risk_words: risk_n,
    }
    assumed = f"{DEFAULT_SHARE:g} of the largest possible, assumed" if r_squared is None else "as given"
    return _result(endpoint, n, events, parameters, expected, assumed, needed, _shrinkage(n, parameters, expected))


def _patients(parameters: int, expected: float, shrinkage: float) -> float:
    return parameters / ((shrinkage - 1) * math.log(1 - expected / shrinkage))


def _shrinkage(n: int, parameters: int, expected: float) -> float:
    """Return the shrinkage at which `n` patients are the number required, by bisection."""
    low, high = expected, 1.0
    for _ in range(100):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if middle > expected and _patients(parameters, expected, middle) < n:
            low = middle
        else:
            high = middle
    return low


def _person_time(per: float, follow_up: float | None, horizon: float | None) -> float:
    """Return the follow-up after which a constant rate gives the risk at the horizon to within the margin, both ways."""
    if follow_up is None or horizon is None or not follow_up > 0 or not horizon > 0:
        raise DataError(f"follow_up is {follow_up} and horizon {horizon}: time to event needs both, above 0")
    rate = per / follow_up
    survival = math.exp(-rate * horizon)
    # The rates at which the risk is off by the margin; a risk cannot leave 0 to 1, which needs no precision.
    upper = math.inf if survival <= MARGIN else -math.log(survival - MARGIN) / horizon - rate
    lower = math.inf if survival + MARGIN >= 1 else rate + math.log(survival + MARGIN) / horizon
    off = min(upper, lower)
    return rate * (Z95 / off) ** 2 if math.isfinite(off) else 0.0


def _continuous(
    n: int, parameters: int, r_squared: float | None, mean: float | None, sd: float | None
) -> SampleAdequacy:
    if r_squared is None or not 0 < r_squared < 1:
        raise DataError(
            f"r_squared is {r_squared}, but a continuous endpoint needs what the model is expected to explain, from 0 to 1"
        )
    first = _smallest(parameters + 2, lambda size: _copas(size, parameters, r_squared) >= SHRINKAGE)
    spread = _smallest(parameters + 2, lambda size: _spread_factor(size - parameters - 1) <= SPREAD_MARGIN)
    needed: dict[str, float] = {
        f"expected shrinkage of {SHRINKAGE:g} or more": first,
        f"optimism of R-squared of {OPTIMISM:g} or less": 1 + parameters * (1 - r_squared) / OPTIMISM,
        f"residual standard deviation known to within a factor of {SPREAD_MARGIN:g}": spread,
    }
    if mean is not None and sd is not None and mean != 0:
        left, allowed = sd * math.sqrt(1 - r_squared), (SPREAD_MARGIN - 1) * abs(mean)
        size = _smallest(parameters + 2, lambda size: _t(size - parameters - 1) * left / math.sqrt(size) <= allowed)
        needed[f"mean known to within a factor of {SPREAD_MARGIN:g}"] = size
    shrinkage = _copas(n, parameters, r_squared) if n > parameters + 1 else 0.0
    found = max(0.0, min(1.0, shrinkage))
    return _result("continuous", n, n, parameters, r_squared, "as given", needed, found)


def _copas(n: int, parameters: int, r_squared: float) -> float:
    if parameters <= 2:
        return 1.0
    apparent = (r_squared * (n - parameters - 1) + parameters) / (n - 1)
    return 1 + (parameters - 2) / (n * math.log(1 - apparent))


def _spread_factor(df: int) -> float:
    from scipy.stats import chi2

    low, high = (float(value) for value in chi2.ppf([0.025, 0.975], df))
    return math.sqrt(max(df / low, high / df))


def _t(df: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(df, 0.975))


def _smallest(low: int, enough: Callable[[int], bool]) -> int:
    """Return the smallest size that is enough, by doubling and bisection."""
    high = low
    while not enough(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _result(
    endpoint: str,
    n: int,
    events: int,
    parameters: int,
    r_squared: float,
    assumed: str,
    needed: dict[str, float],
    shrinkage: float,
) -> SampleAdequacy:
    patients = [math.ceil(round(size, 9)) for size in needed.values()]
    rows = pd.DataFrame(
        {
            "criterion": list(needed),
            "required_n": patients,
            "required_events": [size * events / n for size in patients],
            "met": [size <= n for size in patients],
        }
    )
    return SampleAdequacy(endpoint, n, events, parameters, r_squared, assumed, shrinkage, rows)
