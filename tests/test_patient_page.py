"""The page of one patient: what it says, what it warns of, and that nothing can track it."""

import numpy as np
import pandas as pd
import pytest

from trialml.cli import main
from trialml.data.roles import Covariate
from trialml.errors import ModelInputError
from trialml.explain.risk_scores import count_patients
from trialml.models.input_contract import InputContract
from trialml.models.outcome import survival_outcome
from trialml.models.ridge_scores import MODEL as RIDGE_SCORES
from trialml.models.survival_forest import SurvivalForest
from trialml.patient_page import patient_page, write_page
from trialml.result import Result
from trialml.strata.strata import quantile_strata
from trialml.stratifier import ResponsePart, RiskPart, Stratifier, StratumEffect

COVARIATES = (
    Covariate("age", "numeric", "Age <years>"),
    Covariate("marker", "numeric", "Marker"),
    Covariate("prior", "binary", "Prior therapy"),
    Covariate("site", "categorical", "Site"),
)


@pytest.fixture(scope="module")
def models(patients, tmp_path_factory):
    """A forest's risk and a line's benefit, as a run leaves them: two folders, no patient's row."""
    known = patients(300)
    X = known[["age", "marker", "prior", "site"]].copy()
    X[["age", "marker", "prior"]] = X[["age", "marker", "prior"]].astype(float)
    time, event = known["days"].to_numpy(float), known["progressed"].to_numpy(bool)
    treated = X.assign(treated=(known["arm"] == "new").to_numpy(float))
    risk = SurvivalForest(treatment="treated", trees=10, seed=1).fit(treated, survival_outcome(time, event))
    count_patients(risk, treated, 11)
    benefit = RIDGE_SCORES.estimator(seed=1, repeats=2).fit(X, 60 + 90 * X["marker"].fillna(0).to_numpy())
    strata = quantile_strata(benefit.benefit_score(X), 3, model="T-response", unit="days")
    effects = tuple(StratumEffect(10.0 * place, -5.0, 40.0) for place in range(3))
    contract, folder = InputContract.learn(COVARIATES, X), tmp_path_factory.mktemp("models")
    Stratifier("T", "days", contract, RiskPart("survival_forest", risk, 365.0)).write(folder / "risk")
    part = ResponsePart("ridge_scores", benefit, strata, effects, 365.0)
    Stratifier("T", "days", contract, response=part).write(folder / "response")
    return folder


@pytest.fixture(scope="module")
def stratifiers(models):
    return [Stratifier.read(models / name) for name in ("risk", "response")]


GOOD = pd.DataFrame({"age": [62.0], "marker": [-1.0], "prior": [0.0], "site": ["liver"]})


def test_the_page_says_stratum_effect_risk_and_five_reasons_of_each_apart(stratifiers):
    page = patient_page(stratifiers, GOOD)
    risk, response = (one.predict(GOOD).iloc[0] for one in stratifiers)
    assert page.risk == risk["risk"]
    assert page.stratum == response["stratum"]
    assert (page.effect.value, page.effect.low, page.effect.high) == (response["stratum_benefit"], -5.0, 40.0)
    assert [one.of for one in page.reasons] == ["What moves the risk", "What moves the benefit score"]
    assert all(0 < len(one.rows) <= 5 for one in page.reasons)
    assert page.reasons[1].rows.loc[0, "covariate"] == "Marker"
    assert page.reasons[0].unit == "percentage points of risk"
    assert not page.outside
    assert "known of its patients, not of this one" in page.text()


def test_a_patient_outside_the_trials_range_and_imputed_values_are_flagged(stratifiers, tmp_path):
    odd = GOOD.assign(age=[140.0], marker=[np.nan])
    page = patient_page(stratifiers, odd)
    assert page.outside
    assert "outside the range of the trial" in page.text()
    write_page(page, tmp_path / "page.html")
    written = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Outside the trial's range" in written
    assert "missing (imputed)" in written


def test_the_page_is_html_without_script_and_names_are_shown_as_names(stratifiers, tmp_path):
    write_page(patient_page(stratifiers, GOOD), tmp_path / "new" / "page.html")
    written = (tmp_path / "new" / "page.html").read_text(encoding="utf-8")
    assert "<script" not in written
    assert "<html lang=" in written
    assert "<years>" not in written


def test_a_page_is_no_result_so_that_nothing_tracks_or_reports_it(stratifiers):
    assert not isinstance(patient_page(stratifiers, GOOD), Result)


def test_a_model_whose_score_needs_other_patients_says_so_in_the_place_of_reasons(stratifiers):
    risk = stratifiers[0]
    bare = SurvivalForest.from_state({**risk.risk.estimator.state()})
    bare.trees_.weight = None
    part = RiskPart("survival_forest", bare, 365.0)
    page = patient_page([Stratifier("T", "days", risk.contract, part)], GOOD)
    assert "do not say how many patients" in page.reasons[0].missing
    assert page.stratum is None


@pytest.mark.parametrize(
    ("patient", "words"),
    [
        (pd.concat([GOOD, GOOD]), "2 rows were given"),
        (GOOD.assign(site=["elsewhere"]), "cannot be scored: site has a category"),
        (GOOD.drop(columns="age"), "lack the column 'age'"),
    ],
)
def test_a_patient_that_cannot_be_scored_is_refused(stratifiers, patient, words):
    with pytest.raises(ModelInputError, match=words):
        patient_page(stratifiers, patient)


def test_models_of_two_studies_are_refused(stratifiers):
    other = Stratifier("U", "days", stratifiers[0].contract, stratifiers[0].risk)
    with pytest.raises(ModelInputError, match="models of one study: T, U"):
        patient_page([stratifiers[1], other], GOOD)


def test_the_verb_writes_the_page_of_a_row(models, tmp_path, capsys):
    data, out = tmp_path / "patients.csv", tmp_path / "page.html"
    pd.concat([GOOD, GOOD.assign(age=[140.0])]).to_csv(data, index=False)
    words = ["explain", models / "risk", models / "response", "--patients", data, "--out", out]
    assert main([str(word) for word in (*words, "--row", 2)]) == 0
    assert "outside the range" in capsys.readouterr().out
    assert "What moves the benefit score" in out.read_text(encoding="utf-8")
    assert main([str(word) for word in (*words, "--row", 3)]) == 1
    assert "the file has 2 rows" in capsys.readouterr().err
