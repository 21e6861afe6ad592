"""Results as records: names, numbers and files, without MLflow."""

import json
import math
import subprocess
import sys
from dataclasses import dataclass
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pytest

from trialml.result import Result
from trialml.survival.kaplan_meier import kaplan_meier
from trialml.tracking.records import Artifact, Metric, Undefined, metric_name, records_of, safe_name, slug


def by_type(records, kind):
    return [record for record in records if isinstance(record, kind)]


def files(results):
    return {record.path: record.content for record in by_type(records_of(results), Artifact)}


@dataclass(frozen=True)
class Counted(Result):
    """A result whose scalars are given."""

    chapter = "survival"
    title = "Counts"
    values: dict

    def frame(self):
        return pd.DataFrame({"name": list(self.values), "value": list(self.values.values())})

    def text(self):
        return "There are counts."

    def scalars(self):
        return self.values


def test_metrics_carry_chapter_and_interval_and_four_significant_digits(performance):
    found = {record.name: record.value for record in by_type(records_of([performance(0.71236789)]), Metric)}
    assert found == {
        "validation/c_index_crossfit": 0.7124,
        "validation/c_index_crossfit_low": 0.6811,
        "validation/c_index_crossfit_high": 0.7436,
    }


def test_numbers_that_are_not_finite_are_listed_and_not_logged(performance):
    records = records_of([performance(0.7)])
    assert [record.name for record in by_type(records, Undefined)] == ["validation/median", "validation/upper"]
    assert all(math.isfinite(record.value) for record in by_type(records, Metric))


def test_a_result_becomes_csv_json_text_and_svg_under_its_chapter(performance):
    found = files([performance(0.7)])
    assert sorted(found) == [f"validation/discrimination.{end}" for end in ("csv", "json", "svg", "txt")]
    assert found["validation/discrimination.csv"] == "what,value\nc_index,0.7\n"
    assert found["validation/discrimination.txt"] == "The C-index is 0.700.\n"


def test_the_stored_json_renders_again():
    curve = kaplan_meier(np.arange(1.0, 41.0), np.arange(40) % 3 > 0)
    found = files([curve])
    (path,) = [path for path in found if path.endswith(".json")]
    again = Result.from_dict(json.loads(found[path]))
    assert again.text() == curve.text()
    pd.testing.assert_frame_equal(again.frame(), curve.frame())
    assert files([again]) == found


def test_a_result_without_a_figure_gets_none():
    assert not [path for path in files([Counted({"events": 3.0})]) if path.endswith(".svg")]


def test_a_second_result_with_the_same_names_says_whose_they_are(performance):
    results = [performance(0.7), performance(0.6, "two looks"), performance(0.5, "two looks")]
    names = [record.name for record in by_type(records_of(results), Metric)]
    assert names == [
        "validation/c_index_crossfit",
        "validation/c_index_crossfit_low",
        "validation/c_index_crossfit_high",
        "validation/two_looks_c_index_crossfit",
        "validation/two_looks_c_index_crossfit_low",
        "validation/two_looks_c_index_crossfit_high",
        "validation/two_looks_2_c_index_crossfit",
        "validation/two_looks_2_c_index_crossfit_low",
        "validation/two_looks_2_c_index_crossfit_high",
    ]
    assert "validation/discrimination-two-looks-2.csv" in files(results)


def test_arms_whose_names_are_signs_only_do_not_share_a_metric():
    found = by_type(records_of([Counted({"events_+": 1.0, "events_-": 2.0, "???": 3.0})]), Metric)
    assert len({record.name for record in found}) == 3


def test_figures_are_paths_without_mathematics_and_the_same_every_time(performance):
    svg = files([performance(0.7)])["validation/discrimination.svg"]
    ET.fromstring(svg)
    assert "<text" not in svg
    assert svg == files([performance(0.7)])["validation/discrimination.svg"]


def test_a_figure_leaves_matplotlib_as_it_was(performance):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    records_of([performance(0.7)])
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("<script>alert(1)</script>", "script_alert_1_script"),
        ("a/b:c", "a_b_c"),
        ("../../etc", "etc"),
        ("Gr\u00f6\u00dfe 2", "Gr\u00f6\u00dfe 2"),
        ("://", "unnamed"),
        ("a" * 300, "a" * 200),
    ],
)
def test_names_hold_no_markup_slash_or_colon(given, expected):
    assert safe_name(given) == expected


def test_slugs_and_metric_names_hold_only_what_a_path_may():
    assert slug("Effect of <b>treatment</b>, by stratum!") == "effect-of-b-treatment-b-by-stratum"
    assert slug("\u65e2\u5f80") == "result"
    assert metric_name("survival", "hazard ratio ZDV + ddI") == "survival/hazard_ratio_ZDV_ddI"


def test_records_import_no_mlflow():
    code = "import sys, trialml.tracking.records, trialml.tracking.store; print('mlflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
