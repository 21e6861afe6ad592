"""What a run explains: the choices of the study file reach the captions, and every model is explained."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from trialml.config import read_study
from trialml.effects.not_done import NotDone
from trialml.errors import AnalysisError, StudyFileError
from trialml.explain.by_stratum import ExplanationByStratum
from trialml.explain.dependence import PartialDependence
from trialml.explain.explained import ModelExplanation
from trialml.explain.interactions import Interactions
from trialml.explain.linear import Explanation
from trialml.explain.over_time import ExplanationOverTime
from trialml.explain.risk_scores import risk_score
from trialml.explain.side_by_side import PrognosticPredictive
from trialml.explain.stability import ExplanationStability
from trialml.explain.surrogate import Surrogate
from trialml.explaining import Explainer, PartModel, additive_or_risk
from trialml.models.cox_ridge import CoxRidge
from trialml.models.outcome import survival_outcome
from trialml.models.ridge_scores import RidgeScores
from trialml.models.survival_forest import SurvivalForest
from trialml.study_tables import ExplainTable

DRAW, N = np.random.default_rng(3), 160
X = pd.DataFrame(
    {
        "age": DRAW.normal(60, 9, N),
        "sex": DRAW.integers(0, 2, N).astype(float),
        "site": DRAW.choice(["a", "b"], N),
    }
)
TREATED = DRAW.random(N) < 0.5
LIFE = DRAW.exponential(10 / np.exp(0.06 * (X["age"].to_numpy() - 60)))
Y = survival_outcome(np.minimum(LIFE, 12.0), LIFE <= 12.0)
LABELS = {"age": "Age (years)", "sex": "Male", "site": "Site"}
TRAIN = [np.flatnonzero(np.arange(N) % 4 != fold) for fold in range(4)]


def explainer(parts=(), about="risk", **asked):
    """An explainer whose analysis is a list."""
    found = []
    analysis = SimpleNamespace(
        study=SimpleNamespace(explain=ExplainTable(**asked)),
        seed=lambda step: step,
        add=lambda result, subject: found.append((result, subject)),
        results_about=lambda subject: [result for result, of in found if of == subject],
    )
    arm = X.assign(treated=TREATED.astype(float))
    return Explainer(analysis, about, arm, X, TREATED, LABELS, parts=parts), found


def of(found, kind):
    return [result for result, _ in found if type(result) is kind]


@pytest.fixture(scope="module")
def cox():
    models = [CoxRidge(penalties=(10.0,)).fit(X.iloc[rows], Y[rows]) for rows in (np.arange(N), *TRAIN)]
    return models[0], [PartModel(model, 0.75) for model in models[1:]]


@pytest.fixture(scope="module")
def forest():
    fit = lambda rows: SurvivalForest(trees=6, seed=1).fit(X.iloc[rows], Y[rows])  # noqa: E731
    return fit(np.arange(N)), [PartModel(fit(rows), 0.75) for rows in TRAIN]


def test_a_linear_model_is_explained_with_its_stability_over_time_dependence_and_surrogate(cox):
    model, parts = cox
    one, found = explainer(parts)
    one.line(model, "the risk model", "log hazard")
    one.over_time(model, [3.0, 8.0], "years")
    one.dependence([risk_score(part.model, [8.0]) for part in parts], risk_score(model, [8.0]), "the risk")
    one.on_paper(risk_score(model, [8.0]), "the risk")
    kinds = [type(result) for result, _ in found]
    assert kinds == [Explanation, ExplanationStability, ExplanationOverTime, PartialDependence, Surrogate]
    (linear,), (stable,) = of(found, Explanation), of(found, ExplanationStability)
    assert stable.rows["covariate"].iloc[0] == linear.importance["covariate"].iloc[0] == "Age (years)"
    assert stable.models == 4
    assert f"the {N:,} patients of both arms that the model was fitted to" in linear.text()


def test_trap_52_the_background_of_the_study_file_is_named_and_sets_the_values(cox):
    model, _ = cox
    one, found = explainer(background="control arm", background_patients=20)
    one.line(model, "the risk model", "log hazard")
    one.over_time(model, [8.0], "years")
    who = int((~TREATED).sum())
    assert f"away from the average of the {who} patients of the control arm" in of(found, Explanation)[0].text()
    assert f"20 drawn from the {who} patients of the control arm" in of(found, ExplanationOverTime)[0].text()
    design = model.encoder_.transform(X)
    wanted = np.abs(model.coefficients_[0] * (design[:, 0] - design[~TREATED, 0].mean())).mean()
    assert of(found, Explanation)[0].importance["mean_absolute"].iloc[0] == pytest.approx(wanted)
    nobody, _ = explainer(background="experimental arm")
    nobody.treated = np.zeros(N, dtype=bool)
    with pytest.raises(AnalysisError, match=r"\[explain\] background = 'experimental arm', but"):
        nobody.line(model, "the risk model", "log hazard")


@pytest.mark.parametrize("perturbation", ["interventional", "path-dependent"])
def test_a_forest_is_explained_as_asked_with_interactions(forest, perturbation):
    model, parts = forest
    one, found = explainer(parts, perturbation=perturbation)
    one.score(
        additive_or_risk(model, [8.0]),
        "the risk model",
        model=model,
        of_part=lambda part: additive_or_risk(part, [8.0]),
    )
    (explained,) = of(found, ModelExplanation)
    assert f"{perturbation}, exact, from the trees" in explained.text()
    assert ("drawn from" in explained.text()) == (perturbation == "interventional")
    assert of(found, Interactions)[0].alone < 1.0
    assert of(found, ExplanationStability)[0].rows["covariate"].iloc[0] == "Age (years)"


def test_benefit_stands_beside_risk_and_within_strata(cox):
    scores = X["sex"].to_numpy() * 5 + DRAW.normal(size=N)
    model = RidgeScores(repeats=2).fit(X, scores)
    one, found = explainer(cox[1])
    one.line(cox[0], "the risk model", "log hazard")
    other, _ = explainer(about="response")
    other.analysis = one.analysis
    other.benefit(model, "years")
    (both,) = of(found, PrognosticPredictive)
    rows = both.rows.set_index("covariate")
    assert rows.loc["Male", "predictive"] > 0.5 > rows.loc["Male", "prognostic"]
    other.by_stratum(model, "years", X["sex"].to_numpy().astype(int), ["women", "men"])
    (within,) = of(found, ExplanationByStratum)
    assert "exact, from the line" in within.text()
    other.by_stratum(model, "years", np.arange(N), [f"s{k}" for k in range(N)])
    assert "No stratum has 11" in of(found, NotDone)[0].text()
    before = len(found)
    other.by_stratum(model, "years", np.zeros(N, dtype=int), ["everybody"])
    assert len(found) == before


def test_no_surrogate_where_none_is_asked_for(cox):
    one, found = explainer(surrogate="none")
    one.on_paper(risk_score(cox[0], [8.0]), "the risk")
    assert not found


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ({"explain.background": "placebo"}, "[explain] background = 'placebo' will not do"),
        ({"explain.background_patients": 5}, "[explain] background_patients = 5 will not do"),
        ({"explain.perturbed": "x"}, "'perturbed' is not a key; the nearest name is 'perturbation'"),
    ],
)
def test_the_table_is_checked(write_study, tmp_path, key, words):
    with pytest.raises(StudyFileError) as refused:
        read_study(write_study(tmp_path, study=key))
    assert words in str(refused.value)
