"""Missing values by variable and arm, and their patterns: the counts, and what may not be worked out from them."""

import dataclasses
import itertools
import json

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from trialml.data.baseline import baseline_table
from trialml.data.missingness import Missingness, missingness
from trialml.data.roles import Covariate, Endpoint, Treatment
from trialml.data.trial import Trial


def trial_of(n=400, arms=("old", "new"), **lost):
    """Patients dealt to the arms in turn; `lost` gives the rows in which a covariate is missing."""
    draw = np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "arm": np.resize(np.array(arms, dtype=object), n),
            "time": draw.exponential(100, n),
            "event": True,
            "factor": "all",
            "a": draw.normal(0, 1, n),
            "b": draw.integers(0, 2, n).astype(float),
            "c": draw.choice(["x", "y"], n).astype(object),
        }
    )
    for name, rows in lost.items():
        frame.loc[rows, name] = None if name == "c" else np.nan
    treatment = Treatment("arm", arms[0], arms[1], tuple(arms[2:]), {}, 0.5, ())
    covariates = (
        Covariate("a", "numeric", "Alpha"),
        Covariate("b", "binary", "Beta"),
        Covariate("c", "categorical", "Gamma"),
    )
    return Trial(
        "T", frame, Endpoint("e", "E", "days", "died", "days", 50.0, 50.0), treatment, covariates, "x.csv", "0"
    )


def shown(result, name, column="variable", part="rows"):
    rows = getattr(result, part)
    own = rows[rows[column] == name]
    return dict(zip(own["arm"], own["shown"], strict=True))


def test_missing_values_are_counted_by_arm_with_their_share():
    result = missingness(trial_of(a=range(60), c=range(100, 130)))
    assert shown(result, "Alpha") == {"old": "30 (15 %)", "new": "30 (15 %)"}
    assert shown(result, "Beta") == {"old": "0", "new": "0"}
    assert shown(result, "Gamma") == {"old": "15 (8 %)", "new": "15 (8 %)"}
    assert (
        "2 of 3 baseline covariates have missing values in the analysis set, most Alpha (15 % in old)." in result.text()
    )


def test_patterns_count_what_is_missing_together():
    result = missingness(trial_of(a=range(60), b=range(30, 90)))
    names = result.patterns["pattern"].drop_duplicates().tolist()
    assert names == ["nothing missing", "Alpha", "Alpha, Beta", "Beta"]
    assert shown(result, "Alpha, Beta", "pattern", "patterns") == {"old": "15 (8 %)", "new": "15 (8 %)"}
    assert shown(result, "nothing missing", "pattern", "patterns") == {"old": "155 (78 %)", "new": "155 (78 %)"}
    assert result.scalars() == {"complete_baseline_share": pytest.approx(310 / 400, rel=1e-12)}
    assert "In 78 % of the patients nothing is missing." in result.text()


def test_a_pattern_that_would_leave_few_of_a_covariate_joins_the_others():
    """Alpha is missing in 30 of each arm: 28 alone would give back 2 together with Beta."""
    result = missingness(trial_of(a=range(60), b=[*range(4), *range(100, 140)]))
    names = result.patterns["pattern"].drop_duplicates().tolist()
    assert names == ["nothing missing", "other patterns"]


def test_outcomes_are_counted_among_all_patients_in_the_file_and_in_full():
    read = trial_of()
    read.frame.loc[[0, 2, 4], "time"] = np.nan
    selected = read.rows(read.frame["time"].notna().to_numpy())
    result = missingness(selected, read=read)
    assert shown(result, "days") == {"old": "3 (2 %)", "new": "0"}
    assert shown(result, "died") == {"old": "0", "new": "0"}
    assert result.rows.loc[result.rows["role"] == "covariate", "patients"].tolist() == [197, 200] * 3


def test_nothing_missing_is_said_and_not_drawn():
    result = missingness(trial_of())
    assert result.text() == "No baseline value is missing in the analysis set."
    assert not result.has_figure
    assert result.patterns.empty
    assert result.table().empty


def test_few_missing_values_are_withheld_in_both_primary_arms():
    result = missingness(trial_of(a=[0, 2, 4, *range(1, 60, 2)]))
    assert shown(result, "Alpha") == {"old": "fewer than 11", "new": "suppressed"}
    assert result.rows.loc[result.rows["variable"] == "Alpha", ["missing", "percent"]].isna().all(axis=None)


def test_it_withholds_what_the_baseline_table_withholds():
    """40 x, 3 y and 12 missing: the 12 would give back the 3, so neither table shows them."""
    trial = trial_of(n=110, c=range(0, 24, 2))
    old = trial.frame.index[(trial.frame["arm"] == "old") & trial.frame["c"].notna()]
    trial.frame.loc[old, "c"] = ["y"] * 3 + ["x"] * (len(old) - 3)
    assert shown(missingness(trial), "Gamma")["old"] == "suppressed"
    table = baseline_table(trial).rows
    assert table.loc[table["level"] == "missing", "old"].tolist() == ["suppressed"]


@pytest.mark.parametrize("seed", range(60))
def test_no_small_count_follows_from_variables_and_patterns(seed):
    """In every arm, what remains of a covariate whose count is shown, less the patterns shown, is nothing or at least 11."""
    draw = np.random.default_rng(seed)
    n = int(draw.integers(60, 900))
    lost = {name: np.flatnonzero(draw.random(n) < draw.choice([0.02, 0.1, 0.3])) for name in "abc"}
    together = np.flatnonzero(draw.random(n) < 0.08)
    lost = {name: np.union1d(rows, together) for name, rows in lost.items()}
    result = missingness(trial_of(n=n, arms=("old", "new", "third"), **lost))
    words = {"Alpha", "Beta", "Gamma"}
    known = result.patterns.dropna(subset=["patients"])
    specific = known[~known["pattern"].isin(["nothing missing", "other patterns"])]
    assert ((known["patients"] == 0) | (known["patients"] >= 11)).all()
    for word, arm in itertools.product(words, ("old", "new", "third")):
        own = result.rows[(result.rows["variable"] == word) & (result.rows["arm"] == arm)].iloc[0]
        concerned = np.array([word in pattern.split(", ") for pattern in specific["pattern"]], dtype=bool)
        within = specific[(specific["arm"] == arm) & concerned]
        if np.isnan(own["missing"]):
            assert within.empty
        else:
            left = own["missing"] - within["patients"].sum()
            assert left == 0 or left >= 11


def test_ten_covariates_are_told_apart_whatever_their_number():
    """Patterns are packed eight to a byte: the ninth and tenth must count too."""
    trial = trial_of(n=600)
    names = [f"m{place}" for place in range(10)]
    for place, name in enumerate(names):
        trial.frame[name] = 1.0 + np.arange(600) % 7
        trial.frame.loc[range(60 * place, 60 * place + (60 if place > 7 else 24)), name] = np.nan
    covariates = tuple(Covariate(name, "numeric", name) for name in names)
    result = missingness(dataclasses.replace(trial, covariates=covariates))
    counts = result.patterns.groupby("pattern")["patients"].sum()
    assert counts["m9"] == counts["m8"] == 60
    assert counts.sum() == 600


def test_it_comes_back_from_json_and_draws_one_cell_a_variable_and_arm():
    result = missingness(trial_of(a=range(60), b=[0]), read=trial_of())
    again = Missingness.from_dict(json.loads(json.dumps(result.to_dict())))
    assert again.table().equals(result.table())
    assert again.text() == result.text()
    figure = Figure()
    result.draw(figure)
    words = [text.get_text() for text in figure.axes[0].texts]
    assert words == ["15 %", "15 %", "fewer than 11", "suppressed"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["Alpha", "Beta"]


def test_hostile_names_are_drawn_as_words():
    trial = trial_of(a=range(60))
    odd = dataclasses.replace(trial, covariates=(Covariate("a", "numeric", "$x_1$\nline"),))
    figure = Figure()
    missingness(odd).draw(figure)
    figure.draw_without_rendering()
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [r"\$x_1\$ line"]
