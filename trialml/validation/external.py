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
from trialml.result import COLOURS, Estimate, Result, counted, format_count, format_number, plain_text, with_limits
from trialml.survival.concordance import concordance
from trialml.survival.cox_fit import fit_cox
from trialml.validation.crossvalidation import RiskModel
from trialml.validation.optimism import Fit
from trialml.validation.parallel import in_order
from trialml.validation.performance import Performance, performance

__all__ = ["InternalExternal", "Pooled", "external_performance", "internal_external", "pooled_mean", "temporal_split"]

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]
FEWEST_EVENTS = 10


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
    if k < 3 or not np.isfinite(y).all() or not np.isfinite(se).all() or (se <= 0).any():
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
    methods = (
        "Each site was left out in turn, the whole of the learning repeated on the others, and the model judged on the site left "
        "out. Harrell's C (pooled as its log odds) and the calibration slope were pooled by a random-effects model (Paule-Mandel, "
        "Hartung-Knapp) with a prediction interval for a new site."
    )
    references = (
        "Steyerberg EW, Harrell FE. Prediction models need appropriate internal, internal-external, and external validation. "
        "J Clin Epidemiol 2016;69:245-247.",
        "Debray TPA, Damen JAAG, Riley RD, et al. A framework for meta-analysis of prediction model studies with binary and "
        "time-to-event outcomes. Stat Methods Med Res 2019;28:2768-2786.",
    )

    sites: pd.DataFrame
    """One row a judged site: site, n, events, harrell_c, harrell_c_se, slope, slope_se."""
    pooled: pd.DataFrame
    """Rows Harrell's C and calibration slope: measure, value, low, high, new_low, new_high (for a new site), tau (between sites,
    of the C on the log-odds scale)."""
    left_out: int
    """Sites with fewer than 10 events: in every training set, never judged."""

    def frame(self) -> pd.DataFrame:
        """Return one row a site, then the pooled rows, told apart by `part`."""
        return pd.concat([self.sites.assign(part="site"), self.pooled.assign(part="pooled")], ignore_index=True)

    def estimate(self, measure: str) -> Estimate:
        """Return a pooled measure: ``"Harrell's C"`` or ``"calibration slope"``.

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
        out = (
            f" {counted(self.left_out, 'site')} with fewer than {FEWEST_EVENTS} events not judged."
            if self.left_out
            else ""
        )
        return (
            f"Learned on the other sites and judged on each of {len(self.sites)} in turn ({format_count(self.sites['n'].sum())} patients, "
            f"{format_count(self.sites['events'].sum())} events): {'; '.join(said)} (95 % prediction intervals).{out}"
        )

    def scalars(self) -> dict[str, float]:
        """Return the pooled measures with limits and prediction intervals."""
        names = {"Harrell's C": "internal_external_c", "calibration slope": "internal_external_slope"}
        numbers = with_limits({name: self.estimate(measure) for measure, name in names.items()})
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
        for axes, name, row in zip(
            figure.subplots(1, 2), ("harrell_c", "slope"), self.pooled.itertuples(), strict=True
        ):
            axes.errorbar(
                self.sites[name], place, xerr=1.96 * self.sites[f"{name}_se"], fmt="o", color=COLOURS["experimental"]
            )
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
        If a site is missing.
    AnalysisError
        If fewer than 3 sites have 10 events, or a fit fails.
    """
    times, flags = np.asarray(time, dtype=float), np.asarray(event, dtype=bool)
    labels = pd.Series(site).reset_index(drop=True)
    if labels.isna().any() or len(labels) != times.size:
        raise DataError(
            f"{int(labels.isna().sum())} of {len(labels)} sites are missing for {times.size} patients: name each one's site"
        )
    names = labels.astype(str).to_numpy()
    known, counts = np.unique(names, return_inverse=True)
    events = np.bincount(counts, flags, known.size)
    judged = known[events >= FEWEST_EVENTS]
    if judged.size < 3:
        raise AnalysisError(f"{judged.size} of {known.size} sites have {FEWEST_EVENTS} events or more, but 3 are needed: pool small sites "
                            "into regions first")  # fmt: skip

    def one(name: str) -> tuple[Any, ...]:
        own = np.flatnonzero(names == name)
        score = np.asarray(fit(np.flatnonzero(names != name)).log_hazard(X.iloc[own]), dtype=float)
        c = concordance(times[own], flags[own], score)
        slope = fit_cox(times[own], flags[own], score[:, None])
        se = float(np.sqrt(slope.covariance[0, 0]))
        return name, own.size, int(flags[own].sum()), c.value, c.se, float(slope.coefficients[0]), se

    rows = list(in_order(one, judged.tolist(), workers=workers, advance=advance))
    sites = pd.DataFrame(rows, columns=["site", "n", "events", "harrell_c", "harrell_c_se", "slope", "slope_se"])
    return InternalExternal(sites, _pooled(sites), int(known.size - judged.size))


def _pooled(sites: pd.DataFrame) -> pd.DataFrame:
    c = np.clip(sites["harrell_c"].to_numpy(), 1e-6, 1 - 1e-6)
    odds = pooled_mean(special.logit(c), sites["harrell_c_se"] / (c * (1 - c)))
    slope = pooled_mean(sites["slope"], sites["slope_se"])
    rows = [("Harrell's C", *special.expit(odds[:5]), odds.tau), ("calibration slope", *slope)]
    return pd.DataFrame(rows, columns=["measure", "value", "low", "high", "new_low", "new_high", "tau"])
