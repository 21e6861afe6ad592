"""All models of a time to event beside the default Cox model on public data sets, by repeated nested cross-validation.

    nice python benchmarks/model_table.py > benchmarks/model_table.txt

Each model learns everything, its tuning included, within the training folds of REPEATS x 5-fold cross-validation balanced by event, all
models on the same folds. Settings are each model's defaults: the penalties of the Cox models and the numbers of boosted trees are
tuned inside, the other settings of trees (learning rate, leaves, forest) are not. Every column but identifiers and columns of
the follow-up is a covariate, the arm among them. What is read is, in each test fold and up to a horizon (the earlier of the time by which two thirds of
the events have happened and the one until which a fifth of the patients are followed), Harrell's C of the predicted risk and the Brier score weighted for
censoring; IPA is 1 less the Brier score over that of the training folds' Kaplan-Meier risk. Differences from cox_ridge are paired by
fold, with the corrected resampled variance (Nadeau and Bengio) and limits and p-values adjusted (Bonferroni) for the number of
candidates; they are not adjusted for the number of data sets. The Kaplan-Meier risk is no candidate: its difference stands alone, unadjusted.

One data set is a shard: what is done is kept in results/model_table and read again, so that the run can be stopped and gone on with.
"""

from __future__ import annotations

import json
import os
import sys
import time as clock
from pathlib import Path

import numpy as np
import pandas as pd

from trialml.models import models_for
from trialml.models.outcome import survival_outcome
from trialml.survival.concordance import concordance
from trialml.survival.ipcw import censoring_of, checked_horizon, checked_outcome
from trialml.validation.model_comparison import CorrectedMean, corrected_resampled
from trialml.validation.nested_crossvalidation import NestedRisks, nested_crossvalidation

REPEATS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
FOLDS = 5
DEFAULT = "cox_ridge"
NULL = "Kaplan-Meier"
KEPT = Path("results/model_table")
REFERENCE = Path(__file__).parents[1] / "tests" / "reference" / "data"


def lifelines_file(name: str) -> pd.DataFrame:
    import lifelines.datasets

    return pd.read_csv(Path(lifelines.datasets.__file__).parent / name)


def data_sets() -> dict[str, tuple[pd.DataFrame, str, np.ndarray]]:
    """Return by name the covariates with the time, the time's column, and who had the event."""
    actg = lifelines_file("ACTG175.csv")
    actg_columns = [
        "age",
        "wtkg",
        "hemo",
        "homo",
        "drugs",
        "karnof",
        "oprior",
        "preanti",
        "race",
        "gender",
        "str2",
        "symptom",
        "cd40",
        "cd80",
        "arms",
    ]
    lung, rossi, larynx = (lifelines_file(name) for name in ("lung.csv", "rossi.csv", "larynx.csv"))
    gbsg2, kidney = lifelines_file("gbsg2.csv"), lifelines_file("kidney_transplant.csv")
    colon, pbc = pd.read_csv(REFERENCE / "colon_death.csv"), pd.read_csv(REFERENCE / "pbc_rct.csv")
    veteran, mgus = pd.read_csv(REFERENCE / "veteran.csv"), pd.read_csv(REFERENCE / "mgus2.csv")
    actg = actg.assign(arms=actg["arms"].astype(str).radd("arm "))
    rest = {
        "ACTG 175": (actg[[*actg_columns, "days"]], "days", actg["cens"]),
        "colon, death": (colon.drop(columns=["id", "study", "status", "etype", "node4"]), "time", colon["status"]),
        "GBSG2": (gbsg2.drop(columns=["cens"]), "time", gbsg2["cens"]),
        "kidney transplant": (kidney.drop(columns=["death"]), "time", kidney["death"]),
        "larynx": (larynx.drop(columns=["death"]), "time", larynx["death"]),
        "lung": (lung.drop(columns=["status", "inst"]), "time", lung["status"]),
        "mgus2, death": (mgus.drop(columns=["id", "ptime", "pstat", "death"]), "futime", mgus["death"]),
        "PBC, death": (pbc.drop(columns=["id", "status", "death"]), "time", pbc["death"]),
        "Rossi (arrests)": (rossi.drop(columns=["arrest"]), "week", rossi["arrest"]),
        "veteran": (veteran.drop(columns=["status"]), "time", veteran["status"]),
    }
    return {name: (frame, time, np.asarray(event) == np.max(event)) for name, (frame, time, event) in rest.items()}


class Ordered:
    """A fitted model whose score, for the cross-validation, is its prediction."""

    def __init__(self, model):
        self.risk, self.log_hazard = model.risk, model.predict


def learner(name: str, X: pd.DataFrame, y: np.ndarray, seconds: list[float]):
    def fit(rows: np.ndarray) -> Ordered:
        begun = clock.perf_counter()
        model = models_for("risk", "time to event")[name].estimator().fit(X.iloc[rows], y[rows])
        seconds.append(clock.perf_counter() - begun)
        return Ordered(model)

    return fit


def by_fold(held: NestedRisks, time: np.ndarray, event: np.ndarray, horizon: float) -> tuple[np.ndarray, np.ndarray]:
    """Return C, shape (models, folds), and Brier score, shape (models and null, folds), in each test fold of all repeats."""
    outcome = checked_outcome(time, event)
    beyond = checked_horizon(time, horizon)
    weight = censoring_of(outcome, None).weights(beyond, horizon)
    happened, c, losses = event & ~beyond, [], []
    for repeat, fold in enumerate(held.fold):
        risks = np.vstack([held.risk[:, repeat], held.null_risk[[repeat]]])
        loss = weight * (happened - risks) ** 2
        for label in range(FOLDS):
            own = fold == label
            losses.append(loss[:, own].mean(axis=1))
            c.append([concordance(time[own], event[own], risk[own], tau=horizon).value for risk in risks[:-1]])
    return np.asarray(c).T, np.asarray(losses).T


def judged(name: str) -> dict:
    kept = KEPT / f"{name.replace(',', '').replace(' ', '_')}_{REPEATS}.json"
    if kept.exists():
        return json.loads(kept.read_text())
    frame, column, event = data_sets()[name]
    frame, event = frame[frame[column] > 0].reset_index(drop=True), event[(frame[column] > 0).to_numpy()]
    X, time = frame.drop(columns=[column]), frame[column].to_numpy(dtype=float)
    horizon = float(min(np.quantile(time[event], 2 / 3), np.quantile(time, 0.8)))
    y = survival_outcome(time, event)
    names = [DEFAULT, *(one for one in models_for("risk", "time to event") if one != DEFAULT)]
    seconds: dict[str, list[float]] = {one: [] for one in names}
    fits = {one: learner(one, X, y, seconds[one]) for one in names}
    held = nested_crossvalidation(
        fits, X, time, event, cells=event, horizon=horizon, folds=FOLDS, repeats=REPEATS, seed=1
    )
    c, brier = by_fold(held, time, event, horizon)
    found = {
        "n": len(X), "events": int(event.sum()), "by": int((event & (time <= horizon)).sum()), "columns": X.shape[1],
        "horizon": horizon, "models": names, "c": c.tolist(), "brier": brier.tolist(),
        "seconds": {one: float(np.median(values)) for one, values in seconds.items()},
    }  # fmt: skip
    KEPT.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(found))
    return found


def limits(one: CorrectedMean, scale: float) -> str:
    p = "<0.001" if one.p < 0.001 else f"{one.p:.3f}"
    return f"{scale * one.value:+7.2f} ({scale * one.low:+7.2f} to {scale * one.high:+7.2f}) {p:>6s}"


def show(name: str, found: dict) -> list[str]:
    """Print one data set, and return what excludes zero."""
    c, brier, names = np.asarray(found["c"]), np.asarray(found["brier"]), found["models"]
    share, candidates = 1 / (FOLDS - 1), len(names) - 1
    print(f"\n{name}: {found['n']:,} rows, {found['columns']} covariates, {found['events']} events, {found['by']} by the "
          f"horizon {found['horizon']:g}")  # fmt: skip
    said = []
    ipa = 1 - brier.mean(axis=1) / brier[-1].mean()
    for place, model in enumerate(names):
        line = f"{model:16s} {c[place].mean():6.3f} {ipa[place]:7.3f}"
        if place:
            better = corrected_resampled(c[place] - c[0], share, comparisons=candidates)
            loss = corrected_resampled(brier[place] - brier[0], share, comparisons=candidates)
            line += f"  {limits(better, 100)}  {limits(loss, 1000)}"
            for measure, one in (("C", better), ("Brier score", loss)):
                if one.low > 0 or one.high < 0:
                    good = (one.value > 0) == (measure == "C")
                    said.append(f"{name}: {model} {'better' if good else 'worse'} by {measure}")
        else:
            line += " " * 68
        print(f"{line}  {found['seconds'][model]:6.2f}")
    null = corrected_resampled(brier[-1] - brier[0], share)
    print(f"{NULL:16s} {0.5:6.3f} {0:7.3f}  {'':34s}  {limits(null, 1000)}", flush=True)
    return said


def main() -> None:
    import lifelines
    import lightgbm
    import sklearn

    print(f"{REPEATS} x {FOLDS} folds; {os.cpu_count()} cores (shared); scikit-learn {sklearn.__version__}, lightgbm "
          f"{lightgbm.__version__}, lifelines {lifelines.__version__}")  # fmt: skip
    print(
        f"differences from {DEFAULT}: C x 100 (above 0 is better), Brier score x 1000 (below 0 is better), adjusted 95 % limits and p"
    )
    print(f"{'':16s} {'C':>6s} {'IPA':>7s}  {'C x 100':^34s}  {'Brier score x 1000':^34s}  {'s/fit':>6s}")
    said, compared = [], 0
    for name in data_sets():
        found = judged(name)
        compared += 2 * (len(found["models"]) - 1)
        said += show(name, found)
    print(f"\nOf {compared} adjusted intervals (two measures), {len(said)} exclude(s) zero; with no difference anywhere, about "
          f"{compared * 0.05 / 4:.1f} would:")  # fmt: skip
    print("\n".join(said or ["none"]))


if __name__ == "__main__":
    main()
