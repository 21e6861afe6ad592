"""A design that the evidence does not permit, in words instead of a number."""

from __future__ import annotations

from typing import ClassVar

from trialml.effects.not_done import NotDone

__all__ = ["NotPlanned"]


class NotPlanned(NotDone):
    """What was to be planned and why it was not, so that a reader does not take its absence for an oversight."""

    title: ClassVar[str] = "Design not made"
