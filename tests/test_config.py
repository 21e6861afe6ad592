"""The study file: defaults listed, unknown keys named, contradictions refused, everything frozen."""

import pytest
from pydantic import ValidationError

from trialml.config import read_study
from trialml.design.group_sequential import Design
from trialml.errors import StudyFileError


@pytest.fixture
def study(write_study, tmp_path):
    def read(**changes):
        return read_study(
            write_study(tmp_path, rows=3, study={key.replace("__", "."): one for key, one in changes.items()})
        )

    return read


def test_a_study_is_frozen(study):
    read = study()
    with pytest.raises(ValidationError, match="frozen"):
        read.study.seed = 3
    with pytest.raises(ValidationError, match="frozen"):
        read.design = None


def test_every_default_used_is_listed_and_nothing_that_was_given(study):
    defaults = dict(study().defaults())
    assert defaults["treatment.allocation"] == "0.5"
    assert defaults["design.alpha"] == "0.025"
    assert defaults["design.information_fractions"] == "0.5, 1.0"
    assert defaults["models.risk.model"] == "cox_ridge"
    assert defaults["tracking.uri"] == "not given"
    assert defaults["report.notes"] == "none"
    assert defaults["endpoints.direction"] == "event is harm"
    assert not {"study.seed", "models.risk.repeats", "design.screened_per_month", "path"} & set(defaults)
    assert "design.alpha" not in dict(study(design__alpha=0.025).defaults())


def test_codes_are_text_so_that_0_and_0_point_0_are_one_arm(study):
    read = study(
        treatment__control=0, treatment__experimental=1.0, treatment__secondary=["2"], treatment__labels={"0": "Old"}
    )
    arms = read.arms
    assert (arms.control, arms.experimental, arms.secondary) == ("0", "1", ("2",))
    assert arms.label("0") == "Old"
    assert arms.label("2") == "2"


def test_event_codes_may_be_boolean(study):
    endpoint = study(endpoints__event_values=[True, 2], endpoints__censored_values=[False]).endpoint
    assert endpoint.event_values == ("true", "2")
    assert endpoint.censored_values == ("false",)


@pytest.mark.parametrize(
    ("unit", "months"), [("days", 1 / 30.4375), ("weeks", 7 / 30.4375), ("months", 1), ("years", 12)]
)
def test_a_month_is_30_4375_days(study, unit, months):
    assert study(endpoints__unit=unit).endpoint.months_per_unit == pytest.approx(months, rel=1e-12)


def test_covariates_come_in_the_file_s_order_with_their_words(study):
    covariates = study(covariates__labels={"age": "Age (years)"}).covariate_list
    assert [(one.name, one.kind) for one in covariates] == [
        ("age", "numeric"),
        ("marker", "numeric"),
        ("prior", "binary"),
        ("site", "categorical"),
    ]
    assert [one.label for one in covariates] == ["Age (years)", "marker", "prior", "site"]


def test_a_byte_order_mark_and_windows_lines_do_no_harm(write_study, tmp_path):
    path = write_study(tmp_path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_study(path).study.name == "INVENTED"


def test_an_unknown_key_is_named_before_the_missing_one_that_it_explains(study, write_study, tmp_path):
    with pytest.raises(
        StudyFileError, match=r"^study.toml: \[data\] 'subjekt' is not a key; the nearest name is 'subject' \(1 more"
    ):
        study(data__subject=None, data__subjekt="usubjid")


def test_keys_of_nested_tables_are_compared_with_their_own_table(study):
    with pytest.raises(StudyFileError, match=r"\[models.risk\] 'fold' is not a key; the nearest name is 'folds'"):
        study(models__risk__fold=3)
    with pytest.raises(StudyFileError, match=r"\[endpoints\] 'horizont' is not a key; the nearest name is 'horizon'"):
        study(endpoints__horizont=3)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("study__seed", "11"),
        ("study__seed", True),
        ("study__seed", 1.0),
        ("study__seed", -1),
        ("treatment__allocation", "0.5"),
        ("treatment__allocation", 1),
        ("endpoints__horizon", 0),
        ("endpoints__horizon", True),
        ("models__risk__folds", 1),
        ("models__response__repeats", 5),
        ("strata__groups", 6),
        ("design__alpha", 0.5),
        ("design__alpha", 1e-12),
        ("design__dropout_per_year", 1),
        ("design__spending", "pockock"),
        ("data__source", ""),
        ("study__name", "a/b"),
        ("study__name", ""),
        ("study__name", "x" * 61),
        ("covariates__numeric", "age"),
    ],
)
def test_a_value_of_the_wrong_type_or_range_is_named_with_what_was_seen(study, key, value):
    with pytest.raises(StudyFileError, match="will not do") as error:
        study(**{key: value})
    assert key.rpartition("__")[2] in str(error.value)


@pytest.mark.parametrize(
    ("spending", "parameter", "upper"),
    [
        # rpact 3.3.4: getDesignGroupSequential(alpha = .025, informationRates = c(.5, 1)) by type of design
        ("obrien-fleming", None, (2.796509681, 1.977430959)),
        ("pocock", None, (2.178272095, 2.178272095)),
        ("hwang-shih-decani", -4.0, (2.749965932, 1.981131472)),
    ],
)
def test_every_family_of_bounds_can_be_named_in_the_study_file(study, spending, parameter, upper):
    asked = study(design__spending=spending, design__spending_parameter=parameter).design
    found = asked.looks_of(Design(alpha=asked.alpha, power=asked.power))
    assert found.critical_values == pytest.approx(upper, abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"design__spending": "kim-demets"}, "spending_parameter is missing"),
        ({"design__spending_parameter": 2.0}, "spending_parameter"),
        ({"design__spending": "user"}, "user_alpha"),
        ({"design__spending": "user", "design__user_alpha": [0.02, 0.01]}, "does not increase"),
    ],
)
def test_bounds_that_do_not_exist_are_refused_with_the_study_file(study, changes, words):
    with pytest.raises(StudyFileError, match=words) as error:
        study(**changes)
    assert "[design]" in str(error.value)


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_numbers_that_are_none_are_refused(write_study, tmp_path, number):
    path = write_study(tmp_path)
    path.write_text(path.read_text().replace('"horizon" = 365', f'"horizon" = {number}'))
    with pytest.raises(StudyFileError, match="horizon"):
        read_study(path)
    path.write_text(
        path.read_text().replace(f'"horizon" = {number}', '"horizon" = 365') + f"\nfollow_up_months = {number}\n"
    )
    with pytest.raises(StudyFileError, match="follow_up_months"):
        read_study(path)


def test_two_endpoints_are_refused_until_there_is_a_place_for_them(write_study, tmp_path):
    path = write_study(tmp_path)
    text = path.read_text()
    start, end = text.index("[[endpoints]]"), text.index("[covariates]")
    path.write_text(text[:end] + text[start:end] + text[end:])
    with pytest.raises(StudyFileError, match="at most 1 item"):
        read_study(path)
