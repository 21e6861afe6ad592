"""A `Stratifier`: the fitted risk model, the response model and the strata, ready for new patients.

It is what MLflow registers and what scores patients; its state is one JSON file, and a file of weights where a model has
arrays, so that loading a model can never run code. MLflow loads it through `_load_pyfunc`, which needs no MLflow.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trialml.errors import ModelInputError, StudyFileError, nearest
from trialml.models import model_named
from trialml.models.input_contract import InputContract
from trialml.models.training_summary import TrainingSummary
from trialml.strata.conditions import BENEFIT, RISK
from trialml.strata.learned import with_scores
from trialml.strata.strata import Strata
from trialml.stratifier_weights import (
    WEIGHTS_DIGEST,
    WEIGHTS_FILE,
    Written,
    digest_of,
    put_back,
    taken_out,
    unpacked,
)
from trialml.survival.ties import not_after
from trialml.tracking.registry import state_digest

__all__ = ["ResponsePart", "RiskPart", "Stratifier", "StratumEffect"]

_FILE = "stratifier.json"
_FORMAT = 1
_DIGEST = "sha256"
_MLMODEL = "MLmodel"
_LOGGED = r"trialml\.model_sha256: *['\"]?([0-9a-f]{64})"


@dataclass(frozen=True)
class StratumEffect:
    """The cross-fitted effect in a stratum: what is known about its patients, not about one of them."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class RiskPart:
    """The risk model by name, the horizon at which it was validated, the arm's part in it, and what its predictions are called.

    Attributes
    ----------
    model, estimator
        The model's name and the fitted estimator.
    horizon
        None for an endpoint without follow-up.
    arm
        ``"covariate"``, ``"blinded"`` or ``"control arm"``.
    output
        ``"risk"``; ``"probability"`` of an event that is a benefit; ``"expected_outcome"`` of a continuous endpoint.
    """

    model: str
    estimator: Any
    horizon: float | None = None
    arm: str = "covariate"
    output: str = "risk"


@dataclass(frozen=True)
class ResponsePart:
    """The response model by name, the strata, and the effect in each."""

    model: str
    estimator: Any
    strata: Strata
    effects: tuple[StratumEffect, ...]
    tau: float | None = None


@dataclass(frozen=True)
class Stratifier:
    """Scores new patients at baseline.

    Attributes
    ----------
    study, unit
        Name of the study, and unit of time or of a continuous endpoint.
    contract
        What the patients must look like.
    risk, response
        The two parts; either may be absent.
    training
        How the covariates were distributed in training, for monitoring; absent in models of earlier versions.
    """

    study: str
    unit: str
    contract: InputContract
    risk: RiskPart | None = None
    response: ResponsePart | None = None
    training: TrainingSummary | None = None

    def predict(self, patients: pd.DataFrame, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Score patients.

        Parameters
        ----------
        patients
            One row a patient with the covariates of the contract; further columns are passed over.
        params
            ``{"horizon": ...}`` reads the risk of a time to event at another horizon within the follow-up of the trial.

        Returns
        -------
        DataFrame
            Same index. With a risk part: ``risk`` (of the event, by the horizon, under control; of a model that is blind to the arm under
            the trial's mixture of arms; of other kinds of endpoints see `RiskPart.output`). With a response part: ``expected_benefit``
            (the effect given the covariates, above 0 favours the experimental arm: of a time to event an RMST difference, else a
            difference of risks or means), ``stratum``, and the stratum's cross-fitted
            effect ``stratum_benefit``, ``stratum_benefit_low``, ``stratum_benefit_high``. Always ``flags`` (out of the
            range seen, imputed) and ``refused`` (the reason; then there is no number).

        Raises
        ------
        ModelInputError
            If a column is missing altogether, a parameter is unknown, or the horizon is not a positive number within the follow-up.
        """
        unknown = [str(name) for name in params or {} if name != "horizon"]
        if unknown:
            raise ModelInputError(f"There is no parameter '{unknown[0]}'; {nearest(unknown[0], ['horizon'])}.")
        checked = self.contract.check(patients)
        good = np.asarray([not reason for reason in checked.refused], dtype=np.bool_)
        accepted = checked.covariates if good.all() else checked.covariates.loc[good].infer_objects()
        scored: dict[str, Any] = {}
        if self.risk is not None:
            risk = self._risk(self.risk, accepted, params or {})
            scored[self.risk.output] = _spread(risk, good)
        if self.response is not None:
            scored |= self._benefit(self.response, accepted, good)
        scored |= {"flags": list(checked.flags), "refused": list(checked.refused)}
        return pd.DataFrame(scored, index=patients.index, copy=False)

    def columns(self) -> list[tuple[str, str]]:
        """Return the columns that `predict` gives, as (name, ``double`` or ``string``)."""
        columns: list[tuple[str, str]] = []
        if self.risk is not None:
            columns.append((self.risk.output, "double"))
        if self.response is not None:
            benefit = ("stratum_benefit", "stratum_benefit_low", "stratum_benefit_high")
            columns += [("expected_benefit", "double"), ("stratum", "string"), *[(name, "double") for name in benefit]]
        return [*columns, ("flags", "string"), ("refused", "string")]

    @property
    def extras(self) -> set[str]:
        """Which extras scoring needs."""
        models = [
            model_named(part.model, question)
            for part, question in ((self.risk, "risk"), (self.response, "response"))
            if part
        ]
        return {model.extra for model in models if model.extra}

    def _risk(self, part: RiskPart, covariates: pd.DataFrame, params: Mapping[str, Any]) -> NDArray[np.float64]:
        if part.estimator.treatment is not None:
            covariates = covariates.assign(**{part.estimator.treatment: 0.0})
        if part.horizon is None:
            if "horizon" in params:
                raise ModelInputError(
                    "The endpoint of this model has no follow-up, so there is no horizon to choose: leave it out."
                )
            return np.asarray(part.estimator.predict(covariates)) if len(covariates) else np.empty(0)
        asked = params.get("horizon", part.horizon)
        limit = float(part.estimator.horizon_limit_)
        try:
            horizon = float(asked)
        except (TypeError, ValueError) as error:
            raise ModelInputError(f"horizon = {asked!r} is not a number: choose from 0 to {limit:g}.") from error
        if not (horizon > 0 and not_after(horizon, limit)):
            message = (
                f"horizon = {horizon:g} {self.unit} is outside the follow-up of the trial: choose from 0 to {limit:g}."
            )
            raise ModelInputError(message)
        return np.asarray(part.estimator.risk(covariates, horizon)) if len(covariates) else np.empty(0)

    def _benefit(self, part: ResponsePart, covariates: pd.DataFrame, good: NDArray[np.bool_]) -> dict[str, Any]:
        empty = not len(covariates)
        score = np.empty(0) if empty else part.estimator.benefit_score(covariates)
        place = np.empty(0, np.intp) if empty else self._place(part, covariates, score)
        names = np.full(len(good), "", dtype=object)
        names[good] = np.asarray(part.strata.names, dtype=object)[place]
        scored = {"expected_benefit": _spread(part.estimator.expected(score), good), "stratum": names}
        effects = np.asarray([(effect.value, effect.low, effect.high) for effect in part.effects])
        for column, name in enumerate(("stratum_benefit", "stratum_benefit_low", "stratum_benefit_high")):
            scored[name] = _spread(effects[place, column], good)
        return scored

    def _place(self, part: ResponsePart, covariates: pd.DataFrame, score: NDArray[np.float64]) -> NDArray[np.intp]:
        """Return the place of each patient's stratum; a risk is read at the horizon that the strata were made at, whatever is asked."""
        if part.strata.columns == (BENEFIT,) and part.strata.kind == "benefit":
            return part.strata.assign(score)
        benefit = score if BENEFIT in part.strata.columns else None
        risk = None
        if RISK in part.strata.columns:
            if self.risk is None:
                raise ModelInputError(
                    "The strata need a risk, but the model holds no risk model: register it with its risk part."
                )
            risk = self._risk(self.risk, covariates, {})
        return part.strata.place(with_scores(covariates, risk=risk, benefit_score=benefit))

    def write(self, folder: Path) -> None:
        """Write the state to `folder`: a JSON file that carries the digest of all else in it, and a file of weights if any."""
        written = self.written()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _FILE).write_text(written.text, encoding="utf-8")
        if written.weights:
            (folder / WEIGHTS_FILE).write_bytes(written.weights)

    def written(self) -> Written:
        """Return what `write` writes."""
        state: dict[str, Any] = {
            "format": _FORMAT,
            "study": self.study,
            "unit": self.unit,
            "contract": self.contract.state(),
        }
        if self.risk is not None:
            part = self.risk
            saved = {
                "model": part.model,
                "state": part.estimator.state(),
                "horizon": part.horizon,
                "arm": part.arm,
            }
            state["risk"] = saved | ({} if part.output == "risk" else {"output": part.output})
        if self.response is not None:
            state["response"] = {
                "model": self.response.model,
                "state": self.response.estimator.state(),
                "strata": self.response.strata.state(),
                "effects": [[_or_none(x) for x in (e.value, e.low, e.high)] for e in self.response.effects],
                "tau": self.response.tau,
            }
        if self.training is not None:
            state["training"] = self.training.state()
        plain, weights = taken_out(state)
        plain[_DIGEST] = _digest(plain)
        return Written(json.dumps(plain, indent=1, allow_nan=False) + "\n", weights)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read what `write` wrote, from its folder or from that of the MLflow model around it.

        Raises
        ------
        ModelInputError
            If the folder holds no stratifier, one of another format, or one that was changed after it was written. The digest in
            the file tells a change by accident or by hand; who can compute it anew is told by the digest that the registry keeps.
        """
        inside = folder / "data" / "stratifier" if (folder / _MLMODEL).is_file() else folder
        path = inside / _FILE if inside.is_dir() else inside
        try:
            content = path.read_bytes()
            text = content.decode("utf-8")
            beside = path.with_name(WEIGHTS_FILE)
            weights = beside.read_bytes() if beside.is_file() else b""
        except (OSError, ValueError) as error:
            raise ModelInputError(_unreadable(path.name)) from error
        if not _as_logged(path, content, weights):
            raise ModelInputError(_changed(path.name))
        return cls.from_text(text, path.name, weights)

    @classmethod
    def from_text(cls, text: str, name: str = _FILE, weights: bytes = b"") -> Self:
        """Read what `written` returned; `name` is what errors call it, and they are those of `read`."""
        try:
            state = json.loads(text)
        except ValueError as error:
            raise ModelInputError(_unreadable(name)) from error
        seen = state.get("format") if isinstance(state, dict) else None
        if seen != _FORMAT:
            raise ModelInputError(f"The model has format {seen!r}; this version of trialml reads {_FORMAT}.")
        said = state.pop(_DIGEST, None)
        if said is None:
            raise ModelInputError(
                f"'{name}' holds no sha256, as one of an earlier version, so it cannot be told whether it was changed: run the "
                "analysis again."
            )
        if said != _digest(state):
            raise ModelInputError(_changed(name))
        if WEIGHTS_DIGEST in state and digest_of(weights) != state[WEIGHTS_DIGEST]:
            raise ModelInputError(_changed(WEIGHTS_FILE))
        try:
            if WEIGHTS_DIGEST in state:
                _refuse_absent(state)
                state = put_back(state, unpacked(weights))
            return cls._from_state(state)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError, StudyFileError) as error:
            raise ModelInputError(
                f"'{name}' does not hold what this version of trialml writes ({type(error).__name__}: {error}): take the "
                "folder of a tracked model as it is."
            ) from error

    @classmethod
    def _from_state(cls, state: Mapping[str, Any]) -> Self:
        risk = response = None
        if "risk" in state:
            saved = state["risk"]
            estimator = _estimator(saved, "risk")
            horizon = saved["horizon"]
            risk = RiskPart(
                saved["model"],
                estimator,
                None if horizon is None else float(horizon),
                saved.get("arm", "covariate"),
                saved.get("output", "risk"),
            )
        if "response" in state:
            saved = state["response"]
            estimator = _estimator(saved, "response")
            effects = tuple(StratumEffect(*(np.nan if x is None else x for x in one)) for one in saved["effects"])
            strata = Strata.from_state(saved["strata"])
            tau = None if saved["tau"] is None else float(saved["tau"])
            response = ResponsePart(saved["model"], estimator, strata, effects, tau)
        training = TrainingSummary.from_state(state["training"]) if "training" in state else None
        return cls(state["study"], state["unit"], InputContract.from_state(state["contract"]), risk, response, training)


def _estimator(saved: Mapping[str, Any], question: str) -> Any:
    return model_named(saved["model"], question).estimator.from_state(saved["state"])


def _refuse_absent(state: Mapping[str, Any]) -> None:
    """Say which extra the models want, before anything of theirs is read."""
    for question in ("risk", "response"):
        absent = model_named(state[question]["model"], question).absent if question in state else ""
        if absent:
            raise ModelInputError(absent)


def _unreadable(name: str) -> str:
    return f"'{name}' is no stratifier that can be read: take the folder of a tracked model."


def _changed(name: str) -> str:
    return (
        f"'{name}' was changed after it was written (its sha256 is another): take the model from where it is tracked, or run the "
        "analysis again."
    )


def _as_logged(path: Path, content: bytes, weights: bytes) -> bool:
    """Return whether the files are those that MLflow's model around them was logged with; True where it does not say."""
    about = path.parent.parent.parent / _MLMODEL
    said = re.search(_LOGGED, about.read_text(encoding="utf-8")) if about.is_file() else None
    if said is None:
        return True
    # A state without weights is one file, whatever else came to lie beside it.
    seen = state_digest(path.parent) if WEIGHTS_DIGEST.encode() in content or weights else digest_of(content)
    return said[1] == seen


def _digest(state: Mapping[str, Any]) -> str:
    """Return the sha256 of a state, however its file is laid out."""
    plain = json.dumps(state, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(plain.encode()).hexdigest()


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _spread(values: NDArray[np.float64], good: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Put the values of accepted rows in their places; refused rows have none."""
    whole = np.full(len(good), np.nan)
    whole[good] = values
    return whole


def _load_pyfunc(path: str) -> Stratifier:
    """Load a stratifier for MLflow's ``loader_module``."""
    return Stratifier.read(Path(path))
