"""An analysis as it goes on: what was asked, what was found so far, and who watches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np

from trialml.config import Study
from trialml.data.trial import Trial
from trialml.result import Result
from trialml.stratifier import Stratifier

__all__ = ["Analysis", "Subject", "Watcher"]

R = TypeVar("R", bound=Result)

Subject = Literal["trial", "risk", "response"]
"""What a result is about: the trial itself, or one of the two models."""


class Watcher:
    """Sees the analysis go by; this one is silent."""

    def told(self, result: Result) -> None:
        """Receive a result as it is done."""

    @contextmanager
    def step(self, words: str, total: int) -> Iterator[Callable[[], None]]:
        """Enclose a step of `total` parts; what is yielded is called after each part."""
        del words, total
        yield lambda: None


@dataclass
class Analysis:
    """What a run found: every result in order, and the two stratifiers.

    Attributes
    ----------
    study, trial
        What was asked, and the analysis set.
    results, subjects
        In the order in which they were done, and what each is about.
    risk, response
        The stratifiers to be registered.
    quick
        Whether repeats and permutations were cut for a trial run.
    """

    study: Study
    trial: Trial
    quick: bool
    watcher: Watcher
    results: list[Result] = field(default_factory=list)
    subjects: list[Subject] = field(default_factory=list)
    risk: Stratifier | None = None
    response: Stratifier | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the watcher behind: it holds a terminal, and an analysis that is sent to another process has nobody to tell."""
        return self.__dict__ | {"watcher": Watcher()}

    def add(self, result: Result, about: Subject = "trial") -> None:
        """Keep a result, and whose run it belongs to, and tell the watcher."""
        self.results.append(result)
        self.subjects.append(about)
        self.watcher.told(result)

    def results_about(self, *subjects: Subject) -> list[Result]:
        """Return the results that belong to some subjects, in order."""
        pairs = zip(self.results, self.subjects, strict=True)
        return [result for result, subject in pairs if subject in subjects]

    def only(self, kind: type[R]) -> R:
        """Return the first result of a class."""
        return next(result for result in self.results if isinstance(result, kind))

    def about(self, kind: type[R]) -> tuple[R, ...]:
        """Return every result of a class."""
        return tuple(result for result in self.results if isinstance(result, kind))

    def model_name(self, subject: Subject) -> str:
        """Return what the study file calls the model of a finished analysis."""
        if subject == "response":
            return self.study.models.response.model
        return self.study.risk_model if self.risk is None or self.risk.risk is None else self.risk.risk.model

    def repeats(self, subject: Subject) -> int:
        """Return how often a model's cross-validation is repeated; a quick run takes the fewest that can be read."""
        asked = self.study.models
        if subject == "risk":
            return 2 if self.quick else asked.risk.repeats
        return 6 if self.quick else asked.response.repeats

    def seed(self, step: int) -> int:
        """Return the seed of a numbered step, so that one step's draws never move another's."""
        return int(np.random.SeedSequence(self.study.study.seed, spawn_key=(step,)).generate_state(1)[0])
