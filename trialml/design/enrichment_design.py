"""The rules of an enrichment trial: who is tested, what the interim analysis may drop, and how stages are combined."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from trialml.design.closed_test import IntersectionTest, checked_test
from trialml.design.combination import stage_weights
from trialml.design.group_sequential import Design
from trialml.design.refusals import require_between, require_finite, require_positive
from trialml.design.sample_size import information_per_event
from trialml.errors import AnalysisError, nearest

__all__ = ["EnrichmentDesign", "Rule", "Stages", "Tested"]

Rule = Literal["best", "epsilon", "threshold", "conditional-power", "all"]
Tested = Literal["both", "subgroup", "full"]
Stages = Literal["increments", "patients"]

_HALVES = Design(information_fractions=(0.5, 1.0))
_CODES = {"subgroup": 1, "full": 2, "both": 3}


@dataclass(frozen=True)
class EnrichmentDesign:
    """A trial of two stages in a subgroup and the full population; no assumption about the truth.

    All designs are one family: `EnrichmentDesign` itself is adaptive, and `all_comers`, `enriched`, `co_primary` and
    `hierarchical` drop nothing.

    With ``stages="increments"`` a stage's statistic is what the log-rank score has gained since the look before, in the
    patients of the population. The score has independent increments over calendar time, so that with prefixed weights
    the combined z of each hypothesis is normal under it and the closed test holds the familywise error, as long as
    selection uses the scores alone. With ``stages="patients"`` the first stage's patients are followed to a number of
    events that is fixed in advance, the second stage is of patients who enter after the interim analysis, and selection
    may use anything known of the first patients (Jenkins, Stone and Jennison 2011); there is no rejection at the
    interim analysis.

    Attributes
    ----------
    interim_events, further_events
        Events in all enrolled at the interim analysis, and from then on in whichever population goes on.
    design
        Two looks: alpha (one-sided, familywise), bounds, and information fractions, which fix the weights.
    rule
        Which populations go on: the one of larger estimated benefit (``"best"``); those within `epsilon` of it on the
        scale of 1 / hazard ratio (``"epsilon"``); those whose estimated hazard ratio is below `thresholds`
        (``"threshold"``); both if the full population has at least `conditional_powers[0]` of conditional power under
        the effect seen, else the subgroup alone if it has `conditional_powers[1]` (``"conditional-power"``); or
        ``"all"``. Where none goes on the trial stops.
    test
        Of the intersection, as `closed_test` knows them.
    tested
        ``"both"``, or one population without a multiple test: ``"subgroup"`` enrols only it.
    subgroup_events
        Further events where the subgroup alone goes on; None for `further_events`.
    epsilon, thresholds, conditional_powers
        Of the rules; thresholds are hazard ratios, subgroup first; conditional powers full population first.
    success
        Whether the interim analysis stops the trial where ``"all"`` tested populations are rejected, or ``"any"``.
    stages
        ``"increments"`` or ``"patients"``.
    first_stage_events
        With ``"patients"``: events at which the first stage's patients are tested.

    Raises
    ------
    AnalysisError
        If a number is outside its range, or a name is not known.

    References
    ----------
    Jenkins, M., Stone, A. and Jennison, C. (2011). An adaptive seamless phase II/III design for oncology trials with
    subpopulation selection using correlated survival endpoints. Pharmaceutical Statistics 10, 347-356.
    Irle, S. and Schaefer, H. (2012). Interim design modifications in time-to-event studies. Journal of the American
    Statistical Association 107, 341-348.
    Mehta, C., Schaefer, H., Daniel, H. and Irle, S. (2014). Biomarker driven population enrichment for adaptive oncology
    trials with time to event endpoints. Statistics in Medicine 33, 4515-4531.
    """

    interim_events: int
    further_events: int
    _: KW_ONLY
    design: Design = _HALVES
    rule: Rule = "best"
    test: IntersectionTest = "simes"
    tested: Tested = "both"
    subgroup_events: int | None = None
    epsilon: float = 0.1
    thresholds: tuple[float, float] = (1.0, 1.0)
    conditional_powers: tuple[float, float] = (0.5, 0.2)
    success: Literal["all", "any"] = "all"
    stages: Stages = "increments"
    first_stage_events: int | None = None

    def __post_init__(self) -> None:
        checked_test(self.test)
        for field, kinds in (("rule", Rule), ("tested", Tested), ("stages", Stages)):
            if getattr(self, field) not in get_args(kinds):
                known = nearest(str(getattr(self, field)), get_args(kinds))
                raise AnalysisError(f"{field} of the enrichment design is {getattr(self, field)!r}: {known}")
        if self.success not in ("all", "any"):
            raise AnalysisError(f"success is {self.success!r}: give 'all' or 'any' of the tested populations")
        self._check_numbers()
        self._check_stages()

    def _check_numbers(self) -> None:
        if self.design.looks != 2:
            raise AnalysisError(f"the enrichment design has {self.design.looks} looks: give a design of two")
        if self.design.sides != 1 or self.design.has_futility:
            seen = "a futility bound" if self.design.has_futility else "two sides"
            raise AnalysisError(
                f"the enrichment design has {seen}: its tests are one-sided and it stops for futility by its rule "
                "('threshold' or 'conditional-power'), so leave that out"
            )
        for field in ("interim_events", "further_events", "subgroup_events", "first_stage_events"):
            if getattr(self, field) is not None:
                object.__setattr__(self, field, round(require_positive(field, getattr(self, field))))
        require_positive("epsilon", self.epsilon, zero=True)
        for ratio in self.thresholds:
            require_positive("a threshold (a hazard ratio)", ratio)
        for power in self.conditional_powers:
            if require_finite("a conditional power", power) != 0:
                require_between("a conditional power", power, 0.0, 1.0)

    def _check_stages(self) -> None:
        first = self.first_stage_events
        if (self.stages == "patients") != (first is not None):
            raise AnalysisError(
                f"stages is {self.stages!r} and first_stage_events {first}: stages of patients need the events at which the "
                "first patients are tested, and only they do"
            )
        if first is not None and first < self.interim_events:
            raise AnalysisError(
                f"first_stage_events is {first}, fewer than the {self.interim_events} events at the interim analysis: the "
                "first patients' information must not decrease, so give at least as many"
            )

    @classmethod
    def all_comers(cls, interim_events: int, further_events: int, **rest: Any) -> Self:
        """Return the design that tests the full population alone."""
        return cls(interim_events, further_events, tested="full", rule="all", **rest)

    @classmethod
    def enriched(cls, interim_events: int, further_events: int, **rest: Any) -> Self:
        """Return the design that enrols and tests the subgroup alone."""
        return cls(interim_events, further_events, tested="subgroup", rule="all", **rest)

    @classmethod
    def co_primary(cls, interim_events: int, further_events: int, **rest: Any) -> Self:
        """Return the design that tests both populations in all comers and drops none."""
        return cls(interim_events, further_events, rule="all", **rest)

    @classmethod
    def hierarchical(
        cls, interim_events: int, further_events: int, *, first: Literal["full", "subgroup"] = "full", **rest: Any
    ) -> Self:
        """Return the design that tests one population and, once it is rejected, the other; none is dropped."""
        if first not in ("full", "subgroup"):
            raise AnalysisError(f"first is {first!r}: give 'full' or 'subgroup'")
        test: IntersectionTest = "full-first" if first == "full" else "subgroup-first"
        return cls(interim_events, further_events, rule="all", test=test, **rest)

    def codes(self) -> NDArray[np.int64]:
        """Return rule, test, tested populations, success and stages as the compiled loops take them."""
        from trialml.design.enrichment_rules import RULES
        from trialml.design.intersection_tests import TESTS

        success, patients = self.success == "all", self.stages == "patients"
        return np.array([RULES[self.rule], TESTS[self.test], _CODES[self.tested], success, patients], np.int64)

    def numbers(self, prevalence: float, allocation_ratio: float = 1.0) -> NDArray[np.float64]:
        """Return bounds, weights, planned information and the rule's numbers as the compiled loops take them."""
        bounds: Sequence[float] = self.design.critical_values
        if self.stages == "patients":
            bounds = (math.inf, float(-ndtri(self.design.alpha)))
        each = information_per_event(allocation_ratio)
        planned = (self.further_events * each, self.alone_events * each)
        rules = (self.epsilon, *self.thresholds, *self.conditional_powers, prevalence)
        return np.array([*bounds, *stage_weights(self.design), *planned, *rules])

    @property
    def alone_events(self) -> int:
        """Further events where the subgroup alone goes on."""
        return self.further_events if self.subgroup_events is None else self.subgroup_events

    def text(self) -> str:
        """Return the rules in words, alpha one-sided and said so."""
        who = {"full": "all comers", "subgroup": "the subgroup alone", "both": "the subgroup and the full population"}
        shown = ", ".join(f"{weight:.3g}" for weight in stage_weights(self.design))
        closed = f", intersection by {self.test}" if self.tested == "both" else ""
        drops = f", selection by rule '{self.rule}'" if self.rule != "all" else ", nothing dropped"
        return (
            f"test of {who[self.tested]}{closed}{drops}; interim analysis at {self.interim_events} events and "
            f"{self.further_events} further events ({self.alone_events} if the subgroup alone goes on); stages of "
            f"{self.stages}, inverse normal weights {shown}, alpha {self.design.alpha:g} one-sided, familywise"
        )
