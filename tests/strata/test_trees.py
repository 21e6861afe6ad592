"""Trees on scores: policy trees against brute force over all trees, score trees against a greedy search spelled out."""

import itertools
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trialml.data.trial import Covariate
from trialml.errors import AnalysisError, DataError, ModelInputError
from trialml.models.input_contract import InputContract
from trialml.strata.policy_tree import NOT_RECOMMENDED, RECOMMENDED, policy_tree
from trialml.strata.score_tree import score_tree
from trialml.strata.strata import Strata
from trialml.strata.tree_growth import LeafLimits

NONE = LeafLimits(0, 0)
KINDS = {"age": "numeric", "cd4": "numeric", "prior": "binary", "stage": "categorical"}


def contract(X):
    covariates = tuple(Covariate(name, KINDS.get(name, "numeric"), name) for name in X)
    return InputContract.learn(covariates, X)


def patients(n, seed, *, missing=0.0, levels=("I", "II", "III")):
    generator = np.random.default_rng(seed)
    X = pd.DataFrame(
        {
            "age": generator.integers(40, 48, n).astype(float),
            "cd4": generator.normal(350, 90, n).round(-1),
            "prior": generator.integers(0, 2, n).astype(float),
            "stage": generator.choice(levels, n).astype(object),
        }
    )
    for name in ("age", "stage"):
        X.loc[generator.random(n) < missing, name] = np.nan
    treated, event = generator.random(n) < 0.5, generator.random(n) < 0.6
    scores = generator.normal(0.2, 3, n) + 2 * (X["cd4"] > 350) * (X["prior"] == 0) - 1
    return X, np.round(scores.to_numpy() * 64) / 64, treated, event


def splits_of(X):
    """All splits of the patients in the documented order, as masks of the lower side."""
    for name in X:
        column = X[name]
        if KINDS[name] == "categorical":
            for level in sorted(column.dropna().unique()):
                yield (column != level).to_numpy()
            continue
        values = np.unique(column.dropna())
        for down in (True, False) if column.isna().any() else (True,):
            for value in values[1:]:
                yield np.where(column.isna(), down, column < value)


def allowed(part, treated, event, limits):
    return all(
        (part & (treated == arm)).sum() >= limits.patients_per_arm
        and (part & event & (treated == arm)).sum() >= limits.events_per_arm
        for arm in (False, True)
    )


def brute_force(X, scores, treated, event, limits, depth=2):
    """The largest sum of scores of any tree, and the leaves of the first tree that reaches it."""
    every, masks = np.ones(len(X), dtype=bool), list(splits_of(X))

    def shallow(part):
        best, leaves = max(scores[part].sum(), 0.0), [part]
        for mask in masks:
            sides = [part & mask, part & ~mask]
            value = sum(max(scores[side].sum(), 0.0) for side in sides)
            if value > best and all(allowed(side, treated, event, limits) for side in sides):
                best, leaves = value, sides
        return best, leaves

    best, leaves = shallow(every)
    if depth == 1:
        return best, leaves
    for mask in masks:
        if not all(allowed(side, treated, event, limits) for side in (mask, ~mask)):
            continue
        (low, low_leaves), (high, high_leaves) = shallow(mask), shallow(~mask)
        if low + high > best:
            best, leaves = low + high, low_leaves + high_leaves
    return best, leaves


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("missing", "limits"), [(0.0, NONE), (0.15, NONE), (0.1, LeafLimits(5, 2))])
@pytest.mark.parametrize("depth", [1, 2])
def test_the_policy_tree_is_the_best_of_all_by_brute_force(seed, missing, limits, depth):
    """Scores are multiples of 1/64, so that the oracle's sums are exact and ties are seen as ties."""
    X, scores, treated, event = patients(90, seed, missing=missing)
    best, leaves = brute_force(X, scores, treated, event, limits, depth)
    found = policy_tree(X, scores, treated, event, contract(X), limits=limits, depth=depth, most_cuts=200)
    assert found.apparent_gain * len(X) == pytest.approx(best, rel=1e-12)
    wanted = np.zeros(len(X), dtype=int)
    for leaf in leaves:
        wanted[leaf] = scores[leaf].sum() > 0
    np.testing.assert_array_equal(found.strata.place(X), wanted)
    assert len(found.strata.rules) == len(leaves)


def test_equal_trees_are_told_apart_by_the_order_of_the_covariates():
    X, scores, treated, event = patients(80, 3)
    twice = X.assign(copy=X["cd4"])[["copy", *X]]
    one = policy_tree(twice, scores, treated, event, contract(twice), limits=NONE).strata
    assert "cd4" not in one.columns
    again = policy_tree(twice, scores[:], treated, event, contract(twice), limits=NONE).strata
    assert one == again
    order = np.random.default_rng(1).permutation(80)
    shuffled = policy_tree(
        twice.iloc[order], scores[order], treated[order], event[order], contract(twice), limits=NONE
    ).strata
    assert shuffled == one


def test_all_effects_on_one_side_give_one_recommendation_to_everybody():
    X, scores, treated, event = patients(120, 5)
    harmed = policy_tree(X, -np.abs(scores) - 1, treated, event, contract(X), limits=NONE).strata
    assert [one.rule for one in harmed.strata] == ["everybody", "nobody"]
    helped = policy_tree(X, np.abs(scores) + 1, treated, event, contract(X), limits=NONE)
    assert [one.rule for one in helped.strata.strata] == ["nobody", "everybody"]
    assert helped.strata.names == (NOT_RECOMMENDED, RECOMMENDED)
    assert helped.apparent_gain == pytest.approx((np.abs(scores) + 1).mean(), rel=1e-12)
    dear = policy_tree(X, np.abs(scores) + 1, treated, event, contract(X), limits=NONE, margin=100.0)
    assert dear.strata.place(X).max() == 0


def test_a_policy_tree_in_words_goes_through_json_to_new_patients():
    X, scores, treated, event = patients(400, 7, missing=0.1)
    strata = policy_tree(X, scores, treated, event, contract(X)).strata
    again = Strata.from_state(json.loads(json.dumps(strata.state())))
    assert again == strata
    np.testing.assert_array_equal(again.place(X), strata.place(X))
    with pytest.raises(ModelInputError, match="lack the column"):
        strata.place(X.drop(columns=list(strata.columns)))


def greedy(X, scores, treated, event, limits, part, depth):
    """The greedy tree's leaves by plain sums."""
    best, sides = 1e-9, None
    for mask in splits_of(X) if depth else ():
        low, high = part & mask, part & ~mask
        if not (
            low.any() and high.any() and allowed(low, treated, event, limits) and allowed(high, treated, event, limits)
        ):
            continue
        value = sum(scores[one].sum() ** 2 / one.sum() for one in (low, high)) - scores[part].sum() ** 2 / part.sum()
        if value > best * (1 + 1e-12):
            best, sides = value, (low, high)
    if sides is None:
        return [part]
    return [leaf for side in sides for leaf in greedy(X, scores, treated, event, limits, side, depth - 1)]


@pytest.mark.parametrize(("seed", "depth", "missing"), list(itertools.product(range(6), (1, 2, 3), (0.0, 0.1))))
def test_a_score_tree_takes_the_largest_sum_of_squares_between_at_each_split(seed, depth, missing):
    X, scores, treated, event = patients(150, seed, missing=missing)
    limits = LeafLimits(8, 3)
    leaves = greedy(X, scores, treated, event, limits, np.ones(150, dtype=bool), depth)
    found = score_tree(X, scores, treated, event, contract(X), limits=limits, depth=depth, most_cuts=200)
    means = sorted(scores[leaf].mean() for leaf in leaves)
    assert found.apparent_means == pytest.approx(means, rel=1e-9)
    placed = found.strata.place(X)
    for leaf in leaves:
        assert len(set(placed[leaf])) == 1
    own = [scores[placed == place].mean() for place in range(len(leaves))]
    assert own == pytest.approx(found.apparent_means, rel=1e-9)


@pytest.mark.parametrize("place", range(3))
def test_a_score_tree_has_the_leaves_of_rpart(place):
    """rpart 4.1 with anova splits, no pruning, on 200 patients of GBSG 2; depth one to three."""
    reference = Path(__file__).parents[1] / "reference"
    wanted = json.loads((reference / "score_tree.json").read_text())["outputs"]["trees"][place]
    data = pd.read_csv(reference / "data" / "gbsg2.csv").head(200)
    X = data[["age", "tsize", "pnodes", "progrec", "estrec"]].astype(float)
    arm = np.arange(200) % 2 == 0
    found = score_tree(
        X, np.log(data["time"].to_numpy()), arm, None, contract(X), depth=wanted["depth"], limits=NONE, most_cuts=200
    )
    order = np.argsort(wanted["means"], kind="stable")
    assert found.apparent_means == pytest.approx(np.array(wanted["means"])[order].tolist(), rel=1e-8)
    placed = found.strata.place(X)
    np.testing.assert_array_equal(placed, np.argsort(order)[np.array(wanted["leaf"]) - 1])
    assert np.bincount(placed).tolist() == np.array(wanted["sizes"])[order].tolist()


def test_every_leaf_keeps_the_smallest_numbers_of_patients_and_events_by_arm():
    X, scores, treated, event = patients(500, 11)
    limits = LeafLimits(40, 15)
    for found in (policy_tree, score_tree):
        strata = found(X, scores, treated, event, contract(X), limits=limits).strata
        for rule in strata.rules:
            assert allowed(rule.met(X), treated, event, limits)


def test_flat_scores_give_one_stratum_of_everybody():
    X, _, treated, event = patients(200, 2)
    strata = score_tree(X, np.full(200, 0.1), treated, event, contract(X)).strata
    assert [(one.name, one.rule) for one in strata.strata] == [("All patients", "everybody")]


def test_bad_input_is_refused_in_words():
    X, scores, treated, event = patients(100, 2)
    known = contract(X)
    few = np.zeros(100, dtype=bool)
    few[:12] = True
    with pytest.raises(
        AnalysisError, match="12 patients in the experimental arm do not fill one leaf of a tree, which needs 20"
    ):
        score_tree(X, scores, few, event, known)
    own = X.assign(arm=treated.astype(float))
    with pytest.raises(AnalysisError, match="The covariate 'arm' tells the arms apart without error"):
        policy_tree(own, scores, treated, event, contract(own))
    with pytest.raises(AnalysisError, match="depth 3 is not searched exhaustively"):
        policy_tree(X, scores, treated, event, known, depth=3)
    with pytest.raises(AnalysisError, match="depth 4 cannot be said in a protocol"):
        score_tree(X, scores, treated, event, known, depth=4)
    with pytest.raises(DataError, match="1 scores are not finite"):
        score_tree(X, np.where(np.arange(100) == 3, np.nan, scores), treated, event, known)
    with pytest.raises(DataError, match="X has 100 rows for 99 scores"):
        score_tree(X, scores[1:], treated, event, known)
    with pytest.raises(AnalysisError, match="most_cuts = 300"):
        score_tree(X, scores, treated, event, known, most_cuts=300)


def test_2000_patients_and_20_covariates_with_32_cuts_take_well_under_a_second():
    generator = np.random.default_rng(1)
    X = pd.DataFrame(generator.normal(size=(2000, 20)), columns=[f"x{place}" for place in range(20)])
    treated, event = generator.random(2000) < 0.5, generator.random(2000) < 0.6
    scores = generator.normal(size=2000)
    known = contract(X)
    policy_tree(X, scores, treated, event, known)
    begun = time.perf_counter()
    policy_tree(X, scores, treated, event, known)
    assert time.perf_counter() - begun < 1.0
