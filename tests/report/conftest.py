"""Invented results: what the report must cope with, without any analysis."""

import math
import sys
import types
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from trialml.report.document import Document, Finding, Summary, assemble
from trialml.result import COLOURS, Result, plain_text

HOSTILE = "<script>alert(1)</script>"
MATHS = "$x_1$"
LONG = "a category whose name has forty letters!"
CHINESE = "\u65e2\u5f80\u6cbb\u7597"
HEBREW = "\u05d8\u05d9\u05e4\u05d5\u05dc"
ARABIC = "\u0639\u0644\u0627\u062c \u0633\u0627\u0628\u0642"

KAPLAN = "Kaplan EL, Meier P. J Am Stat Assoc 1958;53:457-481."
COX = "Cox DR. J R Stat Soc B 1972;34:187-220. doi:10.1111/j.2517-6161.1972.tb00899.x"


@dataclass(frozen=True, eq=False)
class Listing(Result):
    """A table and no figure, with names that try to be markup."""

    rows: pd.DataFrame

    title = "Baseline characteristics"
    chapter = "data"
    methods = "Arms are compared by standardised mean differences."

    def frame(self):
        return self.rows

    def table(self):
        return self.rows

    def text(self):
        return f"1,054 patients were randomised; one category is called {HOSTILE}."

    def scalars(self):
        return {}


@dataclass(frozen=True, eq=False)
class Curve(Result):
    """A figure and a table."""

    times: np.ndarray
    shares: np.ndarray
    labels: tuple[str, ...] = (HOSTILE, plain_text(MATHS), LONG, CHINESE, ARABIC)

    title = "Time to the first event"
    chapter = "survival"
    methods = "Survival curves are Kaplan-Meier estimates."
    references = (KAPLAN, COX)

    def frame(self):
        return pd.DataFrame({"time_days": self.times, "survival": self.shares})

    def text(self):
        return "The median was NR (95% CI 901 to NR)."

    def scalars(self):
        return {"survival/last": float(self.shares[-1])}

    def draw(self, figure):
        axes = figure.subplots()
        axes.step(self.times, self.shares, where="post", color=COLOURS["experimental"])
        axes.set_yticks(np.linspace(0, 1, len(self.labels)), self.labels)


@dataclass(frozen=True, eq=False)
class Picture(Result):
    """A figure and no table."""

    value: float = 0.684

    title = "Calibration"
    chapter = "validation"
    references = (COX,)
    methods = "Predictions are compared with what was observed."

    def frame(self):
        return pd.DataFrame({"measure": ["slope"] * 40, "value": [self.value] * 40, "kind": ["crossfit"] * 40})

    def text(self):
        return "The calibration slope was 0.684."

    def scalars(self):
        return {}

    def draw(self, figure):
        figure.subplots().plot([0, 1], [0, self.value])


@dataclass(frozen=True, eq=False)
class Performance(Result):
    """A table whose numbers say their kind."""

    title = "Discrimination"
    chapter = "validation"
    references = (KAPLAN,)
    methods = "Performance is cross-fitted."

    def frame(self):
        return pd.DataFrame(
            {
                "measure": ["C-index", "C-index", "slope"],
                "value": [0.741, 0.684, math.inf],
                "low": [0.71, 0.655, math.nan],
                "kind": ["apparent", "crossfit", "corrected"],
                "p": [0.00001, 0.31, math.nan],
                "n": [1054, 1054, 1054],
            }
        )

    def text(self):
        return "The cross-fitted C-index was 0.684."

    def scalars(self):
        return {}


@dataclass(frozen=True, eq=False)
class Sentence(Result):
    """Words alone."""

    title = "Sample size"
    chapter = "design"

    def frame(self):
        return pd.DataFrame({"n": [412]})

    def table(self):
        return None

    def text(self):
        return "The next trial needs 412 patients (one-sided alpha 0.025)."

    def scalars(self):
        return {"design/n": 412.0}


@dataclass(frozen=True, eq=False)
class Elsewhere(Sentence):
    """From outside the package."""

    title = "An analysis of another package"
    chapter = "other"


def make_results() -> list[Result]:
    """Every shape of result, in no order."""
    rows = pd.DataFrame(
        {
            "Characteristic": ["Sex", "  Female", f"  {HOSTILE}", "Age, years", f"  {CHINESE}", LONG, ARABIC],
            "Control": ["", "91 (17.1%)", "<11", "35.2 (8.7)", None, "n/a", "12 (2%)"],
        }
    )
    curve = Curve(np.array([0.0, 100.0, 200.0]), np.array([1.0, 0.8, 0.61]))
    return [Sentence(), Elsewhere(), Performance(), Picture(), curve, Listing(rows)]


def make_document(results: list[Result] | None = None, **changes) -> Document:
    """A document with something in every place."""
    words = {
        "title": f"From one trial {HOSTILE} to the next",
        "study": "INVENTED",
        "subtitle": f"Costs {MATHS}",
        "created": "2026-11-23T22:04:00+00:00",
        "estimand": {"population": "Adults", "intercurrent_events": "Treatment policy"},
        "summary": Summary(
            question="Does it work?",
            answer=[Finding("Hazard ratio", "0.492 (0.385 to 0.628)", "95% CI; 1,054 patients, 284 events")],
            next_steps=["Run the next trial."],
            certainty=["The direction is certain."],
            verdict="Go: the benefit is clear.",
        ),
        "leads": {"survival": "The curves separate.", "explain": "No explanation was asked for."},
        "notes": ["3 of 1,054 patients have no CD4 count."],
        "defaults": [("models.risk.folds", 5), ("design.information_fractions", (0.5, 1.0))],
        "reproduce": {
            "data_sha256": "9f86d081884c7d65",
            "seed": 175,
            "commands": ["trialml run study.toml"],
            "versions": {"trialml": "0.1.0"},
        },
        "limitations": ["One trial, one population."],
    }
    return assemble(make_results() if results is None else results, **{**words, **changes})


def make_crowded_document() -> Document:
    """60 covariates, categories of 40 letters without a blank, one stratum, and words of every kind at once."""
    kinds = (
        HOSTILE,
        LONG,
        LONG.replace(" ", "_"),
        CHINESE,
        ARABIC,
        HEBREW,
        MATHS,
        "#set page(width: 1cm)",
        "*a* _b_ @c \\[",
    )
    names = [f"{kinds[place % len(kinds)]} {place}" for place in range(60)]
    columns = {
        "": names,
        "Only stratum": ["12 (2%)"] * 60,
        **{f"{ARABIC} {n}": ["0.49 (0.38 to 0.63)"] * 60 for n in "abc"},
    }
    answer = [Finding(ARABIC, CHINESE, HOSTILE, "exploratory"), Finding(LONG, "0.492 (0.385 to 0.628)", MATHS, "shown")]
    said = Summary(
        question=f"{ARABIC}?", answer=answer, next_steps=[HEBREW], certainty=[CHINESE], verdict=HOSTILE, decision=CHINESE,
        figure="Time to the first event",
    )  # fmt: skip
    checklist = Listing(pd.DataFrame({"Item": ["1", "2"], "What": [CHINESE, ARABIC], "Where": [HOSTILE, LONG]}))
    return make_document(
        [*make_results(), Listing(pd.DataFrame(columns))],
        title=f"{CHINESE} {HOSTILE} {ARABIC}",
        summary=said,
        notes=[ARABIC],
        checklists=[checklist],
    )


@pytest.fixture(scope="session")
def crowded() -> Document:
    return make_crowded_document()


@pytest.fixture(scope="session")
def crowded_layout(crowded):
    """Drawn once for every format."""
    from trialml.report.layout import lay_out

    return lay_out(crowded)


@pytest.fixture(scope="session")
def document() -> Document:
    return make_document()


@pytest.fixture
def documents():
    return make_document


@pytest.fixture
def stored_types(monkeypatch):
    """Let the invented results be read back as if they were the package's own, which alone may be."""
    module = types.ModuleType("trialml.invented")
    for kind in (Listing, Curve, Picture, Performance, Sentence, Elsewhere):
        monkeypatch.setattr(kind, "__module__", "trialml.invented")
        setattr(module, kind.__name__, kind)
    monkeypatch.setitem(sys.modules, "trialml.invented", module)
