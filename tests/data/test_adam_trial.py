"""An ADaM folder becomes a trial: one row a subject, CNSR turned once, baseline flagged, time zero checked."""

import numpy as np
import pandas as pd
import pytest

from trialml.cli import main
from trialml.config import read_study
from trialml.data.analysis_set import analysis_set
from trialml.data.quality import examine
from trialml.errors import DataError
from trialml.study import read_trial


@pytest.fixture
def read(write_adam):
    def trial(**keywords):
        return read_trial(read_study(write_adam(**keywords)))

    return trial


def rules(trial):
    return {(one.rule, one.subject): one.count for one in trial.findings}


@pytest.mark.parametrize("kind", ["xpt", "parquet", "csv"])
def test_the_same_trial_is_read_from_xpt_parquet_and_csv(read, adam_datasets, kind):
    trial = read(kind=kind)
    sets = adam_datasets()
    pfs = sets["ADTTE"][sets["ADTTE"]["PARAMCD"] == "PFS"]
    np.testing.assert_array_equal(trial.time, pfs["AVAL"])
    np.testing.assert_array_equal(trial.event, pfs["CNSR"] == 0)
    weight = sets["ADVS"][(sets["ADVS"]["PARAMCD"] == "WEIGHT") & (sets["ADVS"]["ABLFL"] == "Y")]["AVAL"]
    np.testing.assert_allclose(trial.frame["ADVS.WEIGHT"], weight, rtol=1e-12)
    assert set(trial.frame["factor"]) == {"North", "South"}
    assert any(
        "from randomisation (RANDDT), that day being day 1, in 240 of 240" in words for words in trial.statements
    )


def test_the_trial_keeps_no_identifier(read, subject_mark):
    trial = read()
    for frame in (trial.frame, trial.disposition):
        assert not frame.astype(str).apply(lambda column: column.str.contains(subject_mark).any()).any()
    assert subject_mark not in repr((trial.findings, trial.statements))


def test_the_events_and_the_censorings_of_cnsr_are_stated(read, adam_datasets):
    pfs = adam_datasets()["ADTTE"].query("PARAMCD == 'PFS'")
    events = int((pfs["CNSR"] == 0).sum())
    said = f"ADTTE PFS: CNSR = 0 in {events} record(s), read as events; above 0 in {240 - events}, read as censored."
    assert said in read().statements


def test_every_cnsr_above_0_is_censored_and_a_missing_one_is_excluded_and_counted(read):
    def change(sets):
        first = sets["ADTTE"].index[sets["ADTTE"]["PARAMCD"] == "PFS"][:3]
        sets["ADTTE"].loc[first, "CNSR"] = [2.0, 3.0, np.nan]

    trial = read(change=change)
    assert trial.frame["event"].iloc[:2].tolist() == [False, False]
    _, flow = analysis_set(trial)
    assert ("Event indicator not recorded", 1, True) in list(flow.rows.itertuples(index=False, name=None))
    assert any(one.rule == "censoring code" and one.severity == "warning" and one.count == 1 for one in trial.findings)


def test_cnsr_2_is_never_an_event(read):
    def change(sets):
        sets["ADTTE"]["CNSR"] = 2.0

    assert not read(change=change).event.any()


@pytest.mark.parametrize(("population", "left_out", "severity"), [("ITTFL", 0, "note"), ("PPROTFL", 27, "warning")])
def test_a_population_is_counted_and_one_that_depends_on_the_treatment_is_a_warning(
    read, population, left_out, severity
):
    trial = read(study={"data.population": population})
    found = next(one for one in trial.findings if one.rule == "population")
    assert (found.count, found.severity) == (left_out, severity)
    _, flow = analysis_set(trial)
    steps = dict(zip(flow.rows["step"], flow.rows["patients"], strict=True))
    assert steps["Analysis set"] == 240 - left_out
    assert steps.get(f"Not in the population {population}", 0) == left_out


def test_consort_counts_come_from_adsl_by_arm(read, adam_datasets):
    adsl = adam_datasets()["ADSL"]
    _, flow = analysis_set(read())
    counts = flow.consort.set_index(["step", "arm"])["patients"]
    for arm in ("Placebo", "Active"):
        own = adsl[adsl["TRT01P"] == arm]
        assert counts["Randomised", arm] == len(own)
        assert counts["Treated", arm] == (own["SAFFL"] == "Y").sum()
        assert counts["Population PPROTFL", arm] == (own["PPROTFL"] == "Y").sum()
        assert counts["Completed", arm] == (own["EOSSTT"] == "COMPLETED").sum()
        assert counts["Discontinued", arm] == (own["EOSSTT"] == "DISCONTINUED").sum()
        assert counts["  Death", arm] == (own["DCSREAS"] == "DEATH").sum()
        assert counts["Analysed", arm] == len(own)
    assert "Of the arms named, 240 randomised" in flow.text()
    again = type(flow).from_dict(flow.to_dict())
    assert again.table().equals(flow.table())


def test_a_screen_failure_is_not_randomised_and_counted_so(read):
    def change(sets):
        sets["ADSL"].loc[:4, ["TRT01P", "TRT01PN", "RANDDT"]] = ["Screen Failure", np.nan, pd.NaT]

    _, flow = analysis_set(read(change=change))
    assert list(flow.rows.itertuples(index=False, name=None))[:2] == [
        ("Patients in the file", 240, False),
        ("Not randomised", 5, True),
    ]


def test_stratification_as_verified_is_warned_of_and_a_difference_is_counted(read):
    found = rules(read())
    assert found["stratification", "STRAT1R"] == 5
    trial = read(study={"treatment.stratification": ["STRAT1V"]})
    assert next(one for one in trial.findings if one.rule == "stratification").severity == "warning"
    unused = read(study={"treatment.stratification": []})
    assert ("stratification", "ADSL") in rules(unused)


def test_a_patient_without_a_record_of_the_endpoint_is_excluded_and_counted(read):
    def change(sets):
        sets["ADTTE"] = sets["ADTTE"].drop(index=[0, 1])

    _, flow = analysis_set(read(change=change))
    assert ("Time to event not recorded", 2, True) in list(flow.rows.itertuples(index=False, name=None))


def test_times_from_the_first_dose_are_found_out_and_warned_of(read):
    def change(sets):
        treated = sets["ADSL"]["TRTSDT"].fillna(sets["ADSL"]["RANDDT"])
        start = sets["ADTTE"]["USUBJID"].map(dict(zip(sets["ADSL"]["USUBJID"], treated, strict=True)))
        sets["ADTTE"]["ADT"] = start + pd.to_timedelta(sets["ADTTE"]["AVAL"] - 1, unit="D")

    trial = read(change=change)
    assert any("counts from the first dose (TRTSDT)" in words for words in trial.statements)
    assert next(one for one in trial.findings if one.rule == "time zero").severity == "warning"
    with pytest.raises(DataError, match=r"counts from TRTSDT in .* but \[data\] time_zero = 'RANDDT'"):
        read(change=change, study={"data.time_zero": "RANDDT"})


def test_a_first_day_of_0_is_told_from_a_first_day_of_1(read):
    def change(sets):
        sets["ADTTE"]["ADT"] += pd.Timedelta(days=1)

    assert any("that day being day 0" in words for words in read(change=change).statements)


def test_what_happened_before_randomisation_is_a_finding(read):
    def change(sets):
        sets["ADTTE"].loc[:2, "ADT"] = sets["ADSL"].loc[:2, "RANDDT"] - pd.Timedelta(days=3)

    assert rules(read(change=change))["event before time zero", "ADTTE.ADT"] == 3


def test_an_event_before_any_time_zero_is_an_error_that_names_its_row(read):
    def change(sets):
        treated = sets["ADSL"].drop(columns="RANDDT")
        sets["ADSL"] = treated.assign(TRTSDT=treated["TRTSDT"].fillna(sets["ADSL"]["RANDDT"]))
        start = sets["ADTTE"]["USUBJID"].map(dict(zip(treated["USUBJID"], sets["ADSL"]["TRTSDT"], strict=True)))
        sets["ADTTE"] = sets["ADTTE"].assign(
            STARTDT=start, ADT=start + pd.to_timedelta(sets["ADTTE"]["AVAL"] - 1, unit="D")
        )
        sets["ADTTE"].loc[:2, "ADT"] = start[:3] - pd.Timedelta(days=3)

    trial = read(change=change)
    early = next(one for one in examine(analysis_set(trial)[0]) if one.number == "DQ034")
    assert (early.verdict, early.count, early.rows.tolist()) == ("error", 3, [1, 2, 3])
    assert "(TRTSDT)" in early.finding


def from_the_first_dose(sets, bad):
    """AVAL counts from TRTSDT, which STARTDT repeats; of some records TRTSDT is wrong."""
    adsl = sets["ADSL"].drop(columns="RANDDT")
    start = adsl["TRTSDT"].fillna(sets["ADSL"]["RANDDT"])
    of_record = sets["ADTTE"]["USUBJID"].map(dict(zip(adsl["USUBJID"], start, strict=True)))
    sets["ADTTE"]["STARTDT"] = of_record
    sets["ADTTE"]["ADT"] = of_record + pd.to_timedelta(sets["ADTTE"]["AVAL"] - 1, unit="D")
    sets["ADSL"] = adsl.assign(TRTSDT=start)
    for row, date in bad.items():
        sets["ADSL"].loc[row, "TRTSDT"] = date


@pytest.mark.parametrize("declared", [None, "TRTSDT"])
def test_wrong_dates_here_and_there_do_not_move_time_zero_and_are_named(read, declared):
    bad = {4: pd.Timestamp("2102-03-04"), 9: pd.Timestamp("2018-01-01"), 11: pd.NaT}
    trial = read(change=lambda sets: from_the_first_dose(sets, bad), study={"data.time_zero": declared})
    assert any("counts from the first dose (TRTSDT)" in words for words in trial.statements)
    seen = {(one.number, tuple(one.rows)): one for one in examine(analysis_set(trial)[0])}
    assert "follow from STARTDT" in seen["DQ039", (5, 10)].finding
    assert "{count} record(s) have no TRTSDT" in seen["DQ039", (12,)].finding
    assert seen["DQ034", (5,)].verdict == "error"


def test_a_partial_date_of_the_first_dose_does_not_move_time_zero(write_adam):
    def change(sets):
        from_the_first_dose(sets, {})
        sets["ADSL"]["TRTSDT"] = sets["ADSL"]["TRTSDT"].dt.strftime("%Y-%m-%d")
        sets["ADSL"].loc[6, "TRTSDT"] = sets["ADSL"].loc[6, "TRTSDT"][:7]

    path = write_adam(change=change, kind="csv", study={"data.partial_dates": "first"})
    trial = read_trial(read_study(path))
    assert any("counts from the first dose (TRTSDT)" in words for words in trial.statements)
    partial = next(one for one in examine(analysis_set(trial)[0]) if one.number == "DQ033")
    assert (partial.count, partial.rows.tolist()) == (1, [8])


def test_a_declared_time_zero_that_most_dates_contradict_is_refused(read):
    bad = dict.fromkeys(range(40), pd.Timestamp("2018-01-01"))
    with pytest.raises(
        DataError, match=r"counts from STARTDT in 240 of 240 records, and from TRTSDT in 200, but \[data"
    ):
        read(change=lambda sets: from_the_first_dose(sets, bad), study={"data.time_zero": "TRTSDT"})


def test_a_baseline_value_taken_after_the_first_dose_is_taken_as_missing(read):
    def change(sets):
        baseline = (sets["ADVS"]["ABLFL"] == "Y") & (sets["ADVS"]["PARAMCD"] == "WEIGHT")
        rows = sets["ADVS"].index[baseline][:4]
        sets["ADVS"].loc[rows, "ADT"] += pd.Timedelta(days=90)

    trial = read(change=change)
    late = rules(trial)["baseline after time zero", "ADVS.WEIGHT"]
    assert late == trial.frame["ADVS.WEIGHT"].isna().sum() == 4


def test_no_value_after_baseline_reaches_a_covariate(read):
    def change(sets):
        later = sets["ADVS"]["ABLFL"] != "Y"
        sets["ADVS"].loc[later, "AVAL"] = 1e6

    assert read(change=change).frame.equals(read().frame)


def test_check_reads_an_adam_folder_and_a_quick_run_reports_it(write_adam, tmp_path, capsys, subject_mark):
    path = write_adam()
    assert main(["check", str(path)]) == 0
    assert main(["run", str(path), "--quick", "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    assert "Any adverse event" in printed.out
    assert subject_mark not in printed.out + printed.err
    report = next((tmp_path / "out").rglob("*.html")).read_text(encoding="utf-8")
    assert "Population PPROTFL" in report
    assert "adverse reactions are counted, but do not enter the benefit" in report
    assert subject_mark not in report


def test_how_many_were_randomised_is_compared_with_those_randomised_not_with_those_screened(read):
    def change(sets):
        sets["ADSL"].loc[:4, ["TRT01P", "TRT01PN", "RANDDT"]] = ["Screen Failure", np.nan, pd.NaT]

    trial = read(change=change)
    assert analysis_set(trial, randomised=235)[1].analysed == 235
    with pytest.raises(DataError, match="randomised = 234, but the file holds 235 patients"):
        analysis_set(trial, randomised=234)


def test_the_digest_and_the_statements_cover_the_adverse_events_that_are_counted_later(read):
    def another(sets):
        sets["ADAE"].loc[0, "AESER"] = "Y" if sets["ADAE"].loc[0, "AESER"] == "N" else "N"

    # A transport file holds the time of its writing; text does not.
    trial = read(kind="csv")
    assert trial.sha256 == read(kind="csv").sha256 != read(kind="csv", change=another).sha256
    said = " ".join(trial.statements)
    assert "arm, baseline and endpoint were read from ADSL, ADTTE, ADVS. Adverse events are counted from ADAE." in said


def test_a_population_to_which_all_belong_excludes_nobody(read):
    found = next(one for one in read(study={"data.population": "ITTFL"}).findings if one.rule == "population")
    assert (found.count, found.finding, found.done) == (0, "The population is 'ITTFL'; all patients belong to it.", "")
