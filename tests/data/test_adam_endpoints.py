"""Binary, continuous and adverse-event endpoints of an ADaM folder."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2

from trialml.cli import main
from trialml.config import read_study
from trialml.data.adverse_events import AdverseEvents, adverse_events, harm_limitations
from trialml.data.analysis_set import analysis_set
from trialml.data.baseline import baseline_table
from trialml.data.quality import data_quality
from trialml.data.roles import Records, Treatment
from trialml.errors import AnalysisError, DataError, StudyFileError
from trialml.study import analyse, read_trial

TREATMENT = Treatment("TRT01P", "Placebo", "Active", (), {}, 0.5, ())
OTHER_KIND = {"endpoints.unit": None, "endpoints.horizon": None, "endpoints.tau": None}
WEIGHT = {**OTHER_KIND, "endpoints.dataset": "ADVS", "endpoints.parameter": "WEIGHT", "endpoints.visit": "Week 8"}
CHANGE = {**WEIGHT, "endpoints.kind": "continuous", "endpoints.value": "CHG"}
RESPONSE = {**WEIGHT, "endpoints.kind": "binary", "endpoints.value": "CRIT1FL"}
HARM = {"endpoints.dataset": "ADAE", "endpoints.parameter": None, "endpoints.horizon": 60, "endpoints.tau": 60}


@pytest.fixture
def read(write_adam):
    def trial(study, **keywords):
        return read_trial(read_study(write_adam(study=study, **keywords)))

    return trial


def week8(sets):
    advs = sets["ADVS"]
    return advs[(advs["PARAMCD"] == "WEIGHT") & (advs["AVISIT"] == "Week 8")]


def test_a_continuous_endpoint_is_the_value_at_a_visit(read, adam_datasets):
    trial = read(CHANGE)
    np.testing.assert_allclose(trial.value, week8(adam_datasets())["CHG"], rtol=1e-12)
    assert trial.endpoint.unit == "kg"
    with pytest.raises(AnalysisError, match="is continuous and has no time"):
        _ = trial.time


def test_a_visit_may_be_its_number(read):
    assert read({**CHANGE, "endpoints.visit": 8}).frame.equals(read(CHANGE).frame)


def test_a_binary_endpoint_may_be_a_criterion_or_a_number(read, adam_datasets):
    expected = (week8(adam_datasets())["CRIT1FL"] == "Y").to_numpy()
    np.testing.assert_array_equal(read(RESPONSE).event, expected)

    def change(sets):
        sets["ADVS"]["AVAL"] = (sets["ADVS"]["CRIT1FL"] == "Y").astype(float)
        sets["ADVS"]["AVALU"] = ""

    study = {**RESPONSE, "endpoints.value": None, "covariates.numeric": ["AGE"]}
    np.testing.assert_array_equal(read(study, change=change).event, expected)


def test_a_binary_endpoint_maps_its_own_words(read, adam_datasets):
    def change(sets):
        sets["ADVS"]["AVALC"] = np.where(sets["ADVS"]["CRIT1FL"] == "Y", "RESPONDER", "NON-RESPONDER")

    words = {"endpoints.event_values": ["RESPONDER"], "endpoints.censored_values": ["NON-RESPONDER"]}
    trial = read({**RESPONSE, "endpoints.value": "AVALC", **words}, change=change)
    np.testing.assert_array_equal(trial.event, (week8(adam_datasets())["CRIT1FL"] == "Y").to_numpy())


def test_only_records_flagged_for_analysis_are_taken(read):
    def change(sets):
        again = week8(sets).assign(CHG=99.0)
        sets["ADVS"]["ANL01FL"] = "Y"
        sets["ADVS"] = pd.concat([sets["ADVS"], again.assign(ANL01FL="")], ignore_index=True)

    assert read(CHANGE, change=change).value.max() < 99


def test_derived_values_are_counted(read):
    def change(sets):
        sets["ADVS"]["DTYPE"] = ""
        sets["ADVS"].loc[week8(sets).index[:7], "DTYPE"] = "LOCF"

    found = [one for one in read(CHANGE, change=change).findings if one.rule == "derived value"]
    assert [(one.count, "DTYPE LOCF" in one.finding) for one in found] == [(7, True)]


@pytest.mark.parametrize("study", [CHANGE, RESPONSE], ids=["continuous", "binary"])
def test_another_kind_of_endpoint_is_checked_and_described_and_run_where_its_direction_is_said(
    read, write_adam, study, capsys
):
    trial, flow = analysis_set(read(study))
    assert flow.analysed == 240
    assert len(flow.table()) > 5
    assert data_quality(trial).text()
    assert "AGE" in set(baseline_table(trial).rows["characteristic"])
    path = write_adam(study=study)
    assert main(["check", str(path)]) == 0
    capsys.readouterr()
    assert main(["run", str(path)]) == 2
    assert "[[endpoints]] direction is missing" in capsys.readouterr().err
    with pytest.raises(StudyFileError, match="which way is better for the patient"):
        analyse(read_study(path))


def test_an_endpoint_that_never_varies_is_refused(read):
    def same(sets):
        sets["ADVS"]["CHG"], sets["ADVS"]["CRIT1FL"] = 1.0, "Y"

    with pytest.raises(
        AnalysisError, match="values of the endpoint 'progression' in the primary contrast are the same"
    ):
        analysis_set(read(CHANGE, change=same))
    with pytest.raises(AnalysisError, match="happened in 240 of 240 patients"):
        analysis_set(read(RESPONSE, change=same))


@pytest.mark.parametrize(
    ("study", "words"),
    [
        ({"endpoints.visit": "Week 9"}, "no record with AVISIT = 'Week 9': .*'Week 8'"),
        ({"endpoints.parameter": "PULSE"}, "no record with PARAMCD = 'PULSE': .*SYSBP, WEIGHT"),
        ({"endpoints.visit": None}, r"240 subject\(s\) have two or more records of ADVS WEIGHT"),
        ({"endpoints.unit": "lb"}, "in 'kg' .AVALU., but .* unit = 'lb'"),
        ({"endpoints.value": "PCHG"}, "'PCHG' .* is not in 'ADVS'"),
        ({"endpoints.dataset": "ADQS"}, "no data set ADQS; it holds ADAE, ADSL, ADTTE, ADVS"),
    ],
)
def test_what_a_data_set_does_not_hold_is_named_with_what_it_holds(read, study, words):
    with pytest.raises(DataError, match=words):
        read({**CHANGE, **study})


def expected_first(sets, *, where=None, until="TRTEDT", within=None):
    """The first treatment-emergent event by hand, subject by subject."""
    rows = []
    for subject in sets["ADSL"].itertuples():
        start, end = subject.TRTSDT, getattr(subject, until)
        if pd.isna(start):
            rows.append((np.nan, np.nan))
            continue
        died = not pd.isna(subject.DTHDT) and end >= subject.DTHDT
        left = subject.EOSSTT == "DISCONTINUED"
        if within is not None and end > start + pd.Timedelta(days=within - 1):
            end, died, left = start + pd.Timedelta(days=within - 1), False, False
        own = sets["ADAE"][(sets["ADAE"]["USUBJID"] == subject.USUBJID) & (sets["ADAE"]["TRTEMFL"] == "Y")]
        for column, code in (where or {}).items():
            own = own[own[column] == code]
        onsets = own["ASTDT"][(own["ASTDT"] >= start) & (own["ASTDT"] <= end)]
        cause = 1 if len(onsets) else 2 if died else 3 if left else 0
        last = onsets.min() if len(onsets) else end
        rows.append(((last - start).days + 1, cause))
    return np.array(rows, dtype=float).T


@pytest.mark.parametrize(
    ("study", "by_hand"),
    [
        ({}, {}),
        ({"endpoints.where": {"AESER": "Y"}}, {"where": {"AESER": "Y"}}),
        ({"endpoints.where": {"AEBODSYS": "CARDIAC"}}, {"where": {"AEBODSYS": "CARDIAC"}}),
        ({"endpoints.where": {"AEDECOD": "PRURITUS"}}, {"where": {"AEDECOD": "PRURITUS"}}),
        ({"endpoints.within": 30, "endpoints.horizon": 30, "endpoints.tau": 30}, {"within": 30}),
        ({"endpoints.at_risk_until": "end of study"}, {"until": "EOSDT"}),
    ],
    ids=["any", "serious", "body system", "term", "within 30 days", "to the end of study"],
)
def test_the_first_adverse_event_and_what_competes_with_it_are_those_counted_by_hand(
    read, adam_datasets, study, by_hand
):
    trial = read({**HARM, **study})
    days, cause = expected_first(adam_datasets(), **by_hand)
    np.testing.assert_array_equal(trial.frame["time"].to_numpy(), days)
    np.testing.assert_array_equal(trial.frame["cause"].to_numpy(dtype=float), cause)
    selected, flow = analysis_set(trial) if (cause == 1).sum() > 40 else (trial.rows(~np.isnan(days)), None)
    np.testing.assert_array_equal(selected.event, cause[~np.isnan(days)] == 1)
    np.testing.assert_array_equal(selected.cause, cause[~np.isnan(days)])
    assert trial.endpoint.competing == ("Death", "Discontinuation")
    if flow is not None:
        assert ("Time to event not recorded", 6, True) in list(flow.rows.itertuples(index=False, name=None))


def test_an_unnamed_competing_event_is_censoring(read):
    trial = read({**HARM, "endpoints.competing": ["death"]})
    assert trial.endpoint.competing == ("Death",)
    assert set(trial.frame["cause"].dropna()) == {0, 1}, "every death of the example ends the study after the treatment"


def test_an_event_in_another_unit_of_time_is_the_same_event(read):
    days, weeks = read(HARM), read({**HARM, "endpoints.unit": "weeks"})
    np.testing.assert_allclose(weeks.frame["time"] * 7, days.frame["time"], rtol=1e-12)


def test_treatment_emergent_events_before_the_first_dose_are_found_and_not_counted(read):
    def change(sets):
        sets["ADAE"]["TRTEMFL"] = "Y"

    trial = read(HARM, change=change)
    found = {one.rule: one.count for one in trial.findings}
    assert found["event before time zero"] > 0
    assert trial.frame["time"].min() >= 1


def table_of(folder, **keywords):
    return adverse_events(folder, "adam", subject="USUBJID", treatment=TREATMENT, **keywords)


def test_rates_are_first_events_over_patient_years_with_exact_limits(write_adam, adam_datasets):
    folder = write_adam().parent / "adam"
    result = table_of(folder)
    sets = adam_datasets()
    days, cause = expected_first(sets)
    row = result.rows[(result.rows["event"] == "Any adverse event") & (result.rows["arm"] == "Active")].iloc[0]
    own = (sets["ADSL"]["TRT01P"] == "Active").to_numpy() & ~np.isnan(days)
    events, years = (cause[own] == 1).sum(), days[own].sum() / 365.25
    assert (row["treated"], row["first_events"]) == (own.sum(), events)
    assert row["rate"] == pytest.approx(100 * events / years, rel=1e-12)
    assert row["low"] == pytest.approx(50 * chi2.ppf(0.025, 2 * events) / years, rel=1e-12)
    assert row["high"] == pytest.approx(50 * chi2.ppf(0.975, 2 * events + 2) / years, rel=1e-12)
    assert row["deaths"] + row["discontinuations"] == (cause[own] >= 2).sum()


def test_small_counts_by_body_system_are_hidden_with_their_rates(write_adam):
    def change(sets):
        rare = sets["ADAE"].index[sets["ADAE"]["AEBODSYS"] == "CARDIAC"]
        active = set(sets["ADSL"].query("TRT01P == 'Active'")["USUBJID"])
        drop = [row for row in rare if sets["ADAE"].loc[row, "USUBJID"] in active][3:]
        sets["ADAE"] = sets["ADAE"].drop(index=drop)

    result = table_of(write_adam(change=change).parent / "adam")
    hidden = result.rows[(result.rows["event"] == "Cardiac") & (result.rows["arm"] == "Active")].iloc[0]
    assert hidden[["patients", "first_events", "patient_years", "rate", "low", "high"]].isna().all()
    assert "suppressed" in result.table().to_string()
    again = AdverseEvents.from_dict(json.loads(json.dumps(result.to_dict())))
    assert again.table().equals(result.table())
    assert again.text() == result.text()


def test_a_folder_without_adae_has_no_table_of_adverse_events(write_adam):
    assert table_of(write_adam(change=lambda sets: sets.pop("ADAE")).parent / "adam") is None


def test_the_limits_of_no_event_are_those_of_a_poisson_count():
    from trialml.data.adverse_events import poisson_limits

    # Garwood's table: 0 events have the upper limit 3.689, 10 events the limits 4.795 and 18.39.
    assert poisson_limits(0) == (0.0, pytest.approx(3.688879454113936, rel=1e-10))
    assert poisson_limits(10) == pytest.approx((4.795389, 18.39036), rel=1e-6)


def test_the_pilot_study_has_its_published_figures(pilot):
    """R Consortium pilot 3: events, numbers at risk, hazard ratios; treatment-emergent events in 65, 77 and 76 patients."""
    from trialml.data.adam_trial import read_adam_trial
    from trialml.data.roles import Covariate, Endpoint
    from trialml.survival.cox import cox

    arms = Treatment("TRT01P", "Placebo", "Xanomeline Low Dose", ("Xanomeline High Dose",), {}, 0.5, ())
    endpoint = Endpoint("d", "D", "", "", "days", 90, 90, records=Records("ADTTE", "TTDE"))
    trial = read_adam_trial(
        pilot,
        "pilot",
        name="PILOT",
        subject="USUBJID",
        endpoint=endpoint,
        treatment=arms,
        covariates=(Covariate("AGE", "numeric", "Age"),),
        population="ITTFL",
    )
    selected, flow = analysis_set(trial)
    assert list(zip(flow.by_arm["patients"], flow.by_arm["events"], strict=True)) == [(86, 29), (84, 62), (84, 61)]
    placebo = selected.only("Placebo").time
    assert [int((placebo > day).sum()) for day in range(0, 181, 20)] == [86, 75, 65, 59, 50, 47, 45, 42, 40, 35]
    frame = pd.DataFrame(
        {arm: (selected.frame["arm"] == arm).astype(float) for arm in (arms.experimental, *arms.secondary)}
    )
    fit = cox(selected.time, selected.event, frame).frame()
    ratios = [[round(float(value), 3) for value in row] for row in fit[["hazard_ratio", "low", "high"]].to_numpy()]
    assert ratios == [[4.148, 2.645, 6.504], [5.026, 3.182, 7.939]]
    harms = adverse_events(pilot, "pilot", subject="USUBJID", treatment=arms)
    assert harms.rows[harms.rows["event"] == "Any adverse event"]["patients"].tolist() == [65, 77, 76]


def test_who_left_the_treatment_is_told_from_who_left_the_study(read):
    def change(sets):
        sets["ADSL"]["EOTSTT"] = "COMPLETED"

    assert set(read(HARM, change=change).frame["cause"].dropna()) == {0, 1}
    to_the_end = {**HARM, "endpoints.at_risk_until": "end of study"}
    assert 3 in set(read(to_the_end, change=change).frame["cause"].dropna())


def test_a_treatment_that_ends_before_it_starts_is_found_and_excluded(read):
    def change(sets):
        sets["ADSL"].loc[0, "TRTEDT"] = sets["ADSL"].loc[0, "TRTSDT"] - pd.Timedelta(days=2)

    trial = read(HARM, change=change)
    assert np.isnan(trial.frame["time"].iloc[0])
    assert {one.rule: one.count for one in trial.findings}["impossible time"] == 1


def test_a_death_without_a_date_is_put_on_the_last_day_and_said_so(read, adam_datasets):
    def change(sets):
        died = sets["ADSL"]["DTHDT"].notna()
        sets["ADSL"]["DTHFL"] = np.where(died, "Y", "")
        sets["ADSL"] = sets["ADSL"].drop(columns="DTHDT")

    study = {**HARM, "endpoints.at_risk_until": "end of study"}
    trial = read(study, change=change)
    died = int(adam_datasets()["ADSL"]["DTHDT"].notna().sum())
    assert {one.rule: one.count for one in trial.findings}["date of death"] == died
    assert trial.frame.equals(read(study).frame)


def test_days_after_treatment_lengthen_the_time_at_risk_up_to_the_end_of_the_study(read, adam_datasets):
    longer = read({**HARM, "endpoints.days_after_treatment": 30}).frame["time"]
    days, _ = expected_first(adam_datasets(), until="EOSDT")
    np.testing.assert_array_equal(longer, days, err_msg="the example's studies end five days after treatment")


def test_competing_events_and_harms_are_told_among_the_limitations(read):
    said = " ".join(harm_limitations(read(HARM).endpoint, counted=True))
    assert "compete with the endpoint (death, discontinuation) are taken as censored" in said
    assert "adverse reactions are counted, but do not enter the benefit" in said
    plain = harm_limitations(read({"endpoints.parameter": "OS"}).endpoint, counted=False)
    assert plain == [
        "One time-to-event endpoint is analysed; adverse reactions are not in the data and do not enter the benefit."
    ]


def test_the_pilot_study_s_efficacy_population_has_a_value_at_week_24_in_all_its_patients(pilot):
    """234 patients carry EFFFL; the last observation carried forward gives each of them a value, and DTYPE says so."""
    from trialml.data.adam_trial import read_adam_trial
    from trialml.data.roles import Covariate, Endpoint

    arms = Treatment("TRT01PN", "0", "81", ("54",), {}, 0.5, ())
    records = Records("ADQSCIBC", "CIBICVAL", visit="24")
    endpoint = Endpoint("c", "CIBIC+", "", "", "", np.nan, np.nan, kind="continuous", records=records)
    trial = read_adam_trial(
        pilot,
        "pilot",
        name="PILOT",
        subject="USUBJID",
        endpoint=endpoint,
        treatment=arms,
        covariates=(Covariate("AGE", "numeric", "Age"),),
        population="EFFFL",
    )
    selected, flow = analysis_set(trial)
    assert flow.by_arm["patients"].tolist() == [79, 74, 81]
    assert set(selected.value) <= {1, 2, 3, 4, 5, 6, 7}
    found = {one.rule: one for one in trial.findings}
    assert found["population"].severity == "warning"
    assert "DTYPE LOCF" in found["derived value"].finding


def test_dates_that_the_data_set_completed_are_a_note(write_adam):
    def change(sets):
        sets["ADAE"]["ASTDTF"] = np.where(np.arange(len(sets["ADAE"])) < 4, "D", "")
        sets["ADTTE"]["ADTF"] = np.where(np.arange(len(sets["ADTTE"])) < 3, "M", "")

    trial = read_trial(read_study(write_adam(change=change)))
    found = [one for one in trial.findings if one.rule == "partial date"]
    assert [(one.subject, one.count, one.rows, one.severity) for one in found] == [("ADTTE.ADT", 3, (1, 2, 3), "note")]
    study = {"endpoints.parameter": None, "endpoints.dataset": "ADAE", "endpoints.treatment_emergent": False}
    trial = read_trial(read_study(write_adam(change=change, study=study)))
    found = [one for one in trial.findings if one.rule == "partial date"]
    assert [(one.subject, one.count, one.rows, one.severity) for one in found] == [
        ("ADAE.ASTDT", 4, (1, 2, 3, 4), "note")
    ]
