"""The numbered checks: each finds the fault that was planted, with its count and file rows, and a clean trial is silent."""

import ast
import collections
import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from trialml.data.cleaning_log import CleaningLog, cleaning_log
from trialml.data.findings import Finding
from trialml.data.quality import data_quality, examine
from trialml.data.quality_arms import _levels_p, binomial_tails, rank_sum_p
from trialml.data.quality_catalogue import CATALOGUE, check_of_rule
from trialml.data.quality_columns import patients_of
from trialml.data.quality_sites import expected_events
from trialml.data.roles import Covariate, Endpoint, Treatment
from trialml.data.trial import Trial

KINDS = {"male": "binary", "prior": "binary", "histology": "categorical"}
NAMES = ("age", "bmi", "weight", "sbp", "crp", "marker", "nodes", "ecog", "male", "prior", "histology")
FIRST_ROW = 2


def clean_trial(seed=1, n=600, sites=12):
    """A trial without a fault: gamma-Poisson sites, skewed and rounded measurements, 5 % missing at random in three covariates."""
    draw = np.random.default_rng(seed)
    arm = draw.permuted(np.resize(["old", "new"], n)).astype(object)
    severity = draw.normal(0, 1, n)
    event_time = draw.exponential(500 / np.exp(0.4 * severity - 0.4 * (arm == "new")), n)
    censoring = draw.uniform(300, 900, n)
    shares = draw.dirichlet(np.full(sites, 5.0))
    frame = pd.DataFrame(
        {
            "arm": arm,
            "time": np.ceil(np.minimum(event_time, censoring)),
            "event": event_time <= censoring,
            "factor": draw.choice(["north", "south"], n).astype(object),
            "enrolling_site": draw.choice([f"S{site:02d}" for site in range(sites)], n, p=shares).astype(object),
            "age": draw.normal(60, 10, n).round(),
            "bmi": np.exp(draw.normal(3.25, 0.18, n)).round(1),
            "sbp": draw.normal(130, 15, n).round(),
            "crp": np.exp(draw.normal(1, 0.7, n)).round(2),
            "marker": severity.round(3),
            "nodes": draw.poisson(2, n).astype(float),
            "ecog": draw.integers(0, 3, n).astype(float),
            "male": draw.integers(0, 2, n).astype(float),
            "prior": (draw.random(n) < 0.2).astype(float),
            "histology": draw.choice(["adeno", "squamous", "large cell"], n).astype(object),
        },
        index=pd.RangeIndex(FIRST_ROW, n + FIRST_ROW, name="file_row"),
    )
    frame["weight"] = (frame["bmi"] * np.square(draw.normal(1.72, 0.09, n))).round(1)
    for name in ("crp", "marker", "histology"):
        frame.loc[draw.random(n) < 0.05, name] = None if name == "histology" else np.nan
    return Trial(
        "CLEAN",
        frame,
        Endpoint("death", "Death", "days", "died", "days", 365.0, 365.0),
        Treatment("arm", "old", "new", (), {}, 0.5, ("region",)),
        tuple(Covariate(name, KINDS.get(name, "numeric"), name.capitalize()) for name in NAMES),
        "clean.csv",
        "0",
    )


def planted(change, **keywords):
    """A clean trial with one thing changed: in its frame, in place, or by returning another trial."""
    trial = clean_trial(**keywords)
    return change(trial) or trial


def found(trial):
    """What needs attention, missing values apart: by number, subject, verdict and exact count."""
    quiet = ("ok", "not made")
    return {
        (one.number, one.subject): (one.verdict, one.count)
        for one in examine(trial)
        if one.verdict not in quiet and one.number != "DQ004"
    }


def put(column, rows, value):
    def change(trial):
        where = trial.frame.index[rows]
        old = trial.frame.loc[where, column]
        trial.frame.loc[where, column] = value(old) if callable(value) else value

    return change


def with_covariate(name, kind, values):
    def change(trial):
        trial.frame[name] = values(trial.frame)
        return dataclasses.replace(trial, covariates=(*trial.covariates, Covariate(name, kind, name)))

    return change


def at_site(trial, site="S03"):
    return trial.frame.index[trial.frame["enrolling_site"] == site]


def repeat_records(trial):
    """Three patients entered a second time under other identifiers, on the last rows."""
    trial.frame.iloc[-3:] = trial.frame.iloc[:3].to_numpy()


def same_person_twice(trial):
    """The baseline of two patients again, with outcomes and arms of their own."""
    kept = ["factor", *NAMES]
    trial.frame.loc[trial.frame.index[-2:], kept] = trial.frame.loc[trial.frame.index[:2], kept].to_numpy()


def unbalanced_stratum(trial):
    """In the north nearly everybody gets the new drug; the south makes up for it."""
    north = (trial.frame["factor"] == "north").to_numpy()
    n = len(trial)
    trial.frame["arm"] = np.where(np.random.default_rng(5).random(n) < np.where(north, 0.7, 0.3), "new", "old")


def taken_after_treatment(trial):
    trial.frame["sbp"] -= np.where(trial.frame["arm"] == "new", 8.0, 0.0)


def recorded_after_unblinding(trial):
    lost = (trial.frame["arm"] == "new") & (np.arange(len(trial)) % 5 == 0)
    trial.frame.loc[lost, "age"] = np.nan


def followed_differently(trial):
    """A tenth of the experimental arm drops out by day 40, and more by day 200."""
    new = np.flatnonzero(trial.frame["arm"] == "new")[::3]
    rows = trial.frame.index[new]
    trial.frame.loc[rows, "time"], trial.frame.loc[rows, "event"] = 41.0 + np.arange(len(rows)) % 150, False


def busy_site(trial):
    rows = trial.frame.index[np.random.default_rng(2).random(len(trial)) < 0.85]
    trial.frame.loc[rows, "enrolling_site"] = "S03"


def unbalanced_site(trial):
    rows = at_site(trial)
    trial.frame.loc[rows, "arm"] = "new"
    others = trial.frame.index.difference(rows)[: len(rows)]
    trial.frame.loc[others, "arm"] = "old"


def site_without_events(trial):
    trial.frame.loc[at_site(trial), "event"] = False


def careless_site(trial):
    trial.frame.loc[at_site(trial)[::2], "age"] = np.nan


def invented_spread(trial):
    rows = at_site(trial)
    trial.frame.loc[rows, "sbp"] = 130 + (trial.frame.loc[rows, "sbp"] - 130).div(5).round()


def rounding_site(trial):
    rows = at_site(trial)
    trial.frame.loc[rows, "sbp"] = trial.frame.loc[rows, "sbp"].div(10).round() * 10


def copying_site(trial):
    """At one site, eight patients are the first eight again under new identifiers."""
    rows = at_site(trial)
    trial.frame.loc[rows[8:16]] = trial.frame.loc[rows[:8]].to_numpy()


FAULTS = {
    "a constant covariate": (put("ecog", slice(None), 1.0), "DQ005", "ecog", "note", 600),
    "a covariate restated": (
        with_covariate("sex", "categorical", lambda frame: frame["male"].map({1.0: "m", 0.0: "f"}).astype(object)),
        "DQ006",
        "male, sex",
        "warning",
        600,
    ),
    "categories by case and blanks": (put("histology", slice(0, 7), "Large  Cell"), "DQ007", "histology", "warning", 7),
    "a category that is a name": (put("histology", slice(3, 4), "Schmidt"), "DQ043", "histology", "warning", 1),
    "an allocation that is not 1:1": (put("arm", slice(0, 160), "new"), "DQ008", "Allocation", "warning", 600),
    "an extreme value": (put("age", slice(4, 5), 1e6), "DQ011", "age", "warning", 1),
    "records entered twice": (repeat_records, "DQ012", "Records", "warning", 6),
    "a person enrolled twice": (same_person_twice, "DQ013", "Baseline values", "note", 4),
    "times in years among days": (
        put("time", slice(0, 25), lambda old: (old / 365.25).round(2)),
        "DQ014",
        "Time in days",
        "error",
        25,
    ),
    "times longer than any trial": (put("time", slice(0, 5), 90_000.0), "DQ014", "Time in days", "error", 5),
    "grams among kilograms": (put("weight", slice(0, 12), lambda old: old * 1000), "DQ015", "weight", "warning", 12),
    "half the values in another unit": (
        put("bmi", slice(0, 290), lambda old: old * 703.07 / 70.307),
        "DQ015",
        "bmi",
        "warning",
        290,
    ),
    "a code for missing": (put("age", slice(10, 22), 999.0), "DQ016", "age", "warning", 12),
    "a negative code for missing": (put("nodes", slice(0, 3), -9.0), "DQ016", "nodes", "warning", 3),
    "a code near the values": (put("ecog", slice(0, 4), 9.0), "DQ016", "ecog", "warning", 4),
    "a value heaped in the middle": (put("crp", slice(0, 90), 2.71), "DQ017", "crp", "warning", None),
    "events heaped on one day": (
        lambda trial: put("time", np.flatnonzero(trial.frame["event"])[:60], 200.0)(trial),
        "DQ017",
        "Event times",
        "warning",
        None,
    ),
    "numbers held as text": (
        with_covariate(
            "visits", "categorical", lambda frame: frame["nodes"].astype(int).add(10).astype(str).astype(object)
        ),
        "DQ018",
        "visits",
        "note",
        None,
    ),
    "words for missing": (put("histology", slice(0, 9), "Unknown"), "DQ019", "histology", "note", 9),
    "a covariate that others determine": (
        with_covariate("pulse pressure", "numeric", lambda frame: frame["sbp"] - 0.5 * frame["age"]),
        "DQ020",
        None,
        "note",
        None,
    ),
    "arms unbalanced within strata": (unbalanced_stratum, "DQ021", "Stratification factors", "warning", None),
    "baseline taken after treatment": (taken_after_treatment, "DQ022", "sbp", "warning", 600),
    "missing more often in one arm": (recorded_after_unblinding, "DQ023", "age", "warning", None),
    "follow-up that differs by arm": (followed_differently, "DQ024", "Censoring", "note", None),
    "a name later than baseline": (
        with_covariate(
            "qol_week8", "numeric", lambda frame: np.random.default_rng(0).normal(50, 9, len(frame)).round(1)
        ),
        "DQ025",
        "qol_week8",
        "note",
        600,
    ),
    "a site that enrols too many": (busy_site, "DQ026", "site", "note", None),
    "a site with one arm": (unbalanced_site, "DQ027", "site", "warning", None),
    "a site without events": (site_without_events, "DQ028", "site", "warning", None),
    "a site with missing values": (careless_site, "DQ029", "site", "warning", None),
    "a site with too little spread": (invented_spread, "DQ030", "site", "warning", None),
    "a site that rounds": (rounding_site, "DQ031", "site", "warning", None),
    "a site that repeats patients": (copying_site, "DQ032", "site", "warning", 16),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_with_its_count(fault):
    change, number, subject, verdict, count = FAULTS[fault]
    before = {
        (one.number, one.subject) for one in examine(clean_trial()) if one.verdict not in ("ok", "not made", "note")
    }
    n = 1500 if number == "DQ031" else 600
    seen = [one for one in examine(planted(change, n=n)) if one.number == number and one.verdict == verdict]
    assert seen, fault
    assert not before
    if subject is not None:
        assert {one.subject for one in seen} == {subject}
    if count is not None:
        assert seen[0].count == count


def test_every_check_that_looks_at_the_analysis_set_has_a_planted_fault():
    """The rest is refused before (DQ001 to DQ003), stated elsewhere in these tests (DQ004, DQ009, DQ010) or found by reading."""
    tested = {fault[1] for fault in FAULTS.values()}
    elsewhere = {"DQ001", "DQ002", "DQ003", "DQ004", "DQ009", "DQ010"}
    read = {f"DQ{number:03d}" for number in range(33, 43)}
    assert tested | elsewhere | read == {check.number for check in CATALOGUE}


@pytest.mark.parametrize("seed", range(3))
def test_a_clean_trial_is_silent(seed):
    assert found(clean_trial(seed=100 + seed)) == {}


@pytest.mark.parametrize(
    ("fault", "rows"),
    [
        ("records entered twice", [2, 3, 4, 599, 600, 601]),
        ("a code for missing", list(range(12, 24))),
        ("times in years among days", list(range(2, 27))),
        ("grams among kilograms", list(range(2, 14))),
        ("categories by case and blanks", list(range(2, 9))),
        ("an extreme value", [6]),
    ],
)
def test_the_file_rows_of_a_fault_are_the_rows_that_were_changed(fault, rows):
    change, number, *_ = FAULTS[fault]
    (seen,) = [one for one in examine(planted(change)) if one.number == number]
    assert seen.rows.tolist() == rows


def test_a_result_holds_no_file_row_and_no_count_from_1_to_10():
    quality = data_quality(planted(FAULTS["records entered twice"][0]))
    (row,) = quality.checks[quality.checks["number"] == "DQ012"].itertuples()
    assert np.isnan(row.count)
    assert row.finding.startswith("fewer than 11 patients have arm, outcome and baseline values of another patient")
    assert "rows" not in quality.checks
    stored = json.dumps(quality.to_dict())
    assert "599" not in stored
    assert "file_row" not in stored


def test_the_table_shows_the_gravest_first_and_names_every_check_once_or_more():
    trial = planted(FAULTS["times in years among days"][0])
    put("age", slice(10, 22), 999.0)(trial)
    quality = data_quality(dataclasses.replace(trial, frame=trial.frame.drop(columns="enrolling_site")))
    table = quality.table()
    verdicts = table["Verdict"].tolist()
    order = ["error", "warning", "note", "ok", "not made"]
    assert [order.index(verdict) for verdict in verdicts] == sorted(order.index(verdict) for verdict in verdicts)
    assert verdicts[:2] == ["error", "warning"]
    words = table["Check"].str.cat(table["Found, and what was done"], sep=" ").str.cat(sep=" ")
    assert all(check.number in words for check in CATALOGUE)
    assert quality.scalars() == {"errors": 1, "warnings": 2, "notes": 3}
    assert quality.text().startswith(
        f"{quality.made} checks were made: 1 error, 2 warnings and 3 notes. DQ014, Time in days: 25"
    )


def test_a_site_s_values_in_another_unit_are_found_though_they_overlap_with_the_rest():
    """Weights in pounds at one site: 50 to 120 kg and 110 to 265 lb share a range, so there is no gap."""

    def change(trial):
        trial.frame.loc[at_site(trial), "weight"] *= 2.2046

    trial = planted(change)
    (seen,) = [one for one in examine(trial) if one.number == "DQ015" and one.verdict == "warning"]
    assert seen.subject == "weight"
    assert "2.205 times" in seen.finding
    assert set(seen.rows) == set(at_site(trial))


def test_times_of_one_site_in_months_are_an_error_that_names_the_factor():
    def change(trial):
        rows = at_site(trial)
        trial.frame["time"] = trial.frame["time"] + 0.5
        trial.frame.loc[rows, "time"] /= 30.4375

    (seen,) = [one for one in examine(planted(change)) if one.number == "DQ014" and one.verdict == "error"]
    assert "1/30.44 of" in seen.finding


def test_a_skewed_covariate_is_not_taken_for_mixed_units():
    draw = np.random.default_rng(3)
    tails = {
        "exponential": draw.exponential(5, 4000),
        "lognormal": np.exp(draw.normal(0, 1.6, 4000)),
        "pareto": draw.pareto(1.5, 4000) + 1,
    }
    for name, values in tails.items():
        trial = clean_trial(n=4000)
        trial.frame["crp"] = values
        assert ("DQ015", "crp") not in found(trial), name


def test_many_zeros_are_a_note_and_no_fault():
    trial = planted(put("crp", slice(0, 200), 0.0))
    assert found(trial)["DQ017", "crp"][0] == "note"


def test_equal_records_that_chance_explains_are_not_called_repeated():
    """With two covariates of few values many patients agree; that says nothing."""
    trial = clean_trial()
    few = dataclasses.replace(trial, covariates=tuple(c for c in trial.covariates if c.name in ("ecog", "male")))
    few.frame["time"] = np.ceil(few.frame["time"] / 100) * 100
    assert few.frame.duplicated(["arm", "time", "event", "factor", "ecog", "male"]).any()
    assert {number for number, _ in found(few)} & {"DQ012", "DQ013"} == set()


def test_patients_whose_values_are_all_missing_are_not_called_repeated():
    trial = clean_trial()
    trial.frame.loc[trial.frame.index[:50], list(NAMES)] = np.nan
    trial.frame.loc[trial.frame.index[:50], "histology"] = None
    assert {number for number, _ in found(trial)} & {"DQ012", "DQ013"} == set()


def test_a_permuted_trial_gives_the_same_findings():
    trial = planted(FAULTS["a site that rounds"][0])
    order = np.random.default_rng(1).permutation(len(trial))
    other = dataclasses.replace(trial, frame=trial.frame.iloc[order])
    assert found(trial) == found(other)


def test_the_site_may_be_a_categorical_covariate_that_is_called_so():
    trial = planted(rounding_site, n=1500)
    frame = trial.frame.rename(columns={"enrolling_site": "site_id"})
    named = dataclasses.replace(
        trial, frame=frame, covariates=(*trial.covariates, Covariate("site_id", "categorical", "Site"))
    )
    assert ("DQ031", "site_id") in found(named)


def test_without_a_site_the_checks_by_site_say_that_they_were_not_made():
    trial = clean_trial()
    bare = dataclasses.replace(trial, frame=trial.frame.drop(columns="enrolling_site"))
    verdicts = {one.number: one.verdict for one in examine(bare)}
    assert {verdicts[f"DQ{number:03d}"] for number in range(26, 33)} == {"not made"}


@pytest.mark.parametrize(
    "fault", ["a site with one arm", "a site with missing values", "arms unbalanced within strata"]
)
def test_a_count_is_never_beside_a_percentage_of_it_that_could_be_small(fault):
    """92 % of 12 patients would be 11, and the other arm's 1."""
    change, number, *_ = FAULTS[fault]
    for one in examine(planted(change)):
        if one.number == number and one.verdict != "ok":
            assert "{count}" in one.finding
            assert "%" not in one.finding


def test_a_small_site_is_never_named():
    def change(trial):
        rows = trial.frame.index[:7]
        trial.frame.loc[rows, "enrolling_site"] = "TINY"
        trial.frame.loc[rows, "arm"] = "new"
        trial.frame.loc[rows[4:]] = trial.frame.loc[rows[:3]].to_numpy()

    said = " ".join(one.finding for one in examine(planted(change)))
    assert "TINY" not in said
    assert "A small site" in said


def test_expected_events_are_the_nelson_aalen_hazard_and_add_up_to_the_events_of_each_arm():
    """By hand: times 1+, 2, 2, 3+ and 4 with events at 2, 2 and 4 give hazards 0, 2/4, 2/4, 2/4 and 2/4 + 1."""
    time, event = np.array([1.0, 2.0, 2.0, 3.0, 4.0]), np.array([False, True, True, False, True])
    assert expected_events(time, event, np.zeros(5, dtype=int)) == pytest.approx([0, 0.5, 0.5, 0.5, 1.5], rel=1e-12)
    trial = clean_trial()
    arms = patients_of(trial).arms.codes
    expected = expected_events(trial.time, trial.event, arms)
    for arm in (0, 1):
        assert expected[arms == arm].sum() == pytest.approx(trial.event[arms == arm].sum(), rel=1e-12)


def test_a_binary_and_a_continuous_endpoint_are_checked_without_times():
    trial = clean_trial()
    for kind in ("binary", "continuous"):
        frame = trial.frame.drop(columns="time")
        if kind == "continuous":
            frame = frame.drop(columns="event").assign(value=np.random.default_rng(0).normal(0, 1, len(frame)))
        other = dataclasses.replace(trial, frame=frame, endpoint=dataclasses.replace(trial.endpoint, kind=kind))
        assert found(other) == {}
        verdicts = {one.number: one.verdict for one in examine(other)}
        assert verdicts["DQ009"] == verdicts["DQ014"] == verdicts["DQ024"] == verdicts["DQ028"] == "not made"
        assert sorted(verdicts) == [check.number for check in CATALOGUE]


FINDINGS = (
    Finding("mixed spelling", "prior", 40, "'prior' spells yes as 'Y', 'Yes'.", "Each was read as what it means."),
    Finding(
        "blanks", "histology", 3, "3 value(s) of 'histology' began or ended with blanks.", "The blanks were trimmed."
    ),
    Finding("event before time zero", "ADTTE.ADT", 2, "2 date(s) of event lie before randomisation.", "", "warning"),
    Finding("a new rule", "x", 12, "12 things were odd.", "Nothing was done.", "warning"),
)


def test_what_reading_found_stands_under_its_number_and_in_the_cleaning_log():
    trial = dataclasses.replace(clean_trial(), findings=FINDINGS)
    seen = found(trial)
    assert seen["DQ007", "prior"] == ("note", 40)
    assert seen["DQ034", "ADTTE.ADT"] == ("error", 2)
    assert seen["DQ038", "x"] == ("warning", 12)
    quality = data_quality(trial)
    (row,) = quality.checks[quality.checks["verdict"] == "error"].itertuples()
    assert row.finding == "fewer than 11 date(s) of event lie before randomisation."
    log = cleaning_log(trial)
    assert log.table()["Values"].tolist() == ["40", "fewer than 11", "fewer than 11", "12"]
    assert log.rows["check"].tolist() == ["DQ007", "DQ038", "DQ034", "DQ038"]
    assert "3 rules were applied" in log.text()
    again = CleaningLog.from_dict(json.loads(json.dumps(log.to_dict())))
    assert again.table().equals(log.table())


def test_an_empty_cleaning_log_says_that_nothing_was_changed():
    log = cleaning_log(clean_trial())
    assert log.text() == "Nothing was changed while the data were read."
    assert log.table().empty
    assert CleaningLog.from_dict(json.loads(json.dumps(log.to_dict()))).text() == log.text()


def test_every_rule_stands_under_a_number_of_the_catalogue():
    numbers = {check.number for check in CATALOGUE}
    assert {check_of_rule(one.rule) for one in FINDINGS} <= numbers


def test_the_reference_page_lists_the_catalogue_word_for_word():
    page = Path(__file__).resolve().parents[2] / "docs" / "reference" / "data-quality.md"
    rows = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("| DQ")]
    expected = [f"| {c.number} | {c.title} | {c.severity} | {c.looks_for} | {c.done} |" for c in CATALOGUE]
    assert rows == expected


UNDER_OTHER_FINDINGS = {
    "encoding",
    "derived value",
    "time at risk",
    "date of death",
    "competing events",
    "visit without value",
    "visit without time",
}
ONLY_IN_THE_LOG = {"blanks", "missing word"}


def test_every_rule_of_the_readers_has_a_number_of_its_own_or_is_known_to_have_none():
    """A new rule would otherwise stand under DQ038 without anybody having chosen so."""
    folder = Path(__file__).resolve().parents[2] / "trialml" / "data"
    rules = set()
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            named = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Finding"
            if named and node.args and isinstance(node.args[0], ast.Constant):
                rules.add(node.args[0].value)
    assert {"partial date", "mixed spelling", "event before time zero", "baseline after time zero"} <= rules
    unnumbered = {rule for rule in rules if check_of_rule(rule) == "DQ038"}
    assert unnumbered <= UNDER_OTHER_FINDINGS | ONLY_IN_THE_LOG


def test_the_tests_between_arms_are_scipy_s():
    """The rank-sum test with mid-ranks and without continuity correction, the chi-squared test, and twice the smaller binomial tail."""
    trial = clean_trial(seed=9)
    patients = patients_of(trial)
    treated = (trial.frame["arm"] == "new").to_numpy()
    for column in patients.columns:
        values = trial.frame[column.name]
        known = values.notna().to_numpy()
        if column.numeric:
            one, two = values[known & treated].astype(float), values[known & ~treated].astype(float)
            expected = stats.mannwhitneyu(one, two, method="asymptotic", use_continuity=False).pvalue
            assert rank_sum_p(patients, column) == pytest.approx(expected, rel=1e-8)
        elif column.name == "histology":
            table = pd.crosstab(values[known], treated[known])
            expected = stats.chi2_contingency(table, correction=False).pvalue
            assert _levels_p(patients, column) == pytest.approx(expected, rel=1e-8)
    tails = binomial_tails(np.array([3, 10]), np.array([20, 20]), 0.5)
    assert tails[0] == pytest.approx(stats.binomtest(3, 20, 0.5).pvalue, rel=1e-10)
    assert tails[1] == 1.0


def test_numbers_of_checks_are_consecutive_and_never_given_twice():
    assert [check.number for check in CATALOGUE] == [f"DQ{place:03d}" for place in range(1, len(CATALOGUE) + 1)]


@pytest.mark.long
def test_of_200_clean_trials_no_more_are_flagged_than_the_level_allows():
    """Checks that test are held to 0.001 each; ten of them would flag 1 % of trials. Sizes 200, 600 and 2,000, 12 sites."""
    raised = collections.Counter()
    flagged = 0
    for seed in range(200):
        seen = found(clean_trial(seed=1000 + seed, n=(200, 600, 2000)[seed % 3]))
        flagged += bool(seen)
        raised.update(number for number, _ in seen)
    print(f"{flagged} of 200 clean trials raised a flag: {dict(raised)}")
    # Binomial with probability 0.01: more than six of 200 would happen once in 250.
    assert flagged <= 6
