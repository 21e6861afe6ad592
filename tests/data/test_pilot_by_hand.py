"""CDISC's pilot study counted a second time, by pandas alone: BDS and adverse-event endpoints, and Table 1 by stratum."""

import numpy as np
import pandas as pd
import pyreadstat
import pytest

from trialml.config import read_study
from trialml.data.analysis_set import analysis_set
from trialml.data.baseline import baseline_table
from trialml.study import read_adverse_events, read_trial

SKIN = "SKIN AND SUBCUTANEOUS TISSUE DISORDERS"
DATES = ["TRTSDT", "TRTEDT", "RFENDT"]


@pytest.fixture
def study_of(pilot, tmp_path, write_study):
    def make(endpoint, **changes):
        named = {
            "data.source": str(pilot),
            "data.subject": "USUBJID",
            "data.population": "ITTFL",
            "data.post_baseline": [],
            "treatment.column": "TRT01P",
            "treatment.control": "Placebo",
            "treatment.experimental": "Xanomeline High Dose",
            "treatment.secondary": ["Xanomeline Low Dose"],
            "treatment.stratification": [],
            "covariates.numeric": ["AGE", "BMIBL"],
            "covariates.binary": [],
            "covariates.categorical": ["SEX"],
            **dict.fromkeys(("endpoints.time", "endpoints.event", "endpoints.horizon", "endpoints.tau")),
        }
        if endpoint["kind"] == "time to event":
            named |= {"endpoints.horizon": 20, "endpoints.tau": 20}
        else:
            named["endpoints.unit"] = None
        named |= {f"endpoints.{key}": value for key, value in endpoint.items()}
        return read_study(write_study(tmp_path, study={**named, **changes}))

    return make


@pytest.fixture
def by_hand(pilot):
    def read(name):
        frame = pyreadstat.read_xport(str(pilot / f"{name}.xpt"))[0]
        return frame.assign(**{date: pd.to_datetime(frame[date]) for date in DATES if date in frame})

    return read


@pytest.mark.parametrize(("visit", "name"), [("Week 8", "Week 8"), ("24", "Week 24")])
def test_a_continuous_bds_endpoint(study_of, by_hand, visit, name):
    endpoint = {"kind": "continuous", "dataset": "ADQSCIBC", "parameter": "CIBICVAL", "visit": visit}
    selected, _ = analysis_set(read_trial(study_of(endpoint)))
    records = by_hand("adqscibc")
    records = records[(records["AVISIT"] == name) & (records["ANL01FL"] == "Y")]
    arms = records["USUBJID"].map(by_hand("adsl").set_index("USUBJID")["TRT01P"])
    expected = records.groupby(arms)["AVAL"].agg(["size", "sum"])
    found = selected.frame.groupby("arm")["value"].agg(["size", "sum"])
    assert found.to_dict() == expected.to_dict()


def test_a_binary_bds_endpoint(study_of, by_hand):
    endpoint = {"kind": "binary", "dataset": "ADQSCIBC", "parameter": "CIBICVAL", "visit": "Week 24"}
    codes = {"event_values": ["1", "2", "3"], "censored_values": ["4", "5", "6", "7"]}
    selected, _ = analysis_set(read_trial(study_of({**endpoint, **codes})))
    records = by_hand("adqscibc")
    records = records[(records["AVISIT"] == "Week 24") & (records["ANL01FL"] == "Y")]
    arms = records["USUBJID"].map(by_hand("adsl").set_index("USUBJID")["TRT01P"])
    expected = (records["AVAL"] <= 3).groupby(arms).agg(["size", "sum"])
    found = selected.frame["event"].astype(bool).groupby(selected.frame["arm"]).agg(["size", "sum"])
    assert found.to_dict() == expected.to_dict()


def first_by_hand(adsl, adae, applies, *, until, within=None):
    """Patients, events and days at risk by arm: first treatment-emergent event from TRTSDT, day 1, to the end."""
    end = adsl[until].where(~(adsl["RFENDT"] < adsl[until]), adsl["RFENDT"])
    if within:
        end = np.minimum(end, adsl["TRTSDT"] + pd.Timedelta(days=within - 1))
    subjects = pd.DataFrame({"start": adsl["TRTSDT"], "end": end, "arm": adsl["TRT01P"], "USUBJID": adsl["USUBJID"]})
    records = adae[(adae["TRTEMFL"] == "Y") & applies][["USUBJID", "ASTDT"]].merge(subjects, on="USUBJID")
    onset = pd.to_datetime(records["ASTDT"])
    first = onset[(onset >= records["start"]) & (onset <= records["end"])].groupby(records["USUBJID"]).min()
    when = subjects["USUBJID"].map(first)
    days = (when.fillna(subjects["end"]) - subjects["start"]).dt.days + 1
    made = pd.DataFrame({"arm": subjects["arm"], "event": when.notna(), "time": days.astype(float)})
    return made.groupby("arm").agg(patients=("event", "size"), events=("event", "sum"), days=("time", "sum"))


@pytest.mark.parametrize("case", ["any", "body system", "within 30 days", "until the end of the study"])
def test_a_first_adverse_event(study_of, by_hand, case):
    adsl, adae = by_hand("adsl"), by_hand("adae")
    more = {
        "any": {},
        "body system": {"where": {"AEBODSYS": SKIN}},
        "within 30 days": {"within": 30},
        "until the end of the study": {"at_risk_until": "end of study"},
    }[case]
    applies = adae["AEBODSYS"] == SKIN if case == "body system" else pd.Series(True, index=adae.index)
    until = "RFENDT" if "at_risk_until" in more else "TRTEDT"
    expected = first_by_hand(adsl, adae, applies, until=until, within=more.get("within"))
    trial = read_trial(study_of({"kind": "time to event", "dataset": "ADAE", "unit": "days", **more}))
    found = trial.frame.groupby("arm").agg(patients=("event", "size"), events=("event", "sum"), days=("time", "sum"))
    assert found.astype(float).to_dict() == expected.astype(float).to_dict()


def test_patients_with_treatment_emergent_events_by_body_system(study_of, by_hand):
    adae = by_hand("adae")
    emergent = adae[adae["TRTEMFL"] == "Y"]
    counts = emergent[emergent["AEBODSYS"] == SKIN].groupby("TRTA")["USUBJID"].nunique()
    harms = read_adverse_events(study_of({"kind": "binary", "dataset": "ADAE"})).frame()
    own = harms[harms["event"].str.upper() == SKIN].set_index("arm")["patients"]
    assert own.to_dict() == counts.astype(float).to_dict()


def test_table_1_by_stratum(study_of, by_hand):
    """Quartiles of the recorded, standardised differences with the sample variance, missing shown."""
    endpoint = {"kind": "time to event", "parameter": "TTDE", "unit": "days"}
    changes = {"treatment.stratification": ["SEX"], "covariates.categorical": ["ETHNIC"]}
    selected, _ = analysis_set(read_trial(study_of(endpoint, **changes)))
    rows = baseline_table(selected, by="factor").frame().set_index("characteristic")
    adsl = by_hand("adsl")
    for name in ("AGE", "BMIBL"):
        women, men = (adsl.loc[adsl["SEX"] == sex, name].dropna() for sex in ("F", "M"))
        smd = (men.mean() - women.mean()) / np.sqrt((men.var(ddof=1) + women.var(ddof=1)) / 2)
        shown = rows.loc[name] if rows.loc[name].ndim == 1 else rows.loc[name].iloc[0]
        assert shown["smd"] == pytest.approx(smd, rel=1e-9)
        for sex, known in (("F", women), ("M", men)):
            low, middle, high = np.percentile(known, [25, 50, 75])
            told = [float(word) for word in shown[sex].replace("(", "").replace(")", "").replace(" to", "").split()]
            assert np.allclose(told, [middle, low, high], atol=0.0501 if name == "BMIBL" else 0.501)
