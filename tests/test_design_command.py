"""The verb ``design``: what it prints, writes and refuses; the same from a study file."""

import json

import pytest

from trialml.cli import main
from trialml.design_tables import DESIGN_KINDS

# The example of the command in its documentation. Critical values: gsDesign and rpact for looks at 50, 75 and 100 % of the
# information, O'Brien-Fleming-type spending of one-sided 0.025; events by Schoenfeld's formula times their inflation.
ASKED = [
    "design", "survival", "--hazard-ratio", "0.7", "--power", "0.9", "--information", "0.5,0.75,1",
    "--spending", "lan-demets-obrien-fleming", "--control-median", "12", "--accrual", "18", "--patients", "500",
]  # fmt: skip
STUDY = """
[design.survival]
hazard_ratio = 0.7
power = 0.9
information = [0.5, 0.75, 1]
spending = "lan-demets-obrien-fleming"
control_median = 12
accrual = 18
patients = 500
"""


def answer(words, capsys):
    """The standard output of a command that succeeds."""
    assert main(words) == 0
    return capsys.readouterr().out


def refusal(words, capsys):
    """The one line that a refused command says, and its exit status."""
    status = main(words)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "Traceback" not in said.err
    return status, said.err


def test_a_survival_design_prints_its_events_bounds_and_calendar(capsys):
    said = answer(ASKED, capsys)
    assert "337 events in 500 patients" in said
    assert "one-sided" in said
    for word in ("2.958", "2.358", "2.014"):  # the bounds at the fractions of the whole events 169, 253 and 337
        assert word in said


def test_json_holds_what_was_asked_and_every_number(capsys):
    (found,) = json.loads(answer([*ASKED, "--json"], capsys))
    assert found["design"] == "survival"
    assert found["asked"]["information"] == [0.5, 0.75, 1.0]
    (plan,) = found["results"]
    assert plan["numbers"]["events"] == 337
    assert [row["events"] for row in plan["rows"]] == [169, 253, 337]


def test_the_study_file_gives_the_same_design_as_the_command_line(tmp_path, capsys):
    path = tmp_path / "study.toml"
    path.write_text(STUDY, encoding="utf-8")
    by_file = json.loads(answer(["design", "study", str(path), "--json"], capsys))
    assert by_file == json.loads(answer([*ASKED, "--json"], capsys))


def test_alpha_and_power_of_the_design_table_are_shared_by_its_designs(tmp_path, capsys):
    path = tmp_path / "study.toml"
    path.write_text("[design]\npower = 0.8\n" + STUDY.replace("power = 0.9\n", ""), encoding="utf-8")
    (found,) = json.loads(answer(["design", "study", str(path), "--json"], capsys))
    assert found["asked"]["power"] == 0.8


def test_the_report_holds_the_decision_and_asks_nothing_of_data(tmp_path, capsys):
    path = tmp_path / "design.html"
    answer([*ASKED, "--simulate", "500", "--report", str(path)], capsys)
    page = path.read_text(encoding="utf-8")
    assert "337 events in 500 patients" in page
    assert "Monte Carlo error" in page
    assert "What is estimated" not in page
    assert "<script" not in page


def test_means_and_rates_say_patients_and_method(capsys):
    # Closed form: two arms of ((1.959964 + 1.281552) * sqrt(2) * 12 / 5)**2 by the normal approximation, 242.09 in all.
    said = answer(["design", "means", "--difference", "5", "--sd", "12", "--normal-approximation"], capsys)
    assert "242.09 before rounding" in said
    said = answer(["design", "rates", "--experimental-rate", "0.5", "--control-rate", "0.3"], capsys)
    assert "variance under the null pooled" in said


def test_tests_of_a_delayed_effect_stand_side_by_side(capsys):
    words = [
        "design",
        "survival",
        "--hazard-ratio",
        "1,0.6",
        "--effect-breaks",
        "0,4",
        "--control-median",
        "12",
        "--accrual",
        "12",
    ]
    said = answer([*words, "--duration", "36", "--tests", "logrank,maxcombo,rmst", "--tau", "18"], capsys)
    assert "average hazard ratio" in said
    assert "restricted means to 18 months" in said
    futile = ["--information", "0.6,1", "--futility-spending", "hwang-shih-decani", "--futility-parameter", "-2"]
    assert "spend under one hazard ratio" in answer([*words, "--duration", "36", *futile], capsys)
    _, refused = refusal([*words, "--duration", "36", "--tests", "rmst"], capsys)
    assert "give tau in months" in refused


def test_a_named_scenario_assurance_and_adjustment(capsys):
    words = ["design", "survival", "--control-median", "12", "--accrual", "18", "--follow-up", "18"]
    said = answer([*words, "--scenario", "delayed effect"], capsys)
    assert "average hazard ratio" in said
    assert "the names there are" in refusal([*words, "--scenario", "moon"], capsys)[1]
    (whole,) = json.loads(answer([*words, "--hazard-ratio", "0.7", "--json"], capsys))
    (less,) = json.loads(answer([*words, "--hazard-ratio", "0.7", "--covariate-r2", "0.2", "--json"], capsys))
    # Schoenfeld's 330.378 events, and 0.8 times them, to the next whole number.
    assert [one["results"][0]["numbers"]["events"] for one in (whole, less)] == [331, 265]
    said = answer([*words, "--hazard-ratio", "0.7", "--log-hazard-ratio-se", "0.15", "--no-effect", "0.3"], capsys)
    assert "30 %" in said


ENRICHMENT = [
    "design", "enrichment", "--prevalence", "0.4", "--hazard-ratio", "0.6", "--rest-hazard-ratio", "0.9", "--control-median",
    "12", "--accrual", "24", "--patients", "600", "--simulate", "1000",
]  # fmt: skip


def test_enrichment_designs_stand_side_by_side_with_their_monte_carlo_errors(capsys):
    (found,) = json.loads(answer([*ENRICHMENT, "--json"], capsys))
    rows = found["results"][0]["rows"]
    assert {row["design"] for row in rows} == set(found["asked"]["approach"])
    assert len({row["truth"] for row in rows}) == 3
    assert all(row["rejected_any_mc_error"] < 0.02 for row in rows)


SURVIVAL = ["design", "survival", "--control-median", "12", "--accrual", "18", "--patients", "500"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([*SURVIVAL, "--hazard-ratio", "0.7", "--power", "0.01"], "power"),
        ([*SURVIVAL, "--hazard-ratio", "1"], "hazard ratio"),
        ([*SURVIVAL, "--hazard-ratio", "-0.7"], "--hazard-ratio -0.7 will not do: input should be greater than 0"),
        ([*SURVIVAL], "the effect is not given"),
        ([*SURVIVAL, "--hazard-ratio", "0.7", "--information", "0.75,0.5,1"], "do not increase"),
        ([*SURVIVAL, "--hazard-ratio", "0.7", "--information", "0.5,1.2"], "1.2"),
        ([*SURVIVAL, "--hazard-ratio", "0.7", "--information", "0.5,0.8"], "do not end in 1"),
        ([*SURVIVAL, "--hazard-ratio", "0.7", "--information", "0.5,1", "--futility-z", "3.5"], "futility"),
        ([*SURVIVAL, "--hazard-ratio", "0.9"], "500 patients can give at most"),
        (["design", "survival", "--hazard-ratio", "0.7", "--control-median", "12", "--patients", "500"], "accrual"),
        ([*ENRICHMENT, "--prevalence", "0"], "--prevalence 0 will not do"),
        ([*ENRICHMENT, "--prevalence", "1"], "--prevalence 1 will not do"),
        ([*ENRICHMENT, "--approach", "adaptive,other"], "--approach other is not known"),
        ([*ENRICHMENT, "--rule", "threshold", "--thresholds", "0.8"], "--thresholds 0.8 will not do: give 2 numbers"),
        (["design", "means", "--difference", "5"], "give sd"),
        (["design", "means", "--difference", "1", "--sd", "1", "--null", "2"], "give higher_is_better, yes or no"),
        ([*SURVIVAL, "--hazard-ratio", "0.7", "--patients", "500.5"], "--patients 500.5 will not do"),
        (["design", "means", "--difference", "0", "--sd", "1"], "difference"),
        (["design", "rates", "--experimental-rate", "0.5"], "--control-rate is missing"),
        (
            ["design", "rates", "--experimental-rate", "1.5", "--control-rate", "0.3"],
            "--experimental-rate 1.5 will not do",
        ),
    ],
)
def test_bad_input_is_one_sentence_with_the_value_and_nothing_else(words, sentence, capsys):
    status, said = refusal(words, capsys)
    assert status in (1, 2)
    assert sentence in said


def test_a_median_in_days_beside_months_of_accrual_is_suspected(capsys):
    _, said = refusal([*SURVIVAL, "--hazard-ratio", "0.7", "--control-median", "365"], capsys)
    assert "days" in said
    _, said = refusal([*ENRICHMENT, "--events", "300", "--control-median", "365"], capsys)
    assert "days" in said


def test_a_study_file_without_a_design_says_what_to_add(tmp_path, capsys):
    path = tmp_path / "study.toml"
    path.write_text("[design]\npower = 0.8\n", encoding="utf-8")
    assert "add a table such as [design.survival]" in refusal(["design", "study", str(path)], capsys)[1]


def test_an_unknown_key_of_a_design_names_the_nearest(tmp_path, capsys):
    path = tmp_path / "study.toml"
    path.write_text(STUDY.replace("accrual = 18", "acrual = 18"), encoding="utf-8")
    assert "'acrual' is not a key; the nearest name is 'accrual'" in refusal(["design", "study", str(path)], capsys)[1]


@pytest.mark.parametrize("kind", DESIGN_KINDS)
def test_every_key_of_a_table_is_an_option_with_a_description(kind):
    assert all(field.description for field in DESIGN_KINDS[kind].model_fields.values())
