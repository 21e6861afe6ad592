"""The verb that explains one patient on a local page."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

__all__ = ["add_explain_verb", "explain"]


def add_explain_verb(verbs: Any) -> None:
    """Add the parser of the verb to the command's."""
    parser = verbs.add_parser(
        "explain",
        help="write a local page on one patient: stratum, effect, risk and reasons",
        epilog="The page holds the patient's values. It is written where you say and never tracked.",
    )
    parser.add_argument(
        "models",
        nargs="+",
        type=Path,
        metavar="MODEL",
        help="folder of a tracked model (with stratifier.json): the risk model, the response model or both",
    )
    parser.add_argument("--patients", required=True, metavar="DATA", help="data file, one row a patient")
    parser.add_argument("--row", type=int, default=1, metavar="N", help="which row, from 1 (default: 1)")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.html", help="file to write")


def explain(asked: argparse.Namespace, console: Any) -> int:
    """Write the page of one patient.

    Raises
    ------
    ModelInputError
        If a model cannot be read, there is no such row, or the patient is refused.
    """
    from trialml.data.read import read_table
    from trialml.errors import ModelInputError
    from trialml.patient_page import patient_page, write_page
    from trialml.stratifier import Stratifier

    stratifiers = [Stratifier.read(folder) for folder in asked.models]
    frame = read_table(asked.patients, Path()).frame
    if not 1 <= asked.row <= len(frame):
        raise ModelInputError(f"--row = {asked.row}, but the file has {len(frame):,} rows: choose from 1 on.")
    page = patient_page(stratifiers, frame.iloc[[asked.row - 1]])
    write_page(page, asked.out)
    if page.outside:
        console.print("The patient lies outside the range of the trial.", style="bold", highlight=False)
    console.print(f"Page      {asked.out}", soft_wrap=True, markup=False, highlight=False)
    return 0
