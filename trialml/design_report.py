"""Designs as one report: the sizes on the first page, the chapters behind it."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import platform
from collections.abc import Sequence
from pathlib import Path

from trialml import __version__
from trialml.designing import Designed
from trialml.report.document import Document, Finding, Summary, assemble
from trialml.report.html import write
from trialml.result import format_count, format_number

__all__ = ["write_design_report"]

_PACKAGES = ("numpy", "scipy", "numba", "pandas")
_SHOWN = {
    "events": "Events",
    "patients": "Patients",
    "duration_months": "Months from the first patient to the final analysis",
    "power": "Power under the assumed effect",
    "expected_duration_months": "Months expected, stopping early where a bound is crossed",
}
"""Of a plan's numbers those for the first page, in this order."""

_LIMITATIONS = (
    "Every figure rests on the assumed truth: a smaller effect, a lower event rate or slower recruitment than assumed gives "
    "less power or a longer trial.",
    "Alpha is one-sided throughout: the level on each side where a design rejects in both directions.",
)


def write_design_report(designed: Sequence[Designed], path: Path, command: Sequence[str]) -> None:
    """Write the designs as one report.

    Parameters
    ----------
    designed
        What `designing.compute_design` returned.
    path
        The HTML file.
    command
        The command line that asked for them, for the last chapter.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    write(_document(designed, command), path)


def _document(designed: Sequence[Designed], command: Sequence[str]) -> Document:
    kinds = ", ".join(one.kind for one in designed)
    created = dt.datetime.now(dt.UTC).replace(microsecond=0).isoformat()
    return assemble(
        [result for one in designed for result in one.results],
        title=f"Design of a trial: {kinds}",
        study="design",
        subtitle="Rules, assumed truth, and what comes of both",
        created=created,
        summary=Summary(
            question="How large must the trial be, how long will it take, and when may it stop?",
            answer=[finding for one in designed for finding in _findings(one)],
            next_steps=_next_steps(designed),
            certainty=_LIMITATIONS[:1],
            verdict=" ".join(one.results[0].text() for one in designed),
        ),
        defaults=[(f"{one.kind}.{name}", value) for one in designed for name, value in _defaults(one)],
        reproduce={
            "versions": {
                "python": platform.python_version(),
                "trialml": __version__,
                **{name: importlib.metadata.version(name) for name in _PACKAGES},
            },
            "commands": [" ".join(command)],
        },
        limitations=_LIMITATIONS,
    )


def _findings(designed: Designed) -> list[Finding]:
    if designed.kind == "enrichment":
        return _compared(designed)
    numbers = designed.results[0].scalars()
    found = []
    for name, words in _SHOWN.items():
        if name in numbers:
            value = numbers[name]
            shown = f"{100 * value:.1f} %" if name == "power" else format_count(value)
            if name.endswith("months"):
                shown = format_number(value)
            found.append(Finding(words, shown, f"{designed.kind}, computed"))
    return found


def _compared(designed: Designed) -> list[Finding]:
    """Return, for each design, how often it rejects under each truth."""
    rows = designed.results[0].frame()
    found = []
    for design in dict.fromkeys(rows["design"]):
        own = rows[rows["design"] == design]
        shares = [f"{100 * row.rejected_any:.1f} % under {row.truth}" for row in own.itertuples()]
        first = own.iloc[0]
        found.append(
            Finding(
                f"{str(design).capitalize()}: trials that reject anything",
                f"{100 * first['rejected_any']:.1f} %",
                f"simulated; {'; '.join(shares[1:])}; {format_number(first['duration_months'])} months on average",
            )
        )
    return found


def _next_steps(designed: Sequence[Designed]) -> list[str]:
    simulated = any(one.asked.model_dump().get("simulate") for one in designed)
    steps = ["Ask of each assumption what the trial would lose if it were wrong, and design again with the answer."]
    if not simulated:
        steps.append(
            "Simulate the design (--simulate 10000) under the assumed truth and under others, before it is fixed."
        )
    return steps


def _defaults(designed: Designed) -> list[tuple[str, str]]:
    asked = designed.asked
    return [(name, _words(value)) for name, value in asked.model_dump().items() if name not in asked.model_fields_set]


def _words(value: object) -> str:
    if value in (None, ()):
        return "not given"
    return ", ".join(str(one) for one in value) if isinstance(value, tuple) else str(value)
