"""Familywise error of enrichment designs over null configurations, simulated on patients.

Run `python benchmarks/enrichment_type_one_error.py [trials]`; 100,000 trials each unless told otherwise.
"""

from __future__ import annotations

import math
import os
import platform
import sys
import time

import numpy as np

from trialml.design.adaptive_enrichment import simulate_enrichment
from trialml.design.enrichment_design import EnrichmentDesign
from trialml.design.group_sequential import Design
from trialml.design.trial_plan import TrialPlan, plan_of

EARLY, LATE = Design(information_fractions=(0.3, 1.0)), Design(information_fractions=(0.7, 1.0))
POCOCK = Design(information_fractions=(0.5, 1.0), spending="lan-demets-pocock")
HAZARD = math.log(2) / 12


def people(
    patients=500,
    *,
    prevalence=0.4,
    rate=25.0,
    prognosis=1.0,
    dropout=0.002,
    others=1.0,
    ratio=1.0,
    pieces=None,
    accrual=None,
) -> TrialPlan:
    """Patients without an effect in the subgroup; `others` is the hazard ratio in the rest."""
    breaks, hazards = pieces or ([0.0], [HAZARD])
    hazards = np.array(hazards)
    return plan_of(
        patients,
        accrual=accrual or ([0.0], [rate]),
        groups=[
            (prevalence, breaks, hazards * prognosis, hazards * prognosis),
            (1 - prevalence, breaks, hazards, hazards * others),
        ],
        dropout=(dropout, dropout),
        allocation_ratio=ratio,
    )


def configurations() -> list[tuple[str, EnrichmentDesign, TrialPlan]]:
    best, base = EnrichmentDesign(120, 120), people()
    patientwise = {"stages": "patients", "first_stage_events": 160}
    return [
        ("best, Simes, prevalence 0.4", best, base),
        ("best, prevalence 0.1", best, people(prevalence=0.1)),
        ("best, prevalence 0.25", best, people(prevalence=0.25)),
        ("best, prevalence 0.6", best, people(prevalence=0.6)),
        ("best, prevalence 0.85", best, people(prevalence=0.85)),
        ("best, early interim (0.3)", EnrichmentDesign(72, 168, design=EARLY), base),
        ("best, late interim (0.7)", EnrichmentDesign(168, 72, design=LATE), base),
        ("best, weights other than the events", EnrichmentDesign(72, 168), base),
        ("best, Pocock-type bounds", EnrichmentDesign(120, 120, design=POCOCK), base),
        ("best, Bonferroni", EnrichmentDesign(120, 120, test="bonferroni"), base),
        ("best, Sidak", EnrichmentDesign(120, 120, test="sidak"), base),
        ("best, Spiessens-Debois", EnrichmentDesign(120, 120, test="spiessens-debois"), base),
        ("best, Spiessens-Debois, prevalence 0.85", EnrichmentDesign(120, 120, test="spiessens-debois"), people(prevalence=0.85)),
        ("epsilon 0.1", EnrichmentDesign(120, 120, rule="epsilon", epsilon=0.1), base),
        ("epsilon 0.3, Spiessens-Debois", EnrichmentDesign(120, 120, rule="epsilon", epsilon=0.3, test="spiessens-debois"), base),
        ("threshold 0.8 and 0.9", EnrichmentDesign(120, 120, rule="threshold", thresholds=(0.8, 0.9)), base),
        ("conditional power 0.5 and 0.2", EnrichmentDesign(120, 120, rule="conditional-power"), base),
        ("conditional power 0.3 and 0, any", EnrichmentDesign(120, 120, rule="conditional-power", conditional_powers=(0.3, 0.0), success="any"), base),
        ("co-primary, Spiessens-Debois", EnrichmentDesign.co_primary(120, 120, test="spiessens-debois"), base),
        ("hierarchical, full population first", EnrichmentDesign.hierarchical(120, 120), base),
        ("hierarchical, subgroup first", EnrichmentDesign.hierarchical(120, 120, first="subgroup"), base),
        ("all comers", EnrichmentDesign.all_comers(120, 120), base),
        ("enriched", EnrichmentDesign.enriched(120, 120), base),
        ("best, subgroup of twice the hazard", best, people(prognosis=2.0)),
        ("best, subgroup of half the hazard", best, people(prognosis=0.5)),
        ("best, slow accrual", best, people(rate=8.0)),
        ("best, fast accrual", best, people(rate=100.0)),
        ("best, rising accrual", best, people(accrual=([0.0, 6.0, 12.0], [5.0, 20.0, 40.0]))),
        ("best, dropout 3 % a month", best, people(700, dropout=0.03)),
        ("best, falling hazard", best, people(pieces=([0.0, 6.0, 18.0], [0.1, 0.05, 0.02]))),
        ("best, allocation 2:1", best, people(ratio=2.0)),
        ("best, fewer events in the subgroup", EnrichmentDesign(120, 120, subgroup_events=60), base),
        ("best, few events (40 and 40)", EnrichmentDesign(40, 40), people(200)),
        ("best, stages of patients", EnrichmentDesign(120, 120, **patientwise), people(700)),
        ("conditional power, stages of patients", EnrichmentDesign(120, 120, rule="conditional-power", **patientwise), people(700)),
        ("best, effect in the rest only (HR 0.6)", best, people(others=0.6)),
        ("co-primary, effect in the rest only (HR 0.6)", EnrichmentDesign.co_primary(120, 120), people(others=0.6)),
    ]  # fmt: skip


def main() -> int:
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    print(
        f"Familywise error, alpha 0.025 one-sided, {trials:,} trials on patients each; Monte Carlo error {math.sqrt(0.025 * 0.975 / trials):.5f}"
    )
    print(f"Python {platform.python_version()}, numpy {np.__version__}, {os.cpu_count()} processors")
    print(f"{'configuration':48} {'error':>8} {'z':>6} {'trials/s':>9}")
    worst = 0.0
    for number, (name, design, plan) in enumerate(configurations(), start=1):
        start = time.perf_counter()
        found = simulate_enrichment(design, plan, trials, seed=1000 + number).estimate("false_rejection")
        seconds = time.perf_counter() - start
        z = (found.value - 0.025) / math.sqrt(0.025 * 0.975 / trials)
        worst = max(worst, found.value)
        print(f"{name:48} {found.value:8.5f} {z:6.1f} {trials / seconds:9,.0f}", flush=True)
    print(f"Largest: {worst:.5f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
