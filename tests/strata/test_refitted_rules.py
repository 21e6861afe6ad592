"""Rules learned again in folds and bootstrap samples: folds, order, effects where there are none, stability by hand."""

import json
import math

import numpy as np
import pandas as pd
import pytest

from trialml.data.trial import Covariate
from trialml.errors import AnalysisError
from trialml.models.input_contract import InputContract
from trialml.strata.conditions import Condition, Rule
from trialml.strata.crossfit import HeldOutStrata, crossvalidate_strata, in_final_order
from trialml.strata.effects import StratumOutcomes, stratum_effects, stratum_members
from trialml.strata.learned import StrataPlan, TrainingPatients, learn_strata, refitted_rule, with_scores
from trialml.strata.policy_tree import NOT_RECOMMENDED, RECOMMENDED
from trialml.strata.rule_stability import Relearned, RuleStability, rule_stability
from trialml.strata.strata import Strata, Stratum, quantile_strata, risk_by_benefit_strata
from trialml.strata.tree_growth import LeafLimits
from trialml.validation.benefit import crossvalidate_response

LIMITS = LeafLimits(10, 0)


def trial(n=300, seed=1, effect=0.0):
    generator = np.random.default_rng(seed)
    X = pd.DataFrame(generator.normal(size=(n, 4)), columns=list("abcd"))
    treated = generator.random(n) < 0.5
    scores = 50 + effect * (X["a"].to_numpy() > 0) + generator.normal(0, 200, n)
    return X, scores, treated


def contract(X):
    return InputContract.learn(tuple(Covariate(name, "numeric", name) for name in X), X)


def learner(X, scores, treated, plan, final):
    """Scores are known here, so that nothing but the rule is learned; risk and benefit score are the covariates b and a."""

    def learned(rows):
        own = X.iloc[rows]
        known = TrainingPatients(own, scores[rows], treated[rows], None, own["b"].to_numpy(), own["a"].to_numpy())
        return known, lambda others: with_scores(X.iloc[others], risk=X["b"].to_numpy()[others],
                                                 benefit_score=X["a"].to_numpy()[others]), lambda others: scores[others]  # fmt: skip

    return refitted_rule(learned, plan, contract(X), final)


def everything(X, scores, treated):
    return TrainingPatients(X, scores, treated, None, X["b"].to_numpy(), X["a"].to_numpy())


@pytest.mark.parametrize("kind", ["benefit", "risk", "risk by benefit", "tree", "policy tree"])
def test_every_kind_is_learned_in_folds_and_every_patient_gets_a_stratum_by_a_rule_that_had_not_seen_it(kind):
    X, scores, treated = trial()
    plan = StrataPlan(kind, groups=2, limits=LIMITS, unit="days")
    final = learn_strata(plan, everything(X, scores, treated), contract(X))
    assert final.kind == kind
    learn, seen = learner(X, scores, treated, plan, final), []

    def watched(rows):
        strata_of, scores_of = learn(rows)

        def checked(others):
            assert not set(rows) & set(others)
            seen.append(len(others))
            return strata_of(others)

        return checked, scores_of

    held = crossvalidate_strata(watched, 300, cells=treated.astype(str), folds=5, repeats=3, seed=2)
    assert sum(seen) == 900
    assert held.member.min() >= 0
    assert held.member.max() < len(final.strata)
    np.testing.assert_array_equal(held.score, np.tile(scores, (3, 1)))


def test_the_folds_are_those_of_the_response_model_with_the_same_seed():
    X, scores, treated = trial(60)

    class Model:
        def benefit_score(self, X):
            return X["a"].to_numpy()

        predict = benefit_score

    cells = treated.astype(str)
    response = crossvalidate_response(
        lambda _: (Model(), lambda others: scores[others]), X, cells=cells, folds=5, repeats=4, seed=9
    )
    held = crossvalidate_strata(
        lambda _: (lambda others: np.zeros(len(others), int), lambda others: scores[others]), 60,
        cells=cells, folds=5, repeats=4, seed=9,
    )  # fmt: skip
    np.testing.assert_array_equal(held.fold, response.fold)


def tree_of(count):
    """A tree of `count` leaves by cut-points of one covariate."""
    cuts = [Condition("a", "a", "below", float(cut)) for cut in range(1, count)]
    rules = [
        Rule(
            place, tuple(([cuts[place - 1].opposite()] if place else []) + ([cuts[place]] if place < count - 1 else []))
        )
        for place in range(count)
    ]
    return Strata(tuple(Stratum(str(place), "") for place in range(count)), (), "tree", tuple(rules))


def test_a_fold_with_fewer_or_more_leaves_is_read_by_the_nearest_place_in_the_order():
    assert in_final_order(np.arange(4), tree_of(4), tree_of(4)).tolist() == [0, 1, 2, 3]
    assert in_final_order(np.arange(2), tree_of(2), tree_of(4)).tolist() == [1, 3]
    assert in_final_order(np.arange(1), tree_of(1), tree_of(3)).tolist() == [1]
    assert in_final_order(np.arange(4), tree_of(4), tree_of(2)).tolist() == [0, 0, 1, 1]
    assert in_final_order(np.arange(3), tree_of(3), tree_of(4)).tolist() == [0, 2, 3]
    with pytest.raises(AnalysisError, match="strata by tree cannot be read as strata by benefit"):
        in_final_order(np.arange(2), tree_of(2), quantile_strata(np.arange(9.0), 2, model="m", unit=""))


def test_a_grid_of_a_fold_whose_benefit_scores_are_all_equal_is_read_in_each_direction():
    words = {"risk_words": "risk", "benefit_words": "score"}
    final = risk_by_benefit_strata(np.arange(90.0), np.arange(90.0), (2, 3), **words)
    flat = risk_by_benefit_strata(np.arange(90.0), np.zeros(90), (2, 3), **words)
    assert flat.names == ("Lower risk", "Higher risk")
    assert in_final_order(np.arange(2), flat, final).tolist() == [1, 4]
    assert in_final_order(np.arange(6), final, final).tolist() == list(range(6))


def test_trap_44_leaf_means_are_far_too_extreme_where_nobody_differs_and_cross_fitted_effects_are_not():
    """40 trials of 200 patients, constant effect of 50: naive and cross-fitted difference of the outer leaves of a tree."""
    naive, crossfitted = [], []
    plan = StrataPlan("tree", limits=LIMITS)
    for seed in range(40):
        X, scores, treated = trial(200, seed)
        final = learn_strata(plan, everything(X, scores, treated), contract(X))
        learn = learner(X, scores, treated, plan, final)
        held = crossvalidate_strata(learn, 200, cells=treated.astype(str), folds=5, repeats=2, seed=seed)
        assert stratum_members(held, 99) is held.member
        own, last = final.place(X), len(final.strata) - 1
        naive.append(scores[own == last].mean() - scores[own == 0].mean())
        crossfitted.append(held.score[held.member == last].mean() - held.score[held.member == 0].mean())
    assert np.mean(naive) > 100  # 2.5 standard errors of a difference of two groups of 50
    assert abs(np.mean(crossfitted)) < 4 * np.std(crossfitted, ddof=1) / math.sqrt(40)


def survival(n, seed=3, treated=None):
    generator = np.random.default_rng(seed)
    time, last = generator.exponential(300, n), generator.uniform(200, 900, n)
    return StratumOutcomes(np.minimum(time, last), time <= last, treated, np.full(n, "all"))


def effects(held, final, outcomes, scores):
    return stratum_effects(
        outcomes, held, final, naive_scores=scores, naive_members=held.member[0], heterogeneity_p=0.5, horizon=365,
        tau=365, unit="days", months_per_unit=1 / 30.4375,
    )  # fmt: skip


def test_effects_in_strata_of_any_rule_say_what_a_stratum_stands_for():
    _, scores, treated = trial(240)
    member = np.tile(np.arange(240) % 3, (2, 1))
    held = HeldOutStrata(np.tile(scores, (2, 1)), member, member)
    found = effects(held, tree_of(3), survival(240, treated=treated), scores)
    wanted = [scores[member[0] == place].mean() for place in range(3)]
    assert found.frame()["rmst_difference"].to_numpy() == pytest.approx(wanted, rel=1e-12)
    assert "into its leaf with the lowest predicted effect, whatever its questions were" in found.text()
    assert "2 repeats are few" in found.text()


def test_where_every_stratum_is_harmed_the_text_says_a_smaller_loss():
    _, _, treated = trial(240)
    scores = -50 - np.arange(240.0)[::-1]
    member = np.tile((np.arange(240) >= 120).astype(int), (6, 1))
    held = HeldOutStrata(np.tile(scores, (6, 1)), member, member)
    said = effects(held, tree_of(2), survival(240, treated=treated), scores).text()
    assert "In every stratum the estimate favours control: strata differ in how large the loss is" in said
    assert "repeats are few" not in said


def test_nobody_is_denied_a_treatment_by_an_interval_that_includes_gains():
    _, _, treated = trial(240)
    member = np.tile((np.arange(240) >= 120).astype(int), (6, 1))
    question = Condition("a", "a", "below", 0.0)
    rules = (Rule(0, (question,)), Rule(1, (question.opposite(),)))
    final = Strata((Stratum(NOT_RECOMMENDED, "a"), Stratum(RECOMMENDED, "b")), (), "policy tree", rules)
    noise = np.random.default_rng(1).normal(0, 100, 240)
    for shift, said in ((0.0, True), (-100.0, False)):
        scores = noise + shift * (member[0] == 0) + 50.0 * (member[0] == 1)
        held = HeldOutStrata(np.tile(scores, (6, 1)), member, member)
        found = effects(held, final, survival(240, treated=treated), scores).text()
        assert ("do not support withholding the treatment" in found) == said


def test_trap_76_events_of_a_small_stratum_are_hidden_and_do_not_follow_from_the_others():
    _, scores, treated = trial(240)
    member = np.tile(np.where(np.arange(240) < 8, 0, 1 + np.arange(240) % 2), (6, 1))
    held = HeldOutStrata(np.tile(scores, (6, 1)), member, member)
    found = effects(held, tree_of(3), survival(240, treated=treated), scores)
    shown = found.table()["Events"].tolist()
    assert shown.count("suppressed") == 2
    assert shown[0] == "suppressed"
    assert found.table()["Patients (mean over repeats)"].tolist().count("suppressed") == 2
    assert found.rows["share"].isna().sum() == 2


def alternating(X, member):
    """Samples whose rule is the final one three times of four, and otherwise one on another covariate."""
    one, other = Condition("a", "marker a", "below", 0.0), Condition("b", "marker b", "below", 0.0)
    near = Condition("a", "marker a", "below", float(np.quantile(X["a"], (X["a"] < 0).mean() + 0.06)))
    strata = [
        Strata((Stratum("l", ""), Stratum("h", "")), (), "tree", (Rule(0, (c,)), Rule(1, (c.opposite(),))))
        for c in (one, near, one, other)
    ]
    count = iter(range(10_000))

    def learn(_):
        own = strata[next(count) % 4]
        return Relearned(own, own.place(X))

    return strata[0], learn


def test_stability_by_hand():
    X, _, treated = trial(400)
    final, learn = alternating(X, None)
    member = final.place(X)
    found = rule_stability(learn, final, member, X, treated, bootstraps=40)
    near, other = (np.mean((X[name] < cut).to_numpy() == (member == 0)) for name, cut in
                   (("a", np.quantile(X["a"], (X["a"] < 0).mean() + 0.06)), ("b", 0.0)))  # fmt: skip
    assert found.kept == pytest.approx((2 + near + other) / 4, rel=1e-12)
    own, new = found.questions.to_dict("records")
    assert (own["question"], own["covariate_found"], own["found"]) == ("marker a below 0", 0.75, 0.75)
    assert own["found_mc_error"] == pytest.approx(math.sqrt(0.75 * 0.25 / 40))
    assert (new["question"], new["covariate_found"], new["in_rule"]) == ("marker b", 0.25, False)
    assert found.strata["control_n"].sum() + found.strata["experimental_n"].sum() == 400
    assert found.firm == pytest.approx((found.strata["firm"] * found.strata["share"]).sum())
    assert "'marker a below 0' is found again least often" in found.text()
    assert "The samples also ask about marker b (25 %)." in found.text()
    again = RuleStability.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.text() == found.text()
    assert len(found.table()) == 4


def test_trap_76_small_cells_of_the_strata_are_hidden():
    X, _, treated = trial(400)
    cut = float(np.sort(X["a"])[8])
    question = Condition("a", "a", "below", cut)
    final = Strata(
        (Stratum("l", ""), Stratum("h", "")), (), "tree", (Rule(0, (question,)), Rule(1, (question.opposite(),)))
    )
    found = rule_stability(
        lambda _: Relearned(final, final.place(X)), final, final.place(X), X, treated, treated, bootstraps=20
    )
    assert found.table().iloc[0]["Patients, control / experimental"] == "suppressed"
    assert found.strata[["share", "control_n", "experimental_n"]].isna().all(axis=None)
    assert found.kept == 1.0


def test_strata_that_cannot_be_learned_in_many_samples_are_refused():
    X, _, treated = trial(100)
    final, _ = alternating(X, None)

    def learn(_):
        raise AnalysisError("no leaf")

    with pytest.raises(AnalysisError, match="could not be learned in 20 of 20 bootstrap samples"):
        rule_stability(learn, final, final.place(X), X, treated, bootstraps=20)


def test_a_kind_without_its_score_is_refused():
    X, scores, treated = trial(100)
    with pytest.raises(AnalysisError, match="Strata by risk need a risk of each patient"):
        learn_strata(StrataPlan("risk"), TrainingPatients(X, scores, treated), contract(X))


def test_a_planted_rule_is_found_again_and_patients_keep_their_stratum():
    X, scores, treated = trial(400, 5, effect=600.0)
    plan = StrataPlan("tree", depth=1, limits=LIMITS)
    known = contract(X)
    final = learn_strata(plan, everything(X, scores, treated), known)

    def learn(rows):
        own = learn_strata(plan, TrainingPatients(X.iloc[rows], scores[rows], treated[rows]), known)
        return Relearned(own, in_final_order(own.place(X), own, final))

    found = rule_stability(learn, final, final.place(X), X, treated, bootstraps=20)
    assert found.kept > 0.95
    assert found.questions["found"].tolist() == [1.0]
