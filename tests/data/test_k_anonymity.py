"""k-anonymity: classes counted by hand, small counts not shown."""

import pandas as pd
import pytest

from trialml.data.k_anonymity import KAnonymity, k_anonymity
from trialml.errors import DataError

BEFORE = pd.DataFrame({"sex": ["M"] * 20 + ["F"] * 15, "age": [50] * 20 + [60] * 12 + [99, 98, None], "x": range(35)})
AFTER = BEFORE.assign(age=[50] * 20 + [60] * 12 + [90, 90, None])


@pytest.fixture
def report():
    return k_anonymity({"before": BEFORE, "after": AFTER}, ["sex", "age"])


def test_classes_are_counted_by_set_and_stage_and_a_missing_value_is_a_value(report):
    """By hand: ages 50 (20), 60 (12), 99, 98 and missing; afterwards 90 (2) and missing (1)."""
    shown = report.rows.set_index(["quasi_identifiers", "stage"])
    assert shown["k"].to_dict() == {
        ("sex", "before"): 15,
        ("sex", "after"): 15,
        ("age", "before"): 1,
        ("age", "after"): 1,
        ("sex, age", "before"): 1,
        ("sex, age", "after"): 1,
    }
    assert shown["classes"]["age", "before"] == 5
    assert shown["classes"]["age", "after"] == 4
    assert shown["patients_under"]["sex", "before"] == 0


def test_a_count_from_1_to_10_is_not_shown(report):
    assert report.rows["patients_under"].isna().sum() == 4
    assert report.table()["Under 11 before"].tolist() == ["0", "fewer than 11", "fewer than 11"]
    wide = k_anonymity({"before": BEFORE}, ["age"], smallest=20)
    assert wide.rows["patients_under"].tolist() == [15]


def test_the_text_is_of_all_quasi_identifiers_together_and_survives_storage(report):
    assert report.text().startswith("Over sex, age together: before k = 1 with fewer than 11 of 35 patients")
    assert report.scalars() == {"k_before": 1, "k_after": 1}
    again = KAnonymity.from_dict(report.to_dict())
    assert again.text() == report.text()
    assert again.table().equals(report.table())


def test_a_column_that_was_dropped_tells_nothing_afterwards():
    report = k_anonymity({"before": BEFORE, "after": AFTER[["sex"]]}, ["sex", "age"])
    assert report.scalars() == {"k_before": 1, "k_after": 15}


def test_all_sets_of_one_two_and_three_and_all_together_are_assessed():
    wide = pd.DataFrame({f"t{place}": [0] * 12 for place in range(5)})
    sets = k_anonymity({"before": wide}, list(wide)).rows["quasi_identifiers"]
    assert len(sets) == 5 + 10 + 10 + 1


def test_no_quasi_identifiers_are_said_to_be_none_and_a_wrong_one_is_refused():
    assert k_anonymity({"before": BEFORE}, []).text().startswith("No quasi-identifiers")
    with pytest.raises(DataError, match="'height' is no column"):
        k_anonymity({"before": BEFORE}, ["height"])
    with pytest.raises(DataError, match="at most 8"):
        k_anonymity({"before": BEFORE}, list("abcdefghi"))
