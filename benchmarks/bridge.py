"""Does the bridge pay? Trial, model, gate, design and next trial, simulated whole at equal budget.

Each replication invents a trial (`response_trials.py`), learns ridge on doubly robust scores and thirds of the benefit score as a run
does, and lets `trialml.design.recommend` choose the next trial. What is chosen is then judged under the truth, which a pool of new patients
under both arms gives (`bridge_truth.py`): success is rejecting in a population whose true effect is at least the minimum, a false claim is
rejecting in one whose effect is below it, and "net" is success less false claims. Given a truth the next trial is not simulated but
integrated (the adaptive option alone is simulated), so that the errors come from the first trial.

Beside it, at the same budget: always all comers; naive enrichment (the option and the cut, of the same thirds or of any tenth, with the
largest power at the effects in the patients who made the rule: no shrinkage, no gate); and an oracle who knows every patient's true effect, and takes the best rule and option.

Run: python benchmarks/bridge.py [--hours 1] [--jobs 1] [--cells N,1000] > benchmarks/bridge.txt
Shards stay in benchmarks/cells/bridge; without --hours it prints what stands there.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from bridge_truth import Pool, best_rules, pool
from response_trials import SCENARIOS, TAU, outcome_model, trial
from shards import read_shard, run_shards
from strata_coverage import _global_p

from trialml.design.bridge_options import Chances, PlannedOption, planned_options
from trialml.design.bridge_setting import TrialSetting
from trialml.design.recommendation import Gate, recommend
from trialml.design.response_evidence import GroupEvidence, PlannedEndpoint, ResponseEvidence, Validation
from trialml.design.rule_choice import choose_rule
from trialml.effects.scores import crossfit_scores, fit_nuisance
from trialml.effects.shrinkage import shrink
from trialml.errors import AnalysisError
from trialml.models.ridge_scores import RidgeScores
from trialml.strata.population import StratumOutcomes, population_numbers
from trialml.validation.benefit import benefit_calibration, crossvalidate_response

Truths = Callable[[float], ResponseEvidence | None]
FOLDER = Path(__file__).parent / "cells" / "bridge"
SIZES = (300, 500, 1000, 2000)
REPEATS, FOLDS, GATE, MONTHS = 6, 5, Gate(), 12.0
MINIMUM = 0.8
FEWEST_EVENTS = 200
"""That a response model must be learned from to pass its validation (`mlflow/promotion.toml`)."""
POWER = 0.8
ECONOMIES = {"screening cheap": 1.0, "screening dear": 10.0}
CUTS = (2 / 3, 1 / 3)
"""Thirds of the benefit score, cut at either place; the first is planned with where the gate is closed."""
TENTHS = tuple(place / 10 for place in range(2, 10))


def endpoint() -> PlannedEndpoint:
    return PlannedEndpoint("time to event", "event", horizon_months=MONTHS)


def evidence(effects, errors, hazards, count: float, n: int, **known: Any) -> ResponseEvidence:
    """Return what is known inside and outside a rule; effects are log hazard ratios, shrunk already."""
    groups = [GroupEvidence(control_hazard_per_month=hazard / MONTHS, control_events=1000) for hazard in hazards]
    variances = errors if np.ndim(errors) == 2 else np.diag(np.square(errors))
    matrix = tuple(tuple(float(one) for one in row) for row in np.asarray(variances))
    given: dict[str, Any] = {"heterogeneity_p": 0.0, "validation": Validation(True)} | known
    return ResponseEvidence(
        endpoint=endpoint(),
        rule="the rule",
        complement="the others",
        inside=groups[0],
        outside=groups[1],
        mean=(float(effects[0]), float(effects[1])),
        covariance=matrix,
        data_covariance=given.pop("data_covariance", matrix),
        count=count,
        n=n,
        **given,
    )


def setting(economy: str, budget: float | None = None) -> TrialSetting:
    """Return the next trial: 30 screened a month, a year's follow-up, and what screening costs beside a patient at 10."""
    return TrialSetting(
        screened_per_month=30.0,
        follow_up_months=12.0,
        minimum_effect=MINIMUM,
        power=POWER,
        cost_screen=ECONOMIES[economy],
        cost_patient=10.0,
        budget=budget,
        dropout_per_month=1 / (3 * MONTHS),
    )


def truth_of(patients: Pool, inside: np.ndarray) -> ResponseEvidence:
    """Return what is true inside and outside a rule, as evidence without doubt."""
    two = [patients.group(one) for one in (inside, ~inside)]
    return evidence(
        [one.log_hazard_ratio for one in two],
        [1e-4, 1e-4],
        [one.control_hazard for one in two],
        float(inside.sum()),
        len(inside),
    )


@cache
def all_comers(scenario: str, economy: str) -> tuple[float, float, float, float]:
    """Return budget, power, true benefit of all comers, and the oracle's net, of a scenario."""
    patients = pool(scenario)
    everyone = patients.group(np.ones(len(patients.x), dtype=bool))
    benefit = -everyone.log_hazard_ratio
    # Where nothing works the budget is that of a hazard ratio of .7, so that false claims are counted.
    planned = -benefit if benefit > 0.05 else float(np.log(0.7))
    half = evidence([planned] * 2, [1e-4] * 2, [everyone.control_hazard] * 2, len(patients.x) / 2, len(patients.x))
    option = planned_options(half, setting(economy))["all comers"]
    budget = option.cost
    power = float(option.chances([benefit], [benefit]).full_only[0])
    nets = [power if benefit >= -np.log(MINIMUM) else 0.0]
    for rule in best_rules(scenario):
        truth = truth_of(patients, rule)
        for found in planned_options(truth, setting(economy, budget)).values():
            if found.feasible:
                right, wrong = judged(found, truth, benefit)
                nets.append(right - wrong)
    return budget, power, benefit, max(nets)


def judged(option: PlannedOption, truth: ResponseEvidence, overall: float) -> tuple[float, float]:
    """Return the probabilities of a success and of a false claim of an option, under a truth."""
    inside, outside = truth.benefit_mean
    found = Chances(
        *(float(np.ravel(one)[0]) for one in option.chances([inside], [outside], groups=truth.groups, draws=4096))
    )
    least = -np.log(MINIMUM)
    stratum, everyone = float(inside) >= least, overall >= least
    right = found.stratum_only * stratum + found.full_only * everyone + found.both * (stratum or everyone)
    wrong = found.stratum_only * (not stratum) + found.full_only * (not everyone)
    return right, wrong + found.both * (not (stratum and everyone))


def replicate(scenario: str, n: int, seed: int) -> dict[str, Any]:
    """Return for one trial what the bridge and naive enrichment choose, and what comes of it, by what screening costs."""
    generator = np.random.default_rng([seed, n, SCENARIOS.index(scenario), 11])
    X, time, event, arm = trial(scenario, n, generator)
    p = _global_p(X, time, event, arm, seed)
    outcomes = StratumOutcomes(time, event, arm, np.full(n, ""))
    known: dict[str, Any] = {"tau": TAU, "allocation": 0.5, "learner": outcome_model}
    scores = crossfit_scores(X, time, event, arm, folds=FOLDS, seed=seed, **known)
    final = RidgeScores(seed=seed, repeats=2).fit(X, scores)
    own, patients = final.benefit_score(X), pool(scenario)
    ranked = final.benefit_score(pd.DataFrame(patients.x, columns=X.columns))
    truths: dict[float, ResponseEvidence | None] = {}

    def truth(place: float) -> ResponseEvidence | None:
        if place not in truths:
            selected = ranked >= np.quantile(own, place)
            truths[place] = truth_of(patients, selected) if 0.02 < selected.mean() < 0.98 else None
        return truths[place]

    apparent = {
        place: _apparent(outcomes, own >= np.quantile(own, place)) for place in sorted({*CUTS, *TENTHS}, reverse=True)
    }
    # The gate is closed by the test alone, whatever the strata say.
    found = _evidence(X, outcomes, known, seed, p, final) if p < GATE.level and truth(CUTS[0]) is not None else None
    row: dict[str, Any] = {"p": p}
    for economy in ECONOMIES:
        row[economy] = {
            "bridge": _chosen(scenario, economy, found, truth),
            "naive": _naive(scenario, economy, {place: apparent[place] for place in CUTS}, truth),
            "naive, any tenth": _naive(scenario, economy, {place: apparent[place] for place in TENTHS}, truth),
        }
    return row


def _as_all_comers(scenario: str, economy: str) -> list[Any]:
    _, power, benefit, _ = all_comers(scenario, economy)
    right = power if benefit >= -np.log(MINIMUM) else 0.0
    return ["all comers", _short(right), _short(power - right)]


def _short(number: float) -> float:
    return float(f"{number:.5g}")


def _chosen(scenario: str, economy: str, found: ResponseEvidence | None, truth: Truths) -> list[Any]:
    """Return the option that the bridge takes on its evidence, success and false claims."""
    budget, _, benefit, _ = all_comers(scenario, economy)
    if found is None:
        return _as_all_comers(scenario, economy)
    try:
        rule = choose_rule(found, setting(economy, budget), gate=GATE, draws=128)
    except AnalysisError:
        # Effects that favour control are no ground for a trial: nothing is claimed, and nothing won.
        return ["no trial", 0.0, 0.0]
    chosen = recommend(rule.evidence, setting(economy, budget), gate=GATE, judged=rule.judged).option
    true = truth(CUTS[0] if rule.evidence.share < 0.5 else CUTS[1])
    if chosen == "all comers" or true is None:
        return _as_all_comers(scenario, economy)
    right, wrong = judged(rule.judged.options[chosen], true, benefit)
    return [f"{chosen}, {'highest' if rule.evidence.share < 0.5 else 'upper two'}", _short(right), _short(wrong)]


def _apparent(outcomes: StratumOutcomes, inside: np.ndarray) -> ResponseEvidence | None:
    """Return what the patients that made the rule say of it, unshrunken."""
    sides = [population_numbers(outcomes, _NoScores(len(inside)), one[None, :], TAU, 1.0) for one in (inside, ~inside)]
    effects, errors = ([side[name] for side in sides] for name in ("log_hazard_ratio", "log_hazard_ratio_se"))
    hazards = [side["control_hazard_per_month"] for side in sides]
    if not np.isfinite(effects + errors + hazards).all():
        return None
    return evidence(effects, errors, hazards, float(inside.sum()), len(inside))


def _naive(scenario: str, economy: str, rules: dict[float, ResponseEvidence | None], truth: Truths) -> list[Any]:
    """Return option, success and false claims of whoever trusts the effects in the patients that made the rule."""
    budget, _, benefit, _ = all_comers(scenario, economy)
    best, taken = -1.0, None
    for place, apparent in rules.items():
        if apparent is None or truth(place) is None:
            continue
        try:
            options = planned_options(apparent, setting(economy, budget))
        except AnalysisError:
            continue
        b_in, b_out = ([one] for one in apparent.benefit_mean)
        everyone = float(options["all comers"].chances(b_in, b_out).full_only[0])
        alone = float(options["enriched"].chances(b_in, b_out).stratum_only[0]) if options["enriched"].feasible else 0.0
        if everyone > best + 1e-9:
            best, taken = everyone, None
        if alone > best + 1e-9:
            best, taken = alone, (place, options["enriched"])
    if best < 0:
        return ["no trial", 0.0, 0.0]
    if taken is None:
        return _as_all_comers(scenario, economy)
    place, option = taken
    true = truth(place)
    assert true is not None
    right, wrong = judged(option, true, benefit)
    return [f"enriched at {place:.2f}", _short(right), _short(wrong)]


class _NoScores:
    """Stands where restricted means are not asked for."""

    def __init__(self, n: int) -> None:
        self.score = np.zeros((1, n))


def _evidence(
    X: pd.DataFrame, outcomes: StratumOutcomes, known: dict[str, Any], seed: int, p: float, final: RidgeScores
) -> ResponseEvidence | None:
    """Return cross-fitted and shrunken effects, and the validation, as a run makes them; None where an effect cannot be estimated."""
    time, event, arm = outcomes.time, outcomes.event, outcomes.treated

    def fit(rows):
        part = (X.iloc[rows], time[rows], event[rows], arm[rows])
        scores = crossfit_scores(*part, folds=FOLDS, seed=seed, **known)
        nuisance = fit_nuisance(*part, **known)
        model = RidgeScores(seed=seed, repeats=2).fit(part[0], scores)
        return model, lambda test: nuisance.scores(X.iloc[test], time[test], event[test], arm[test])

    cells = np.char.add(arm.astype(str), event.astype(str))
    held = crossvalidate_response(fit, X, cells=cells, folds=FOLDS, repeats=REPEATS, seed=seed)
    slope = benefit_calibration(held, shrinkage=final.shrinkage, shrinkage_mc_error=0.0, unit="years", tau=TAU).slope
    passed = slope.value > 0 and int((event & (time <= TAU)).sum()) >= FEWEST_EVENTS
    rules = []
    for place in CUTS:
        inside = held.rank >= place
        sides = [population_numbers(outcomes, held, one, TAU, 1.0) for one in (inside, ~inside)]
        effects, errors = ([side[name] for side in sides] for name in ("log_hazard_ratio", "log_hazard_ratio_se"))
        hazards = [side["control_hazard_per_month"] for side in sides]
        if not np.isfinite(effects + errors + hazards).all():
            continue
        shrunk = shrink(effects, errors)
        rules.append(
            evidence(
                shrunk.mean,
                np.asarray(shrunk.covariance),
                hazards,
                float(inside.sum(axis=1).mean()),
                len(X),
                data_covariance=tuple(tuple(row) for row in np.diag(np.square(errors)).tolist()),
                heterogeneity_p=p,
                validation=Validation(passed, () if passed else ("the slope or the events",)),
            )
        )
    return rules[0].replaced(other_rules=tuple(rules[1:])) if rules else None


def cells() -> dict[str, tuple[str, int]]:
    """Return scenario and size by the name of a shard."""
    return {f"{scenario[:2]}-{n}": (scenario, n) for n in SIZES for scenario in SCENARIOS}


def table(economy: str, folder: Path = FOLDER) -> pd.DataFrame:
    """Return one row a cell: net of each way of choosing, their paired differences with Monte Carlo errors, in points of probability."""
    rows = []
    for cell, (scenario, n) in cells().items():
        shard = read_shard(folder, cell)
        if len(shard) < 10:
            continue
        oracle = all_comers(scenario, economy)[3]
        come = _as_all_comers(scenario, economy)
        base = come[1] - come[2]
        net = {
            name: np.array([row[economy][name][1] - row[economy][name][2] for row in shard])
            for name in shard[0][economy]
        }
        wrong = {name: np.array([row[economy][name][2] for row in shard]) for name in net}
        bridge = net["bridge"]
        rows.append(
            {
                "scenario": scenario,
                "n": n,
                "trials": len(shard),
                "all comers": f"{100 * base:.1f}",
                "bridge": _points(bridge),
                "naive": _points(net["naive"]),
                "naive, any tenth": _points(net["naive, any tenth"]),
                "oracle": f"{100 * oracle:.1f}",
                "bridge less all comers": _points(bridge - base),
                "bridge less naive": _points(bridge - net["naive"]),
                "less naive, any tenth": _points(bridge - net["naive, any tenth"]),
                "false claims: bridge": _points(wrong["bridge"]),
                "naive ": _points(wrong["naive"]),
                "share of oracle's gain": _share(bridge - base, oracle - base),
            }
        )
    return pd.DataFrame(rows).sort_values(["scenario", "n"]) if rows else pd.DataFrame()


def _points(values: np.ndarray) -> str:
    return f"{100 * values.mean():.1f} ({100 * np.std(values, ddof=1) / np.sqrt(len(values)):.2f})"


def _share(gains: np.ndarray, most: float) -> str:
    if most < 0.01:
        return "none to gain"
    return f"{gains.mean() / most:.2f} ({np.std(gains, ddof=1) / np.sqrt(len(gains)) / most:.2f})"


def chosen(economy: str, folder: Path = FOLDER) -> pd.DataFrame:
    """Return how often each option was chosen, in per cent of trials."""
    rows = []
    for cell, (scenario, n) in cells().items():
        shard = read_shard(folder, cell)
        if len(shard) >= 10:
            share = pd.Series([row[economy]["bridge"][0] for row in shard]).value_counts(normalize=True)
            rows.append({"scenario": scenario, "n": n, **(100 * share).round(1).to_dict()})
    return pd.DataFrame(rows).fillna(0.0).sort_values(["scenario", "n"]) if rows else pd.DataFrame()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replications", type=int, default=1000)
    parser.add_argument("--hours", type=float, default=0.0)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--cells", default="", help="only cells whose name holds one of these, comma between")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    asked = parser.parse_args()
    if asked.hours > 0:
        parts = asked.cells.split(",")
        wanted = {name: cell for name, cell in cells().items() if any(part in name for part in parts)}
        run_shards(wanted, replicate, asked.folder, replications=asked.replications, hours=asked.hours, jobs=asked.jobs)
    print(f"python {platform.python_version()}, numpy {version('numpy')}, scikit-learn {version('scikit-learn')}")
    print(
        f"points of probability at equal budget, all comers having a power of {100 * POWER:g} % (where nothing works, at a hazard"
    )
    print(
        f"ratio of .7); least effect worth claiming: hazard ratio {MINIMUM:g}; thirds of the benefit score, cut at either place;"
    )
    print(f"gate: {GATE.text()}; Monte Carlo errors in brackets")
    for economy, cost in ECONOMIES.items():
        print(f"\n{economy}: one costs {cost / 10:g} of a patient\n")
        print(table(economy, asked.folder).to_string(index=False))
        print("\nchosen by the bridge, % of trials\n")
        print(chosen(economy, asked.folder).to_string(index=False))


if __name__ == "__main__":
    main()
