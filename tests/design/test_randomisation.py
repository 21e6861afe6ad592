"""Permuted blocks, minimisation and their balance: exact enumeration, identities, closed forms, reproducibility."""

import hashlib
import io
import itertools
import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chisquare

from trialml.design.allocation_balance import AllocationBalance, allocation_balance, expected_guess_rate
from trialml.design.minimisation import Minimisation
from trialml.design.randomisation import Words, permuted_blocks
from trialml.errors import AnalysisError, OutputError

FACTORS = {"sex": ["F", "M"], "region": ["north", "south", "west"]}


def arms_of(made, **levels):
    rows = made.frame()
    for name, level in levels.items():
        rows = rows[rows[name] == level]
    return "".join(arm[0] for arm in rows["arm"])


# Permuted blocks ----------------------------------------------------------------------------------------------------


def test_every_block_has_the_ratio_of_the_arms_in_every_stratum():
    made = permuted_blocks({"a": 1, "b": 2, "c": 1}, 50, seed=4, block_sizes=(4, 8), factors=FACTORS)
    rows = made.frame()
    assert len(rows.groupby(["region", "sex"])) == 6
    for _, block in rows.groupby(["region", "sex", "block"]):
        size = block["block_size"].iloc[0]
        assert len(block) == size
        assert block["arm"].value_counts().to_dict() == {"a": size / 4, "b": size / 2, "c": size / 4}
    for _, stratum in rows.groupby(["region", "sex"]):
        assert stratum["number"].tolist() == list(range(1, len(stratum) + 1))
        assert len(stratum) >= 50


def test_the_six_orders_of_a_block_of_four_are_equally_likely():
    """Exact enumeration: chi-square over the 6 possible blocks."""
    made = permuted_blocks(["a", "b"], 4 * 6000, seed=1, block_sizes=(4,))
    text = arms_of(made)
    seen = pd.Series([text[i : i + 4] for i in range(0, len(text), 4)]).value_counts()
    assert sorted(seen.index) == sorted({"".join(order) for order in itertools.permutations("aabb")})
    assert chisquare(seen).pvalue > 0.001


def test_block_sizes_are_drawn_with_equal_probability_and_independently_of_the_arms():
    made = permuted_blocks(["a", "b"], 20_000, seed=3, block_sizes=(2, 4, 6))
    first = made.frame().groupby("block").first()
    assert chisquare(first["block_size"].value_counts()).pvalue > 0.001
    table = pd.crosstab(first["block_size"], first["arm"])
    assert (
        chisquare(table.to_numpy(), np.full((3, 2), 1) * table.sum(axis=1).to_numpy()[:, None] / 2, axis=1).pvalue.min()
        > 0.001
    )


def test_a_stratum_is_the_same_whatever_other_strata_there_are_and_in_what_order():
    whole = permuted_blocks(["a", "b"], 30, seed=9, factors=FACTORS)
    turned = permuted_blocks(["b", "a"], 30, seed=9, factors={"region": ["west", "north", "south"], "sex": ["M", "F"]})
    assert whole.frame().equals(turned.frame())
    fewer = permuted_blocks(["a", "b"], 30, seed=9, factors={"sex": ["F", "M"], "region": ["south", "west"]})
    assert arms_of(whole, sex="F", region="south") == arms_of(fewer, sex="F", region="south")
    longer = permuted_blocks(["a", "b"], 60, seed=9, factors=FACTORS)
    assert arms_of(longer, sex="F", region="south").startswith(arms_of(whole, sex="F", region="south"))
    assert arms_of(whole, sex="F", region="south") != arms_of(whole, sex="M", region="south")
    assert (
        permuted_blocks(["a", "b"], 30, seed=10, factors=FACTORS).frame()["arm"].tolist()
        != whole.frame()["arm"].tolist()
    )


def test_the_random_words_are_sha256_in_counter_mode_spelled_out():
    """The algorithm in four lines, so that a list can be checked without this package."""
    key = b'["permuted blocks",1,5,{"sex":"F"}]'
    words = [int.from_bytes(hashlib.sha256(key + b"\n" + str(i).encode()).digest()[j : j + 8], "big") for i in range(3) for j in range(0, 32, 8)]  # fmt: skip
    mine = Words("permuted blocks", 1, 5, {"sex": "F"})
    assert [mine.below(2**64) for _ in range(12)] == words


def test_a_list_of_a_seed_stays_what_it_is_from_version_to_version():
    """A change of this string is a change of the algorithm's version."""
    made = permuted_blocks(["control", "experimental"], 12, seed=2024, block_sizes=(4,), factors={"sex": ["F", "M"]})
    assert (made.method, made.version) == ("permuted blocks", 1)
    assert arms_of(made, sex="F") + "/" + arms_of(made, sex="M") == STORED


STORED = "ecceceeceecc/ecceeeccecce"


def test_the_exported_list_says_seed_method_and_version_and_reads_back(tmp_path):
    made = permuted_blocks(["a", "b"], 8, seed=77, factors=FACTORS)
    made.to_csv(tmp_path / "list.csv")
    text = (tmp_path / "list.csv").read_text(encoding="utf-8")
    assert "# seed: 77\n" in text
    assert "# method: permuted blocks\n# version: 1\n" in text
    again = pd.read_csv(io.StringIO(text), comment="#")
    assert again.equals(made.frame())
    with pytest.raises(OutputError, match="exists already"):
        made.to_csv(tmp_path / "list.csv")
    with pytest.raises(OutputError, match="cannot be written"):
        made.to_csv(tmp_path / "nowhere" / "list.csv")


# Predictability -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 4, 6, 8])
def test_the_guess_rate_of_a_block_is_that_of_all_its_orders(size):
    orders = set(itertools.permutations("a" * (size // 2) + "b" * (size // 2)))
    rates = [allocation_balance(pd.DataFrame({"arm": list(order)}), ["a", "b"]).guess_rate for order in orders]
    assert expected_guess_rate(size) == pytest.approx(np.mean(rates), rel=1e-12)


def test_the_guess_rate_of_a_long_list_approaches_the_closed_form():
    made = permuted_blocks(["a", "b"], 20_000, seed=6, block_sizes=(4,))
    found = allocation_balance(made.frame(), ["a", "b"])
    assert abs(found.guess_rate - expected_guess_rate(4)) < 0.01
    assert found.scalars()["imbalance_all"] == 0
    assert found.scalars()["largest_imbalance"] == 2


def test_balance_counts_by_level_and_stratum():
    rows = pd.DataFrame(
        {
            "arm": ["a", "a", "b", "b", "b", "b"],
            "sex": ["F", "F", "F", "M", "M", "M"],
            "age": ["y", "o", "y", "o", "y", "y"],
        }
    )
    found = allocation_balance(rows, {"a": 1, "b": 2}, ["sex", "age"])
    table = found.frame().set_index(["factor", "level"])
    assert table.loc[("all", "all"), "imbalance"] == pytest.approx(0.0)
    assert table.loc[("sex", "F"), "imbalance"] == pytest.approx(1.5)
    assert table.loc[("stratum", "M, y"), "imbalance"] == pytest.approx(1.0)
    # Behind in its stratum, after each stratum's earlier patients: worked out by hand, ties at a half.
    # F,y: a (tie, 1/2), b (b is behind, 1); F,o: a (1/2); M,o: b (1/2); M,y: b (1/2), b (a is behind, 0).
    assert found.guess_rate == pytest.approx(3.0 / 6)
    assert found.chance_rate == pytest.approx(2 / 3)
    again = AllocationBalance.from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.text() == found.text()


# Minimisation -------------------------------------------------------------------------------------------------------

COUNTS = {"site": [3, 1, 2], "stage": [4, 5, 2]}
THREE = {"site": ["1", "2"], "stage": ["I", "II"]}


@pytest.mark.parametrize(
    ("imbalance", "wanted"),
    [
        # range: site 4,1,2 -> 3; 3,2,2 -> 1; 3,1,3 -> 2; stage 5,5,2 -> 3; 4,6,2 -> 4; 4,5,3 -> 2
        ("range", [3 + 3, 1 + 4, 2 + 2]),
        # variance over three arms with divisor 2
        ("variance", [7 / 3 + 3, 1 / 3 + 4, 4 / 3 + 1]),
        ("marginal-total", [7, 6, 4]),
    ],
)
def test_imbalances_are_those_worked_out_by_hand(imbalance, wanted):
    rules = Minimisation(["a", "b", "c"], THREE, imbalance=imbalance)
    found = rules.imbalances(COUNTS)
    np.testing.assert_allclose(list(found.values()), wanted, rtol=1e-12)
    chance = rules.probabilities(COUNTS)
    best = min(found, key=found.get)
    np.testing.assert_allclose(sorted(chance.values()), [0.1, 0.1, 0.8], rtol=1e-12)
    assert chance[best] == pytest.approx(0.8)


def test_weights_multiply_a_factors_imbalance():
    rules = Minimisation(["a", "b", "c"], THREE, weights={"stage": 3})
    np.testing.assert_allclose(list(rules.imbalances(COUNTS).values()), [3 + 9, 1 + 12, 2 + 6], rtol=1e-12)


def test_with_two_arms_range_variance_and_marginal_totals_prefer_the_same_arm_with_one_factor():
    for a, b in itertools.product(range(6), repeat=2):
        chances = [
            Minimisation(["a", "b"], {"f": ["x", "y"]}, imbalance=kind).probabilities({"f": [a, b]})["a"]
            for kind in ("range", "variance", "marginal-total")
        ]
        assert max(chances) - min(chances) < 1e-12
        assert chances[0] == pytest.approx(0.5 if a == b else 0.8 if a < b else 0.2)


def test_ties_and_unequal_ratios_keep_the_ratio_where_no_factor_matters():
    """Han's biased coin: were each arm preferred in proportion to its part, each would be allocated so."""
    rules = Minimisation({"a": 1, "b": 2, "c": 3}, {"f": ["x", "y"]}, probability=0.7)
    tie = rules.probabilities({"f": [0, 0, 0]})
    assert sum(tie.values()) == pytest.approx(1.0)
    even = Minimisation(["a", "b"], {"f": ["x", "y"]}, probability=0.7).probabilities({"f": [2, 2]})
    assert even == pytest.approx({"a": 0.5, "b": 0.5})
    preferred = [rules.probabilities({"f": counts}) for counts in ([0, 9, 9], [9, 0, 27], [9, 27, 0])]
    mixed = sum(part / 6 * np.array(list(chance.values())) for part, chance in zip((1, 2, 3), preferred, strict=True))
    np.testing.assert_allclose(mixed, [1 / 6, 2 / 6, 3 / 6], rtol=1e-12)
    assert preferred[0]["a"] == pytest.approx(0.7)


def test_the_distribution_of_three_patients_is_that_of_exact_enumeration():
    """All 8 sequences of arms with their probabilities, against 4,000 seeds."""
    rules = Minimisation(["a", "b"], {"f": ["x", "y"], "g": ["u", "v"]}, probability=0.75)
    people = pd.DataFrame({"f": ["x", "x", "y"], "g": ["u", "v", "v"]})
    wanted = {}
    for sequence in itertools.product("ab", repeat=3):
        chance = 1.0
        for place, arm in enumerate(sequence):
            counts = {
                name: [
                    sum(sequence[k] == one and people[name][k] == people[name][place] for k in range(place))
                    for one in "ab"
                ]
                for name in ("f", "g")
            }
            chance *= rules.probabilities(counts)[arm]
        wanted["".join(sequence)] = chance
    assert sum(wanted.values()) == pytest.approx(1.0)
    seen = pd.Series(["".join(rules.allocate(people, seed=seed)["arm"]) for seed in range(4000)]).value_counts()
    assert chisquare([seen.get(key, 0) for key in wanted], [4000 * p for p in wanted.values()]).pvalue > 0.001


def test_one_at_a_time_is_the_same_as_together_and_balances_better_than_chance():
    draw = np.random.default_rng(8)
    people = pd.DataFrame({"sex": draw.choice(["F", "M"], 200), "region": draw.choice(["north", "south", "west"], 200)})
    rules = Minimisation({"a": 1, "b": 1}, FACTORS)
    together = rules.allocate(people, seed=5)
    apart = rules.allocate(people.iloc[:120], seed=5)
    apart = rules.allocate(people.iloc[120:], seed=5, allocated=apart)
    assert apart.equals(together)
    found = allocation_balance(together, ["a", "b"], ["sex", "region"])
    assert found.scalars()["imbalance_level"] <= 8
    assert together["probability"].round(12).isin([0.2, 0.5, 0.8]).all()
    certain = Minimisation({"a": 1, "b": 1}, FACTORS, probability=1.0).allocate(people, seed=5)
    assert allocation_balance(certain, ["a", "b"], ["sex", "region"]).scalars()["imbalance_level"] <= 3
    assert "seed" not in rules.text()
    assert "minimisation" in rules.text()


# Bad input ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: permuted_blocks(["a"], 10, seed=1), "give two or more"),
        (lambda: permuted_blocks(["a", "a"], 10, seed=1), "each with its own name"),
        (lambda: permuted_blocks({"a": 1, "b": 1.5}, 10, seed=1), "ratio of arm 'b' is 1.5"),
        (lambda: permuted_blocks({"a": 1, "b": 2}, 10, seed=1, block_sizes=(4,)), "give multiples of 3"),
        (lambda: permuted_blocks(["a", "b"], 0, seed=1), "patients_per_stratum is 0"),
        (lambda: permuted_blocks(["a", "b"], 10, seed=-1), "seed is -1"),
        (lambda: permuted_blocks(["a", "b"], 10, seed=1, factors={"sex": ["F"]}), "'sex' has the levels F"),
        (lambda: permuted_blocks(["a", "b"], 10, seed=1, factors={"sex": ["F", "F"]}), "each once"),
        (lambda: permuted_blocks(["a", "b"], 10, seed=1, factors={"arm": ["F", "M"]}), "rename it"),
        (lambda: expected_guess_rate(5), "even one"),
        (lambda: Minimisation(["a", "b"], {}), "no factor to balance"),
        (lambda: Minimisation(["a", "b"], FACTORS, weights={"sexe": 1}), "nearest name is 'sex'"),
        (lambda: Minimisation(["a", "b"], FACTORS, weights={"sex": 0}), "weight of factor 'sex' is 0"),
        (lambda: Minimisation(["a", "b"], FACTORS, imbalance="rank"), "imbalance is 'rank'"),
        (lambda: Minimisation(["a", "b"], FACTORS, probability=0.3), "below its even share of 0.5"),
        (lambda: Minimisation(["a", "b"], FACTORS, probability=1.2), "at most 1"),
        (lambda: Minimisation(["a", "b"], FACTORS).imbalances({"sex": [1, 2]}), "factor 'region' are"),
        (lambda: Minimisation(["a", "b"], FACTORS).allocate(pd.DataFrame({"sex": ["F"]}), seed=1), "no column 'region'"),
        (lambda: Minimisation(["a", "b"], FACTORS).allocate(pd.DataFrame({"sex": ["X"], "region": ["west"]}), seed=1), "row 1 has the level 'X'"),
        (lambda: Minimisation(["a", "b"], FACTORS).allocate(pd.DataFrame(), seed=0.5), "seed is 0.5"),
        (lambda: allocation_balance(pd.DataFrame({"arm": ["a", "z"]}), ["a", "b"]), "the arm 'z'"),
        (lambda: allocation_balance(pd.DataFrame({"arm": []}), ["a", "b"]), "no row"),
        (lambda: allocation_balance(pd.DataFrame({"arm": ["a"]}), ["a", "b"], ["sex"]), "no column 'sex'"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(call, words):
    with pytest.raises(AnalysisError, match=words):
        call()


def test_the_number_of_words_thrown_away_is_small():
    words = Words("x", 1, 0, "y")
    assert np.mean([words.below(3) for _ in range(3000)]) == pytest.approx(1.0, abs=5 * math.sqrt(2 / 3 / 3000))
