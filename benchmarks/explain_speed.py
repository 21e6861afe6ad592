"""How long SHAP values of trees take a row, beside shap's own explainers on the same model and background.

    python benchmarks/explain_speed.py [target] [boosting] [growth] [shap] > benchmarks/explain_speed.txt

Without a word all four parts. Seconds are of the processor, since other work may share the machine; kernels are compiled before.
"""

import platform
import sys
import time
import warnings
from importlib.metadata import version

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestRegressor

from trialml.explain.risk_scores import additive_score, count_patients, risk_score, rmst_score
from trialml.explain.tree_shap import shap_values_trees
from trialml.models.boosted_hazard import BoostedHazard
from trialml.models.forest_curves import leaf_curves
from trialml.models.outcome import survival_outcome
from trialml.models.survival_forest import SurvivalForest, logrank_scores
from trialml.models.tree_arrays import TreeArrays
from trialml.models.tree_design import TreeDesign

N, COLUMNS, TIMES = 2000, 20, np.linspace(1.0, 10.0, 10)


def data():
    draw = np.random.default_rng(1)
    X = pd.DataFrame(draw.normal(size=(N, COLUMNS)), columns=[f"x{k}" for k in range(COLUMNS)])
    hazard = np.exp(0.5 * X["x0"] + 0.4 * X["x1"] * X["x2"] + 0.3 * (X["x3"] > 0))
    event_time, end = draw.exponential(8 / hazard), draw.uniform(4, 16, N)
    return X, np.minimum(event_time, end), (event_time <= end)


def forest_of(depth, trees=100):
    """A survival forest of our class whose trees have a given depth."""
    X, t, event = data()
    model = SurvivalForest()
    model.feature_names_in_, model.design_ = X.columns.to_numpy(), TreeDesign.learn(X, None)
    matrix = model.design_.matrix(X).astype(np.float32)
    grown = RandomForestRegressor(
        trees, max_depth=depth, min_samples_leaf=5, max_features=0.4, random_state=1, n_jobs=2
    )
    grown.fit(matrix, logrank_scores(t, event))
    model.trees_, model.times_ = TreeArrays.of_forest(grown), model._grid_of(t[event])
    leaves = model.trees_.leaves(matrix.astype(np.float64))
    model.curves_, model.curve_of_node_ = leaf_curves(
        leaves, grown.estimators_samples_, len(model.trees_.feature), t, event, model.times_
    )
    model.horizon_limit_ = float(t.max())
    count_patients(model, X)
    return model, X


def seconds(task, best_of=2):
    """Processor seconds of this process, the least of several, since others use the machine."""
    return min(_once(task) for _ in range(best_of))


def _once(task):
    start = time.process_time()
    task()
    return time.process_time() - start


def ms_a_row(score, X, background=None, rows=500):
    matrix = score.matrix(X.iloc[:rows])
    others = None if background is None else score.matrix(background)
    shap_values_trees(score.boxes, matrix[:2], COLUMNS, others)
    used = seconds(lambda: shap_values_trees(score.boxes, matrix, COLUMNS, others))
    found = shap_values_trees(score.boxes, matrix, COLUMNS, others)
    said = np.abs(score.value(X.iloc[:rows])).max()
    return 1000 * used / rows, found.error / said


def as_shap(trees, boxes_value):
    ends, out = [*trees.root[1:], len(trees.feature)], []
    for start, end in zip(trees.root, ends, strict=True):
        part, leaf = slice(start, end), trees.feature[start:end] < 0
        sides = [np.where(leaf, -1, side[part] - start) for side in (trees.left, trees.right)]
        out.append({"children_left": sides[0], "children_right": sides[1], "children_default": sides[1],
                    "features": np.where(leaf, -2, trees.feature[part]), "thresholds": trees.threshold[part],
                    "values": boxes_value[part], "node_sample_weight": trees.weight[part]})  # fmt: skip
    return {"trees": out}


def node_values(model, times):
    score = risk_score(model, times)
    value = np.zeros((len(model.trees_.feature), len(times)))
    value[model.trees_.feature < 0] = score.boxes.value
    return value


def target(model, X):
    background = X.iloc[-100:]
    score = risk_score(model, TIMES)
    print(f"100 trees of depth 6, {COLUMNS} covariates, {len(score.boxes.value):,} leaves, the risk by 10 times")
    for words, others in (("path-dependent", None), ("interventional, background of 100", background)):
        used, error = ms_a_row(score, X, others)
        print(f"  {words:36} {used:7.3f} ms a row, largest additivity error {error:.1e} of the largest risk")
    many = pd.concat([X] * 20, ignore_index=True)
    whole = seconds(lambda: shap_values_trees(score.boxes, score.matrix(many), COLUMNS), 1)
    print(f"  40,000 rows, path-dependent          {whole:7.1f} s of one core")
    used, error = ms_a_row(rmst_score(model, 8.0, "months"), X)
    print(f"  {'restricted mean, path-dependent':36} {used:7.3f} ms a row, error {error:.1e}")


def boosting():
    X, *outcome = data()
    background = X.iloc[-100:]
    boosted = BoostedHazard(folds=0, iterations=100, leaves=16, seed=1).fit(X, survival_outcome(*outcome))
    count_patients(boosted, X)
    score = additive_score(boosted)
    print(
        f"boosted hazard, 100 trees of up to 16 leaves in 20 periods, the log hazard ({len(score.boxes.value):,} leaves)"
    )
    for words, others in (("path-dependent", None), ("interventional, background of 100", background)):
        used, error = ms_a_row(score, X, others)
        print(f"  {words:36} {used:7.3f} ms a row, error {error:.1e}")


def growth():
    print("growth, ms a row (path-dependent, interventional with a background of 100)")
    for depth in (4, 6, 8):
        model, X = forest_of(depth)
        cells = []
        for times in (1, 10, 50):
            score = risk_score(model, np.linspace(1.0, 10.0, times))
            used = [ms_a_row(score, X, others, rows=100)[0] for others in (None, X.iloc[-100:])]
            cells.append(f"{times:2d} times {used[0]:6.3f} {used[1]:6.3f}")
        print(f"  depth {depth:2d}, {len(score.boxes.value):6,} leaves: " + "   ".join(cells))


def beside_shap(model, X):
    import shap

    background, rows = X.iloc[-100:], X.iloc[:40]
    plain = as_shap(model.trees_, node_values(model, TIMES))
    score = risk_score(model, TIMES)
    for words, others in (("tree_path_dependent", None), ("interventional", background)):
        explainer = shap.TreeExplainer(
            plain, None if others is None else score.matrix(others), feature_perturbation=words
        )
        matrix = score.matrix(rows)
        used = seconds(
            lambda explainer=explainer, matrix=matrix: explainer.shap_values(matrix, check_additivity=False), 1
        )
        theirs = explainer.shap_values(matrix, check_additivity=False)
        ours = shap_values_trees(score.boxes, matrix, COLUMNS, None if others is None else score.matrix(others)).values
        print(
            f"  shap.TreeExplainer, {words:20} {25 * used:8.2f} ms a row; largest difference {np.abs(theirs - ours).max():.1e} percentage points"
        )
    one = risk_score(model, [8.0])
    exact = shap_values_trees(one.boxes, one.matrix(rows), COLUMNS, one.matrix(background)).values[:, :, 0]
    ask = lambda matrix: one.value(pd.DataFrame(matrix, columns=X.columns))[:, 0]  # noqa: E731
    for rounds in (1, 10):
        explainer = shap.explainers.Permutation(
            ask, shap.maskers.Independent(background.to_numpy(), max_samples=100), seed=1
        )
        few = rows.to_numpy()[:5]
        start = time.process_time()
        theirs = explainer(few, max_evals=rounds * (2 * COLUMNS + 1)).values
        used = (time.process_time() - start) / 5
        off = theirs - exact[:5]
        print(
            f"  shap's permutation explainer, {rounds:2d} orders   {1000 * used:8.0f} ms a row; from the exact values: root mean square "
            f"{np.sqrt((off**2).mean()):.3f}, largest {np.abs(off).max():.3f}, correlation {np.corrcoef(theirs.ravel(), exact[:5].ravel())[0, 1]:.4f}"
        )


def main():
    warnings.simplefilter("ignore")
    names = ("numpy", "numba", "scikit-learn", "shap")
    print(f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in names))
    print("processor seconds of one core, on a machine whose two cores other work shared\n")
    asked = sys.argv[1:] or ["target", "boosting", "growth", "shap"]
    if "boosting" in asked:
        boosting()
    if "growth" in asked:
        growth()
    if not {"target", "shap"} & set(asked):
        return
    model, X = forest_of(6)
    if "target" in asked:
        target(model, X)
    if "shap" in asked:
        print("beside shap, the same forest and background of 100")
        beside_shap(model, X)


if __name__ == "__main__":
    main()
