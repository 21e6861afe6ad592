"""What `trialml check` prints: findings with file rows, at any width, with the data's words as they are."""

import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from trialml.check import say_check
from trialml.config import read_study
from trialml.study import look_at_data


def said(study, *, terminal=True, width=80):
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=terminal, color_system=None, soft_wrap=not terminal)
    say_check(study, console)
    return stream.getvalue()


def faults(frame):
    """Twelve ages that are codes, one giant, two records entered twice, and an odd spelling with markup in it."""
    frame.loc[3:14, "age"] = 999
    frame.loc[20, "age"] = 10**9
    frame["site"] = np.where(np.arange(len(frame)) % 2, "liver [bold]x[/bold]", "Lung")
    frame.loc[30:32, "site"] = "LUNG"
    frame.loc[50:51, "marker"] = [0.111, -0.222]
    frame.loc[100:101, list(frame.columns[1:])] = frame.loc[50:51, list(frame.columns[1:])].to_numpy()


@pytest.mark.parametrize("width", [80, 120])
def test_on_a_terminal_no_line_is_wider_than_it_and_nothing_is_cut(write_study, tmp_path, width):
    text = said(write_study(tmp_path, change=faults), width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    joined = " ".join(text.split())
    assert "DQ016 warning age: 12 values are 999, apart from all others" in joined
    assert "File rows 5, 6, 7, 8, 9, 10, 11, 12 and 4 more." in joined
    assert "File rows 52, 53, 102, 103." in joined


def test_where_the_output_is_no_terminal_a_finding_is_one_line(write_study, tmp_path):
    lines = said(write_study(tmp_path, change=faults), terminal=False).splitlines()
    (line,) = [line for line in lines if "DQ012" in line]
    assert line.startswith(
        "  DQ012  warning  Records: 4 patients have arm, outcome and baseline values of another patient"
    )
    assert line.endswith("File rows 52, 53, 102, 103.")


def test_errors_come_before_warnings_and_warnings_before_notes(write_study, tmp_path):
    def change(frame):
        faults(frame)
        frame["days"] = frame["days"].astype(float)
        frame.loc[60:70, "days"] = (frame.loc[60:70, "days"] / 365.25).round(2)

    text = said(write_study(tmp_path, change=change))
    assert text.index("DQ014 error") < text.index("DQ011 warning") < text.index("DQ004 note") < text.index("DQ008 ok")


def test_markup_in_the_data_is_printed_and_not_obeyed(write_study, tmp_path):
    def change(frame):
        frame["arm"] = frame["arm"].replace("other", "[red]other[/red]")

    study = write_study(tmp_path, change=change, study={"treatment.secondary": ["[red]other[/red]"]})
    for terminal in (True, False):
        assert "[red]other[/red]" in said(study, terminal=terminal, width=120)


def test_no_identifier_is_printed(write_study, tmp_path, subject_mark):
    assert subject_mark not in said(write_study(tmp_path, change=faults))


def test_the_results_of_a_check_hold_no_file_rows_and_no_small_counts(write_study, tmp_path, subject_mark):
    checked = look_at_data(read_study(write_study(tmp_path, change=faults)))
    titles = [result.title for result in checked.results]
    assert titles == [
        "Patients analysed",
        "Data quality",
        "Cleaning log",
        "Missing values",
        "Covariates that know the outcome",
    ]
    for result in checked.results:
        stored = str(result.to_dict())
        assert "File row" not in stored
        assert subject_mark not in stored
    quality = checked.results[1].frame()
    shown = quality["count"].dropna()
    assert (shown >= 11).all()
    assert not quality["finding"].str.contains(r"\b(?:[1-9]|10) values").any()


def test_the_site_of_the_study_file_is_checked_and_is_no_covariate(write_study, tmp_path):
    def change(frame):
        draw = np.random.default_rng(1)
        frame["hospital"] = draw.choice(["A", "B", "C", "D", "E", "F"], len(frame))
        frame.loc[frame["hospital"] == "B", "progressed"] = 0

    study = write_study(tmp_path, change=change, rows=600, study={"data.site": "hospital"})
    assert "DQ028  warning  site: Site 'B': it has 0 times the events" in said(study, terminal=False)
    assert "hospital" not in pd.DataFrame(look_at_data(read_study(study)).trial.baseline)


def test_a_covariate_that_knows_the_outcome_is_said_by_check(write_study, tmp_path):
    def change(frame):
        noise = np.random.default_rng(3).normal(0, 10, len(frame))
        frame["marker"] = frame["days"].astype(float) + noise.round(1)

    assert "Warning: marker, value: its concordance is" in said(write_study(tmp_path, change=change), terminal=False)


@pytest.mark.parametrize("kind", ["binary", "continuous"])
def test_an_endpoint_without_times_is_checked_too(write_study, tmp_path, kind):
    kept = {"endpoints.time": None, "endpoints.horizon": None, "endpoints.tau": None, "endpoints.kind": kind}
    changes = {
        "binary": {**kept, "endpoints.unit": None},
        "continuous": {
            **kept,
            "endpoints.event": None,
            "endpoints.value": "week8",
            "endpoints.unit": "points",
            "data.post_baseline": [],
        },
    }
    text = said(write_study(tmp_path, study=changes[kind]), terminal=False)
    assert "The endpoint is no time to event. This concerns DQ009" in text
    assert "nothing was fitted" in text
    assert "Covariates that know the outcome" not in text
