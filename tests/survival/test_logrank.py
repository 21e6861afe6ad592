"""Log-rank tests against R's survdiff (survival 3.5.3)."""

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trialml.errors import AnalysisError
from trialml.survival.logrank import logrank

REFERENCE = Path(__file__).parents[1] / "reference"
ORACLE = json.loads((REFERENCE / "surv_logrank.json").read_text())["outputs"]


def data(name):
    return pd.read_csv(REFERENCE / "data" / f"{name}.csv")


def columns(case):
    lung, veteran, colon, gbsg2 = (data(name) for name in ("lung", "veteran", "colon_death", "gbsg2"))
    cells = ["squamous", "smallcell", "adeno", "large"]
    both = colon["sex"].astype(str) + "/" + colon["obstruct"].astype(str)
    grade = gbsg2["menostat"] + gbsg2["tgrade"]
    return {
        "lung_sex": (lung["time"], lung["status"] == 2, lung["sex"], None, None),
        "veteran_trt": (veteran["time"], veteran["status"], veteran["trt"], None, None),
        "veteran_celltype": (veteran["time"], veteran["status"], veteran["celltype"], cells, None),
        "colon_rx": (colon["time"], colon["status"], colon["rx"], ["Obs", "Lev", "Lev+5FU"], None),
        "gbsg2_horTh": (gbsg2["time"], gbsg2["cens"], gbsg2["horTh"], None, None),
        "veteran_trt_strat_celltype": (veteran["time"], veteran["status"], veteran["trt"], None, veteran["celltype"]),
        "colon_rx_strat_sex_obstruct": (colon["time"], colon["status"], colon["rx"], ["Obs", "Lev", "Lev+5FU"], both),
        "gbsg2_horTh_strat_menostat_tgrade": (gbsg2["time"], gbsg2["cens"], gbsg2["horTh"], None, grade),
    }[case]


@pytest.mark.parametrize("case", sorted(ORACLE))
def test_chi_square_and_expected_events_are_survdiffs(case):
    time, event, group, order, strata = columns(case)
    found, wanted = logrank(time, event, group, order=order, strata=strata), ORACLE[case]
    np.testing.assert_allclose(
        [found.chi_square, found.df, found.p], [wanted["chisq"], wanted["df"], wanted["p"]], rtol=1e-8
    )
    np.testing.assert_allclose(found.groups["expected"], wanted["expected"], rtol=1e-8)
    assert found.groups["events"].tolist() == wanted["observed"]
    assert found.groups["patients"].sum() == len(time)


def test_actg175_arms_agree_with_survdiff():
    """tests/reference/actg175.R: each arm against zidovudine alone, and four arms, stratified by prior therapy."""
    oracle = json.loads((REFERENCE / "actg175.json").read_text())
    trial = pd.read_csv(str(files("lifelines") / "datasets" / "ACTG175.csv"))
    for arm, wanted in oracle["arms_vs_0"].items():
        pair = trial[trial["arms"].isin([0, int(arm)])]
        found = logrank(pair["days"], pair["cens"], pair["arms"], strata=pair["strat"])
        np.testing.assert_allclose(found.chi_square, wanted["logrank_stratified"], rtol=1e-8)
        np.testing.assert_allclose(found.groups["expected"], wanted["logrank_stratified_expected"], rtol=1e-8)
        plain = logrank(pair["days"], pair["cens"], pair["arms"])
        np.testing.assert_allclose(plain.chi_square, wanted["logrank_unstratified"], rtol=1e-8)
        # Fewer events than expected with the second group: z is below 0 and the one-sided p is half.
        assert found.z == pytest.approx(-np.sqrt(found.chi_square))
        assert found.p_one_sided == pytest.approx(found.p / 2)
    four = logrank(trial["days"], trial["cens"], trial["arms"], strata=trial["strat"])
    np.testing.assert_allclose(four.chi_square, oracle["logrank_four_arms_stratified"], rtol=1e-8)


def test_z_is_that_of_the_second_group_in_display_order():
    time, event, group, _, _ = columns("gbsg2_horTh")
    forward = logrank(time, event, group, order=["no", "yes"])
    backward = logrank(time, event, group, order=["yes", "no"])
    assert forward.z < 0 < backward.z
    assert forward.hazard_ratio < 1 < backward.hazard_ratio
    assert forward.chi_square == pytest.approx(backward.chi_square)


def test_one_group_or_no_overlap_is_refused():
    with pytest.raises(AnalysisError, match="two groups"):
        logrank([1, 2, 3], [True, True, False], ["a", "a", "a"])
    with pytest.raises(AnalysisError, match="at least one"):
        logrank([1, 2, 3], [False, False, False], ["a", "b", "a"])
    with pytest.raises(AnalysisError, match="compares nothing"):
        logrank([1, 2, 3, 4], [True] * 4, ["a", "a", "b", "b"], strata=["x", "x", "y", "y"])


def test_the_result_survives_json_and_says_which_side_p_is():
    time, event, group, _, strata = columns("gbsg2_horTh_strat_menostat_tgrade")
    found = logrank(time, event, group, strata=strata)
    again = type(found).from_dict(json.loads(json.dumps(found.to_dict())))
    assert again.text() == found.text()
    pd.testing.assert_frame_equal(again.frame(), found.frame())
    assert "one-sided p" in found.text()
    assert "two-sided p" in found.text()
