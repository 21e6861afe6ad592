"""The one tolerance by which two times are one time."""

from __future__ import annotations

__all__ = ["TIE_TOLERANCE"]

TIE_TOLERANCE = 1e-9
"""Times closer than this, relative to the time, are one time: 365.25 / 12 and its rounded sum must not differ."""
