"""A risk model in patients of another place or time: one measure after the other, by site, pooled with what varies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import optimize, special

from trialml.errors import AnalysisError, DataError
from trialml.result import COLOURS, Z95, Estimate, Result, counted, format_count, format_number, plain_text, with_limits
from trialml.survival.calibration import calibration_slope, observed_over_expected
from trialml.survival.concordance import concordance
from trialml.survival.cox_fit import fit_cox
from trialml.survival.ipcw import Outcome, checked_outcome
from trialml.validation.crossvalidation import RiskModel
from trialml.validation.optimism import Fit
from trialml.validation.parallel import in_order
from trialml.validation.performance import Performance, performance

__all__ = ["InternalExternal", "Pooled", "external_performance", "internal_external", "pooled_mean", "temporal_split"]

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
FEWEST_EVENTS = 10
FEWEST_SITES = 3
SHORT_HERE = {"Harrell's C": "c", "calibration slope": "slope", "observed over expected": "observed_over_expected"}


def external_performance(
    models: dict[str, RiskModel],
    X: pd.DataFrame,
    time: Any,
    event: Any,
    *,
    horizons: list[float],
    unit: str,
    **settings: Any,
) -> Performance:
    """Judge fitted models on patients of another study.

    Parameters
    ----------
    models
        Fitted, by name; nothing is learned here, so the null model too may come from the training data (``null_risk``).
    X
        The new patients as the models read them, shape ``(n, p)``.
    time, event
        Their follow-up times and True where the event happened, shape ``(n,)``.
    horizons, unit
        Where risks are read, ascending.
    settings
        What else `validation.performance` takes: ``competing``, ``censoring``, ``null_risk``, ``reference``.

    Returns
    -------
    Performance
        Of kind ``external``.

    Raises
    ------
    DataError, AnalysisError
        As `validation.performance`, and as a model refuses columns or a horizon.
    """
    risks = {name: np.column_stack([model.risk(X, at) for at in horizons]) for name, model in models.items()}
    return performance(time, event, risks, horizons=horizons, unit=unit, kind="external", **settings)


def temporal_split(date: Any, cut: Any) -> tuple[Rows, Rows]:
    """Return the rows of patients who entered before a date and those from it on.

    Parameters
    ----------
    date
        Of entry, shape ``(n,)``: dates or numbers.
    cut
        The first date of the later patients.

    Returns
    -------
    earlier, later
        Rows to learn from and rows to judge on.

    Raises
    ------
    DataError
        If a date is missing, or all lie on one side.
    """
    dates = pd.Series(date).reset_index(drop=True)
    if dates.isna().any():
        raise DataError(f"{int(dates.isna().sum())} entry dates are missing: complete them or leave these patients out")
    later = np.asarray(dates >= cut)
    if later.all() or not later.any():
        raise DataError(
            f"all entries lie on one side of {cut} (from {dates.min()} to {dates.max()}): choose a date between"
        )
    return np.flatnonzero(~later), np.flatnonzero(later)


class Pooled(NamedTuple):
    """A mean over sites with its limits, the range for a new site, and the standard deviation between sites."""

    value: float
    low: float
    high: float
    new_low: float
    new_high: float
    tau: float


def pooled_mean(values: Any, errors: Any) -> Pooled:
    """Return the random-effects mean of sites' values.

    Parameters
    ----------
    values, errors
        Each site's number and its standard error above 0, shape ``(k,)``, k at least 3.

    Returns
    -------
    Pooled
        Between-site variance by Paule and Mandel's equation ``sum w (y - mean)^2 = k - 1``, limits by Hartung, Knapp,
        Sidik and Jonkman with t on k - 1 degrees of freedom (never narrower than with a scale of 1), and a prediction
        interval for a new site with t on k - 2.

    Raises
    ------
    DataError
        If there are fewer than 3 sites, or a number is not finite or an error not above 0.

    References
    ----------
    Paule RC, Mandel J. Consensus values and weighting factors. J Res Natl Bur Stand 1982;87:377-385.
    Debray TPA, Damen JAAG, Riley RD, et al. A framework for meta-analysis of prediction model studies with binary and
    time-to-event outcomes. Stat Methods Med Res 2019;28:2768-2786.
    """
    y, se = np.asarray(values, dtype=float), np.asarray(errors, dtype=float)
    k = y.size
    if k < FEWEST_SITES or not np.isfinite(y).all() or not np.isfinite(se).all() or (se <= 0).any():
        raise DataError(f"{k} sites with numbers and errors above 0 are too few or not finite: at least 3 are needed")

    def excess(tau2: float) -> float:
        w = 1 / (se**2 + tau2)
        return float(w @ (y - w @ y / w.sum()) ** 2) - (k - 1)

    tau2 = 0.0
    if excess(0.0) > 0:
        tau2 = float(optimize.brentq(excess, 0.0, float(k * np.ptp(y) ** 2), xtol=1e-16, rtol=1e-13))
    w = 1 / (se**2 + tau2)
    mean = float(w @ y / w.sum())
    scale = max(1.0, float(w @ (y - mean) ** 2) / (k - 1))
    error = float(np.sqrt(scale / w.sum()))
    width = float(special.stdtrit(k - 1, 0.975)) * error
    new = float(special.stdtrit(k - 2, 0.975) * np.sqrt(tau2 + error**2))
    return Pooled(mean, mean - width, mean + width, mean - new, mean + new, float(np.sqrt(tau2)))


@dataclass(frozen=True, eq=False)
class InternalExternal(Result):
    """Discrimination and calibration slope in each site of models learned on the other sites."""

    title = "Internal-external validation by site"
    figure_size = (9.0, 3.6)
    methods = (
        "Each site was left out in turn, the whole of the learning repeated on the others, and the model judged on the site left "
        "out. Harrell's C (pooled as its log odds), the calibration slope and observed over expected at the horizon (pooled as its "
        "logarithm) were pooled by a random-effects model (Paule-Mandel, Hartung-Knapp) with a prediction interval for a new site."
    )
    references = (
        "Steyerberg EW, Harrell FE. Prediction models need appropriate internal, internal-external, and external validation. "
        "J Clin Epidemiol 2016;69:245-247.",
        "Debray TPA, Damen JAAG, Riley RD, et al. A framework for meta-analysis of prediction model studies with binary and "
        "time-to-event outcomes. Stat Methods Med Res 2019;28:2768-2786.",
    )

    sites: pd.DataFrame
    """One row a judged site: site, n, events, harrell_c, harrell_c_se, slope, slope_se, ratio (observed over expected at the horizon;
    NaN where nobody is followed so long), ratio_se (of its logarithm)."""
    pooled: pd.DataFrame
    """Rows Harrell's C, calibration slope and, where at least 3 sites have it, observed over expected: measure, value, low, high,
    new_low, new_high (for a new site), tau (between sites, of the C on the log-odds scale, of the ratio on the log scale)."""
    left_out: int
    """Sites with fewer than 10 events: in every training set, never judged."""
    horizon: float | None = None
    """Where observed over expected is read."""
    unit: str = ""

    def frame(self) -> pd.DataFrame:
        """Return one row a site, then the pooled rows, told apart by `part`."""
        return pd.concat([self.sites.assign(part="site"), self.pooled.assign(part="pooled")], ignore_index=True)

    def estimate(self, measure: str) -> Estimate:
        """Return a pooled measure: ``"Harrell's C"``, ``"calibration slope"`` or ``"observed over expected"``.

        Raises
        ------
        DataError
            If there is no such measure.
        """
        found = self.pooled[self.pooled["measure"] == measure]
        if found.empty:
            raise DataError(f"there is no measure '{measure}': use one of {', '.join(self.pooled['measure'])}")
        row = found.iloc[0]
        return Estimate(float(row["value"]), float(row["low"]), float(row["high"]), scale=measure, kind="external",
                        n=int(self.sites["n"].sum()), events=int(self.sites["events"].sum()), method="random effects by site")  # fmt: skip

    def text(self) -> str:
        """Return the pooled measures and what a new site may expect."""
        said = [
            f"{row.measure} {self.estimate(row.measure).text()}, in a new site {format_number(row.new_low)} to {format_number(row.new_high)}"
            for row in self.pooled.itertuples()
        ]
        at = "" if self.horizon is None else f"; observed over expected by {self.horizon:g} {self.unit}"
        out = (
            f" {counted(self.left_out, 'site')} with fewer than {FEWEST_EVENTS} events not judged."
            if self.left_out
            else ""
        )
        return (
            f"Learned on the other sites and judged on each of {len(self.sites)} in turn ({format_count(self.sites['n'].sum())} patients, "
            f"{format_count(self.sites['events'].sum())} events): {'; '.join(said)} (95 % prediction intervals{at}).{out}"
        )

    def scalars(self) -> dict[str, float]:
        """Return the pooled measures with limits and prediction intervals."""
        names = {measure: f"internal_external_{short}" for measure, short in SHORT_HERE.items()}
        numbers = with_limits({names[measure]: self.estimate(measure) for measure in self.pooled["measure"]})
        for row in self.pooled.itertuples():
            name = names[row.measure]
            numbers |= {f"{name}_new_site_low": row.new_low, f"{name}_new_site_high": row.new_high}
        return numbers

    def table(self) -> pd.DataFrame:
        """Return the sites' numbers."""
        return self.sites

    def draw(self, figure: Any) -> None:
        """Draw each site's measures with limits and the pooled value."""
        place = np.arange(len(self.sites))
        columns = {"Harrell's C": "harrell_c", "calibration slope": "slope", "observed over expected": "ratio"}
        for axes, row in zip(figure.subplots(1, len(self.pooled), sharey=True), self.pooled.itertuples(), strict=True):
            value, half = self.sites[columns[row.measure]], Z95 * self.sites[f"{columns[row.measure]}_se"]
            low, high = value - half, value + half
            if row.measure == "observed over expected":
                low, high = value * np.exp(-half), value * np.exp(half)
            axes.errorbar(value, place, xerr=[value - low, high - value], fmt="o", color=COLOURS["experimental"])
            axes.axvline(row.value, color=COLOURS["reference"], linewidth=1)
            axes.axvspan(row.new_low, row.new_high, color=COLOURS["reference"], alpha=0.12, linewidth=0)
            axes.set_yticks(place, [plain_text(site) for site in self.sites["site"]])
            axes.set_xlabel(row.measure)


def internal_external(
    fit: Fit,
    X: pd.DataFrame,
    time: Any,
    event: Any,
    site: Any,
    *,
    horizon: float | None = None,
    unit: str = "",
    competing: Any = None,
    workers: int = 1,
    advance: Callable[[], None] = lambda: None,
) -> InternalExternal:
    """Leave each site out in turn, learn on the others, judge on it.

    Parameters
    ----------
    fit
        Given training rows, learns everything on them.
    X, time, event
        As in `validation.optimism`.
    site
        The site (or region, or period) of each row, shape ``(n,)``.
    horizon, unit
        Where observed over expected is read; None leaves it out.
    competing
        True where another event ended follow-up, after which the event cannot happen, shape ``(n,)``. The slope is then that
        of the risk by the horizon (Fine-Gray), as it is of a model without a log hazard (Cox): it must be given.
    workers
        Processes; the numbers do not depend on it.
    advance
        Called after each site.

    Returns
    -------
    InternalExternal

    Raises
    ------
    DataError
        If a site is missing, or there are competing events and no horizon.
    AnalysisError
        If fewer than 3 sites have 10 events, or a fit fails.
    """
    outcome = checked_outcome(time, event, competing)
    times, flags = outcome.time, outcome.event
    if outcome.competing.any() and horizon is None:
        raise DataError("there are competing events, but horizon is None: say by when risks are read")
    labels = pd.Series(site).reset_index(drop=True)
    if labels.isna().any() or len(labels) != times.size:
        raise DataError(
            f"{int(labels.isna().sum())} of {len(labels)} sites are missing for {times.size} patients: name each one's site"
        )
    names = labels.astype(str).to_numpy()
    known, counts = np.unique(names, return_inverse=True)
    events = np.bincount(counts, flags, known.size)
    judged = known[events >= FEWEST_EVENTS]
    if judged.size < FEWEST_SITES:
        raise AnalysisError(f"{judged.size} of {known.size} sites have {FEWEST_EVENTS} events or more, but 3 are needed: pool small sites "
                            "into regions first")  # fmt: skip

    def one(name: str) -> tuple[Any, ...]:
        own = np.flatnonzero(names == name)
        return name, *_judged(fit(np.flatnonzero(names != name)), X.iloc[own], outcome, own, horizon)

    rows = list(in_order(one, judged.tolist(), workers=workers, advance=advance))
    sites = pd.DataFrame(
        rows, columns=["site", "n", "events", "harrell_c", "harrell_c_se", "slope", "slope_se", "ratio", "ratio_se"]
    )
    return InternalExternal(sites, _pooled(sites), int(known.size - judged.size), horizon, unit)


def _judged(model: Any, X: pd.DataFrame, outcome: Outcome, rows: Rows, horizon: float | None) -> tuple[float, ...]:
    """Return a site's size, events, C, slope and observed over expected, with errors."""
    time, event, competing = outcome.time[rows], outcome.event[rows], outcome.competing[rows]
    linear = hasattr(model, "log_hazard")
    score = np.asarray((model.log_hazard if linear else model.predict)(X), dtype=float)
    c = concordance(time, event, score, competing=competing)
    ratio = ratio_se = np.nan
    if horizon is not None:
        risk = model.risk(X, horizon)
        found = observed_over_expected(time, event, risk, horizon, competing=competing)
        ratio, ratio_se = found.value, found.se
    if linear and not competing.any():
        fitted = fit_cox(time, event, score[:, None])
        slope, slope_se = float(fitted.coefficients[0]), float(np.sqrt(fitted.covariance[0, 0]))
    elif horizon is None:
        raise DataError(
            "the calibration slope of this model is that of its risk, but horizon is None: say by when risks are read"
        )
    else:
        slope, slope_se = calibration_slope(time, event, risk, horizon, competing=competing)
    return rows.size, int(event.sum()), c.value, c.se, slope, slope_se, ratio, ratio_se


def _pooled(sites: pd.DataFrame) -> pd.DataFrame:
    c = np.clip(sites["harrell_c"].to_numpy(), 1e-6, 1 - 1e-6)
    odds = pooled_mean(special.logit(c), sites["harrell_c_se"] / (c * (1 - c)))
    slope = pooled_mean(sites["slope"], sites["slope_se"])
    rows = [("Harrell's C", *special.expit(odds[:5]), odds.tau), ("calibration slope", *slope)]
    known = sites[np.isfinite(sites["ratio"]) & (sites["ratio_se"] > 0)]
    if len(known) >= FEWEST_SITES:
        logs = pooled_mean(np.log(known["ratio"]), known["ratio_se"])
        rows.append(("observed over expected", *np.exp(logs[:5]), logs.tau))
    return pd.DataFrame(rows, columns=["measure", "value", "low", "high", "new_low", "new_high", "tau"])
