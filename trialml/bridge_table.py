"""What a next trial from a tracked model is asked with: the same on the command line and in `study.toml`."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from trialml.study_tables import FileTable, Real, Whole

__all__ = ["ADDRESS", "BridgeTable"]

ADDRESS = re.compile(r"models:/[^/@:\s]+(@[\w-]+|/\d+)")
"""How a registered model is named: by its alias or by its version."""

_Positive = Annotated[Real, Field(gt=0)]
_Share = Annotated[Real, Field(gt=0, lt=1)]


class BridgeTable(FileTable):
    """`[design.bridge]`: the next trial from a tracked model; times in months."""

    model_config = ConfigDict(validate_by_alias=True, validate_by_name=False, serialize_by_alias=True)

    from_: Annotated[
        str | None,
        Field(
            alias="from",
            title="MODEL",
            description="tracked model, such as models:/NAME@champion or models:/NAME/3; a run takes the model that it learns",
        ),
    ] = None
    alpha: Annotated[_Share | None, Field(description="one-sided and familywise (not given: as in [design])")] = None
    power: Annotated[
        _Share | None,
        Field(description="for which all comers are sized where no budget is given (not given: as in [design])"),
    ] = None
    minimum_effect: Annotated[
        _Positive | None,
        Field(
            description="least effect worth claiming: a hazard ratio below 1 (not given: 0.8), else a benefit above 0 (not given: half of the "
            "estimated one)"
        ),
    ] = None
    accrual: Annotated[
        _Positive | None,
        Field(description="patients who can be screened a month (not given: screened_per_month of [design])"),
    ] = None
    follow_up: Annotated[
        _Positive | None,
        Field(description="months from the last patient in to the end (not given: as in [design])"),
    ] = None
    dropout: Annotated[
        Real | None,
        Field(ge=0, lt=1, description="share who leave without an event in a year (not given: as in [design])"),
    ] = None
    max_duration: Annotated[
        _Positive | None,
        Field(description="months that the trial may last (not given: 120, or twice a longer follow-up)"),
    ] = None
    cost_screen: Annotated[
        Real | None, Field(description="cost of screening one patient, in any currency (not given: as in [design])")
    ] = None
    cost_patient: Annotated[
        Real | None, Field(description="cost of treating and following one patient (not given: as in [design])")
    ] = None
    budget: Annotated[
        _Positive | None,
        Field(
            description="what every option may cost: money where costs are given, else patients (not given: what all comers cost)"
        ),
    ] = None
    interim: Annotated[
        _Share, Field(description="share of the patients who are in at the interim analysis of adaptive enrichment")
    ] = 0.5
    relative_effect: Annotated[
        _Positive | None,
        Field(description="of a risk model: the hazard ratio or relative risk that treatment is assumed to have"),
    ] = None
    gate_level: Annotated[
        _Share, Field(description="enrichment is considered only where the global test of heterogeneity is below this")
    ] = 0.2
    gate_probability: Annotated[
        _Share, Field(description="and where the selected benefit more than the others with at least this probability")
    ] = 0.5
    more_patients: Annotated[
        Whole,
        Field(
            ge=10, le=100_000, description="further patients of whom it is asked whether they would change the choice"
        ),
    ] = 200
    simulate: Annotated[
        Whole, Field(ge=0, le=10_000_000, description="trials to simulate for the simulation report; 0 for none")
    ] = 2_000
    seed: Annotated[Whole, Field(ge=0, lt=2**32, description="seed of everything simulated")] = 1
    override_validation: Annotated[
        str | None,
        Field(
            min_length=10,
            title="REASON",
            description="why a model that failed its validation is used all the same, in words",
        ),
    ] = None

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.from_ is not None and not ADDRESS.fullmatch(self.from_):
            raise ValueError(
                f"'{self.from_}' names no tracked model: write models:/NAME@champion, or a version as models:/NAME/3"
            )
        return self
