"""Performance within groups is the performance of the group's patients alone."""

import json

import numpy as np
import pytest

from trialml.errors import DataError
from trialml.result import Result
from trialml.validation.binary import binary_performance
from trialml.validation.binary_calibration import binary_calibration
from trialml.validation.continuous import continuous_performance
from trialml.validation.outcome_by_group import outcome_by_group


@pytest.fixture(scope="module")
def made():
    draw = np.random.default_rng(8)
    x = draw.normal(size=300)
    groups = np.repeat(["few", "men", "women"], [15, 140, 145])
    return x, x + draw.normal(size=300), draw.random(300) < 1 / (1 + np.exp(-x)), groups


def test_of_an_event_each_group_is_judged_alone(made):
    x, _, event, groups = made
    risk = 1 / (1 + np.exp(-x))
    found = outcome_by_group(event, risk, groups, factor="sex", binary=True, kind="crossfit")
    own = groups == "women"
    judged = binary_performance(event[own], {"m": risk[own]}, threshold=0.5, kind="crossfit")
    for measure in ("AUC", "Brier score"):
        wanted = judged.estimate(measure, "m")
        assert found.estimate("women", measure).value == wanted.value
        assert found.estimate("women", measure).low == wanted.low
    calibrated = binary_calibration(event[own], risk[own], kind="crossfit")
    assert found.estimate("women", "observed over expected").value == calibrated.ratio["both arms"].value
    assert found.estimate("women", "calibration slope").high == calibrated.slope["both arms"].high


def test_of_a_number_each_group_is_judged_alone(made):
    x, y, _, groups = made
    found = outcome_by_group(y, x, groups, factor="sex", binary=False, kind="crossfit", unit="points")
    own = groups == "men"
    judged = continuous_performance(y[own], {"m": x[own]}, unit="points", kind="crossfit")
    for measure in ("R²", "calibration slope", "root mean squared error", "observed less predicted mean"):
        assert found.estimate("men", measure).value == judged.estimate(measure, "m").value
    assert "points" in found.estimate("men", "root mean squared error").text()


@pytest.mark.parametrize("binary", [True, False])
def test_a_group_of_few_gets_a_verdict_and_no_number(made, binary):
    x, y, event, groups = made
    found = outcome_by_group(
        event if binary else y, 1 / (1 + np.exp(-x)), groups, factor="sex", binary=binary, kind="crossfit"
    )
    verdicts = found.groups.set_index("group")["verdict"]
    assert verdicts["few"] == "insufficient"
    assert np.isnan(found.estimate("few", "calibration slope").value)
    assert "Insufficient (fewer than 20 patients" in found.text()
    assert found.scalars()["insufficient_groups_sex"] == 1
    assert found.table().iloc[0, -1] == "insufficient"
    assert Result.from_dict(json.loads(json.dumps(found.to_dict()))).text() == found.text()


def test_shapes_that_differ_are_refused(made):
    x, y, _, groups = made
    with pytest.raises(DataError, match="pass one of each a patient"):
        outcome_by_group(y[:5], x, groups, factor="sex", binary=False, kind="crossfit")
