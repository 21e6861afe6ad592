"""One patient on one page: stratum, effect, risk and reasons. It is no `Result`, so that nothing can track or report it."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from trialml.errors import AnalysisError, ModelInputError, OutputError
from trialml.explain.patient import LocalExplanation, explain_benefit_of, explain_risk_of
from trialml.result import COLOURS, Estimate, format_number
from trialml.stratifier import Stratifier

__all__ = ["PatientPage", "Reasons", "patient_page", "write_page"]

REASONS = 5


@dataclass(frozen=True)
class Reasons:
    """Why a model says what it says: rows covariate, value, shap; or why there is no reason."""

    of: str
    unit: str
    how: str
    rows: pd.DataFrame
    missing: str = ""


@dataclass(frozen=True)
class PatientPage:
    """What is known of one patient.

    Attributes
    ----------
    study
        Name of the study.
    flags
        What lies outside the trial's range, and what was imputed.
    stratum, effect
        The stratum and the cross-fitted effect in it; None without a response model.
    risk, risk_words
        The risk, and what it is; None without a risk model.
    reasons
        Of the risk and of the benefit, apart.
    """

    study: str
    flags: tuple[str, ...]
    stratum: str | None
    effect: Estimate | None
    risk: float | None
    risk_words: str
    reasons: tuple[Reasons, ...]

    @property
    def outside(self) -> bool:
        """Whether the patient lies outside the range that the trial saw."""
        return any("outside the range" in flag for flag in self.flags)

    def text(self) -> str:
        """Return the page in sentences."""
        parts = []
        if self.outside:
            parts.append("This patient lies outside the range of the trial: what follows is extrapolated.")
        if self.risk is not None:
            parts.append(f"{self.risk_words}: {self.risk_shown()}.")
        if self.stratum is not None and self.effect is not None:
            parts.append(
                f"Stratum: {self.stratum}; effect in the stratum {self.effect.text()}, known of its patients, not of this one."
            )
        for one in self.reasons:
            said = "; ".join(f"{row.covariate} {row.value} ({_signed(row.shap)})" for row in one.rows.itertuples())
            parts.append(f"{one.of}: {said or one.missing}.")
        return " ".join(parts)

    def risk_shown(self) -> str:
        """Return the risk as it is printed."""
        value = self.risk or 0.0
        return (
            f"{100 * value:.1f} %"
            if "risk" in self.risk_words.lower() or "probability" in self.risk_words.lower()
            else format_number(value)
        )


def patient_page(stratifiers: Sequence[Stratifier], patient: pd.DataFrame) -> PatientPage:
    """Say of one patient what the models of a study say, and why.

    Parameters
    ----------
    stratifiers
        One or two of the same study, with a risk part and a response part between them.
    patient
        One row with the covariates; further columns are passed over.

    Raises
    ------
    ModelInputError
        If there is not one row, a column is missing, a value is refused, or the models are of different studies.
    """
    if len(patient) != 1:
        raise ModelInputError(f"A page is for one patient, but {len(patient)} rows were given: choose one.")
    if len({one.study for one in stratifiers}) != 1:
        raise ModelInputError(
            "A page needs models of one study: "
            + ", ".join(sorted({one.study for one in stratifiers}))
            + " were given."
        )
    flags: list[str] = []
    known: dict[str, Any] = {"stratum": None, "effect": None, "risk": None, "risk_words": ""}
    reasons = []
    for one in stratifiers:
        scored = one.predict(patient).iloc[0]
        if scored["refused"]:
            raise ModelInputError(f"The patient cannot be scored: {scored['refused']}.")
        flags += [flag for flag in scored["flags"].split("; ") if flag and flag not in flags]
        typed = one.contract.check(patient).covariates.infer_objects()
        labels = {field.name: field.label for field in one.contract.fields}
        if one.risk is not None and known["risk"] is None:
            part = one.risk
            known |= {"risk": float(scored[part.output]), "risk_words": _risk_words(one)}
            made = _explained(
                lambda typed=typed, part=part, unit=one.unit: explain_risk_of(part.estimator, typed, part.horizon, unit)
            )
            reasons.append(_reasons("What moves the risk", made, typed, labels))
        if one.response is not None and known["stratum"] is None:
            low, high = float(scored["stratum_benefit_low"]), float(scored["stratum_benefit_high"])
            effect = Estimate(
                float(scored["stratum_benefit"]),
                low,
                high,
                unit=one.unit,
                kind="crossfit",
                scale="benefit in the stratum",
            )
            known |= {"stratum": str(scored["stratum"]), "effect": effect}
            model = one.response.estimator
            made = _explained(lambda typed=typed, model=model, unit=one.unit: explain_benefit_of(model, typed, unit))
            reasons.append(_reasons("What moves the benefit score", made, typed, labels))
    return PatientPage(stratifiers[0].study, tuple(flags), reasons=tuple(reasons), **known)


def _risk_words(one: Stratifier) -> str:
    assert one.risk is not None
    of = {"risk": "Risk", "probability": "Probability of the event", "expected_outcome": "Expected outcome"}[
        one.risk.output
    ]
    by = "" if one.risk.horizon is None else f" by {one.risk.horizon:g} {one.unit}"
    arms = " under the trial's mixture of arms" if one.risk.arm == "blinded" else " under control"
    return f"{of}{by}{arms}"


def _explained(explain: Any) -> LocalExplanation | str:
    try:
        found: LocalExplanation = explain()
    except AnalysisError as error:
        return str(error)
    return found


def _reasons(of: str, made: LocalExplanation | str, typed: pd.DataFrame, labels: dict[str, str]) -> Reasons:
    empty = pd.DataFrame({"covariate": [], "value": [], "shap": []})
    if isinstance(made, str):
        return Reasons(of, "", "", empty, made.rstrip("."))
    first = made.parts[made.parts != 0].head(REASONS)
    rows = pd.DataFrame(
        [(labels.get(name, name), _value(typed[name].iloc[0]), float(value)) for name, value in first.items()],
        columns=["covariate", "value", "shap"],
    )
    return Reasons(of, made.unit, made.how, rows, "" if len(rows) else "nothing: the model says the same of everybody")


def _value(value: Any) -> str:
    if pd.isna(value):
        return "missing (imputed)"
    return format_number(float(value)) if isinstance(value, int | float | np.number) else str(value)


def _signed(value: float) -> str:
    return ("+" if value > 0 else "") + format_number(value, 2)


def write_page(page: PatientPage, path: Path) -> None:
    """Write the page as one HTML file without script; it holds a patient's values, so keep it where such may be kept.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_html(page), encoding="utf-8")
    except OSError as error:
        raise OutputError(
            f"The page '{path}' cannot be written ({error.strerror}): choose another place with --out."
        ) from error


def _html(page: PatientPage) -> str:
    title = f"One patient: {page.study}"
    warning = ""
    if page.outside:
        warning = (
            "<p class='flag' role='note'><strong>Outside the trial's range.</strong> What follows is extrapolated.</p>"
        )
    flags = "".join(f"<li>{html.escape(flag)}</li>" for flag in page.flags)
    parts = [warning, f"<ul>{flags}</ul>" if flags else ""]
    if page.risk is not None:
        parts.append(f"<h2>{html.escape(page.risk_words)}</h2><p class='number'>{page.risk_shown()}</p>")
    if page.stratum is not None and page.effect is not None:
        parts.append(
            f"<h2>Stratum</h2><p>{html.escape(page.stratum)}</p><p>Effect in the stratum: <strong>{html.escape(page.effect.text())}</strong>, "
            "cross-fitted. It is known of the stratum's patients, not of this one.</p>"
        )
    parts += [_table(one) for one in page.reasons]
    parts.append(
        "<p>The reasons describe the models, not causes. This page holds a patient's values: it was written on request, and nothing of it is "
        "tracked.</p>"
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>{html.escape(title)}</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}}
table{{border-collapse:collapse;width:100%}}th,td{{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #ccc}}
td.n,th.n{{text-align:right}}.number{{font-size:1.6rem;margin:0;color:{COLOURS["experimental"]}}}.flag{{border-left:.4rem solid {COLOURS["third"]};padding-left:.8rem}}</style>
</head><body><main><h1>{html.escape(title)}</h1>
{"".join(parts)}
</main></body></html>
"""


def _table(one: Reasons) -> str:
    if one.missing:
        return f"<h2>{html.escape(one.of)}</h2><p>{html.escape(one.missing)}.</p>"
    rows = "".join(
        f"<tr><td>{html.escape(row.covariate)}</td><td>{html.escape(row.value)}</td><td class='n'>{_signed(row.shap)}</td></tr>"
        for row in one.rows.itertuples()
    )
    head = f"<tr><th scope='col'>Covariate</th><th scope='col'>Value</th><th scope='col' class='n'>SHAP value ({html.escape(one.unit)})</th></tr>"
    caption = f"<p>The {len(one.rows)} covariates that move it most; {html.escape(one.how)}.</p>"
    return f"<h2>{html.escape(one.of)}</h2>{caption}<table><thead>{head}</thead><tbody>{rows}</tbody></table>"
