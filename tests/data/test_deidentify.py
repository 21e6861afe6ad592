"""De-identification: nothing of the original comes through, and the analysis stays what it was."""

import datetime as dt
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trialml.config import read_study
from trialml.data.analysis_set import analysis_set
from trialml.data.date_text import parse_date_text
from trialml.data.deidentify import Deidentification, deidentify
from trialml.data.deidentify_columns import Rules
from trialml.data.deidentify_files import DataFile, read_data_files, write_data_files
from trialml.data.deidentify_key import day_shift, pseudonyms, read_or_create_key
from trialml.errors import DataError, OutputError
from trialml.study import read_trial
from trialml.survival.kaplan_meier import kaplan_meier

KEY, OTHER_KEY = b"k" * 32, b"x" * 32
LAYOUTS = ("%Y-%m-%d", "%d%b%Y", "%d.%m.%Y", "%Y-%m-%dT08:30", "%Y%m%d")


def data_file(columns, **fields):
    return DataFile("visits", ".csv", pd.DataFrame(columns, dtype=object), **fields)


def done_to(result, column):
    rows = result.done.rows
    return rows.loc[rows["column"] == column, "done"].tolist()


@given(
    st.lists(st.tuples(st.integers(0, 4), st.dates(dt.date(1950, 1, 1), dt.date(2090, 1, 1))), min_size=1),
    st.sampled_from(LAYOUTS),
    st.binary(min_size=32, max_size=32),
    st.integers(1, 3650),
)
def test_intervals_within_a_subject_are_unchanged_and_no_date_stays(rows, layout, key, most):
    """Every layout, also dates as SAS and ISO write them; the rows are sorted by subject, so they are matched by order."""
    frame = {"id": [f"P{number}" for number, _ in rows], "seen": [day.strftime(layout) for _, day in rows]}
    (out,) = deidentify([data_file(frame)], Rules("id", dates=("seen",), shift_days=most), key).files
    given_to = pseudonyms(key, "subject", set(frame["id"]))
    for number in {number for number, _ in rows}:
        before = [day for one, day in rows if one == number]
        texts = out.frame.loc[out.frame["id"] == given_to[f"P{number}"], "seen"]
        after = [parse_date_text(text).day for text in texts]
        moves = {(new - old).days for old, new in zip(before, after, strict=True)}
        assert len(moves) == 1
        assert 1 <= abs(moves.pop()) <= most


@given(st.binary(min_size=32, max_size=32), st.text(min_size=1, max_size=30), st.integers(1, 4000))
def test_a_shift_is_never_zero_and_stays_within_its_bound(key, subject, most):
    assert 1 <= abs(day_shift(key, subject, most)) <= most


def test_shifts_are_spread_evenly_forward_and_back():
    """A chi-squared statistic on 9 degrees of freedom stays under its 0.999 quantile, 27.88."""
    shifts = np.array([day_shift(KEY, str(number), 5) for number in range(10_000)])
    counts = np.array([(shifts == days).sum() for days in range(-5, 6) if days])
    assert counts.sum() == 10_000
    assert ((counts - 1000) ** 2 / 1000).sum() < 27.88


def test_a_pseudonym_is_that_of_rfc_2104():
    """Oracle: `printf 'subject\\0A1' | openssl dgst -sha256 -mac HMAC -macopt key: followed by 32 letters k`, its first 80 bits in base 32."""
    assert pseudonyms(KEY, "subject", ["A1"]) == {"A1": "HKQNNAAHFCCVF5AU"}
    assert pseudonyms(KEY, "site", ["A1"]) != pseudonyms(KEY, "subject", ["A1"])


@pytest.fixture
def dated(tmp_path, patients):
    """A file of the invented trial with dates far apart, and the file itself; dates differ by more than any shift."""
    frame = patients(60)
    frame["zero"] = [f"{1600 + 3 * row:04d}-05-06" for row in range(60)]
    frame["birth_date"] = "1950-01-01"
    frame["note"] = [f"was seen at home by doctor number {row}" for row in range(60)]
    frame["call"] = ["on 3/12/1999" if row % 2 else "none" for row in range(60)]
    frame["age"] = [95 if row < 3 else 60 + row % 9 for row in range(60)]
    path = tmp_path / "trial.csv"
    frame.to_csv(path, index=False)
    return frame, path


RULES = Rules("usubjid", quasi_identifiers=("age", "region"))


def test_no_identifier_and_no_date_of_the_original_is_in_the_bytes(dated, tmp_path, subject_mark):
    frame, path = dated
    files, _ = read_data_files(path)
    result = deidentify(files, RULES, KEY)
    write_data_files(result.files, tmp_path / "out.csv", folder=False)
    content = (tmp_path / "out.csv").read_text(encoding="utf-8")
    assert subject_mark not in content
    for text in (*frame["usubjid"], *frame["zero"], *frame["note"], "1950-01-01", "3/12/1999", "95"):
        assert not re.search(rf"(?<![\d.]){re.escape(str(text))}(?![\d.])", content)
    assert done_to(result, "birth_date") == done_to(result, "note") == done_to(result, "call") == ["dropped"]
    assert done_to(result, "zero") == ["shifted"]
    assert KEY.hex() not in content


def test_the_same_key_gives_the_same_and_another_key_another(dated):
    files, _ = read_data_files(dated[1])
    first, again = (deidentify(files, RULES, KEY).files[0].frame for _ in range(2))
    other = deidentify(files, RULES, OTHER_KEY).files[0].frame
    pd.testing.assert_frame_equal(first, again)
    assert not set(first["usubjid"]) & set(other["usubjid"])
    assert (first["usubjid"].to_numpy() != other["usubjid"].to_numpy()).all()


def test_the_analysis_of_what_comes_out_is_the_analysis_of_what_went_in(write_study, tmp_path):
    path = write_study(tmp_path / "before")
    files, _ = read_data_files(path.parent / "trial.csv")
    result = deidentify(files, Rules("usubjid"), KEY)
    after = tmp_path / "after"
    after.mkdir()
    (after / "study.toml").write_bytes(path.read_bytes())
    write_data_files(result.files, after / "trial.csv", folder=False)
    flows, curves = [], []
    for place in (path, after / "study.toml"):
        trial, flow = analysis_set(read_trial(read_study(place)))
        flows.append(flow.by_arm)
        curves.append(kaplan_meier(trial.time, trial.event, group=trial.arm_labels, unit="days").frame())
    pd.testing.assert_frame_equal(*flows)
    pd.testing.assert_frame_equal(*curves)


def test_an_adam_folder_gives_the_same_trial_afterwards(write_adam, tmp_path):
    """Times, time zero and censoring are checked against the dates on reading, so they moved together."""
    path = write_adam()
    files, _ = read_data_files(tmp_path / "adam")
    result = deidentify(files, Rules("USUBJID"), KEY)
    write_data_files(result.files, tmp_path / "safe" / "adam", folder=True)
    (tmp_path / "safe" / "study.toml").write_bytes(path.read_bytes())
    flows, curves = [], []
    for place in (path, tmp_path / "safe" / "study.toml"):
        trial, flow = analysis_set(read_trial(read_study(place)))
        flows.append(flow.by_arm)
        curves.append(kaplan_meier(trial.time, trial.event, group=trial.arm_labels, unit="days").frame())
    pd.testing.assert_frame_equal(*flows)
    pd.testing.assert_frame_equal(*curves)


def test_dates_of_every_arrow_type_move_and_keep_their_time_and_type():
    import pyarrow as pa

    at = dt.datetime(2020, 1, 31, 8, 30, tzinfo=dt.UTC)
    columns = {
        "id": pa.array(["A", "A"]),
        "seconds": pa.array([at.replace(tzinfo=None), None], pa.timestamp("s")),
        "zoned": pa.array([at, None], pa.timestamp("ns", "UTC")),
        "day": pa.array([at.date(), None], pa.date32()),
        "number": pa.array([20200131, 20200201], pa.int64()),
    }
    frame = pa.table(columns).to_pandas(types_mapper=pd.ArrowDtype)
    (out,) = deidentify([DataFile("x", ".parquet", frame)], Rules("id"), KEY).files
    move = dt.timedelta(days=day_shift(KEY, "A", 365))
    assert out.frame.drop(columns="id").dtypes.tolist() == frame.drop(columns="id").dtypes.tolist()
    first = out.frame.iloc[0]
    assert pd.Timestamp(first["seconds"]) == pd.Timestamp(at.replace(tzinfo=None) + move)
    assert pd.Timestamp(first["zoned"]) == pd.Timestamp(at + move)
    assert first["day"] == (at + move).date()
    assert str(first["number"]) == (at + move).strftime("%Y%m%d")
    assert out.frame.iloc[1][["seconds", "zoned", "day"]].isna().all()


def folder_of(tmp_path, kind):
    """Two data sets of one trial with typed dates, one row and three rows a subject."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    import pyreadstat

    ids = [f"01-701-{1000 + row}" for row in range(30)]
    days = [dt.date(2014, 1, 1) + dt.timedelta(days=11 * row) for row in range(30)]
    adsl = pd.DataFrame(
        {
            "USUBJID": ids,
            "AGE": [float(50 + row * 2) for row in range(30)],
            "AGEU": "YEARS",
            "RACE": ["WHITE"] * 27 + ["ASIAN"] * 2 + ["OTHER RACE"],
            "RACEN": [1.0] * 27 + [2.0] * 2 + [3.0],
            "RANDDT": days,
        }
    )
    lab = pd.DataFrame(
        {
            "USUBJID": np.repeat(ids[::-1], 3),
            "ADT": [day + dt.timedelta(days=step) for day in days[::-1] for step in (-7, 0, 28)],
            "AVAL": np.arange(90) / 7,
        }
    )
    source = tmp_path / "adam"
    source.mkdir()
    (source / "define.pdf").write_bytes(b"%PDF")
    for name, frame in (("adsl", adsl), ("adlb", lab)):
        if kind == "xpt":
            labels = {"USUBJID": "Unique Subject Identifier"}
            formats = dict.fromkeys([one for one in frame if one.endswith("DT")], "DATE9")
            pyreadstat.write_xport(
                frame,
                source / f"{name}.xpt",
                table_name=name.upper(),
                file_format_version=5,
                column_labels=labels,
                variable_format=formats,
            )
        elif kind == "parquet":
            table = pa.Table.from_pandas(frame)
            pq.write_table(
                table.set_column(0, "USUBJID", table["USUBJID"].dictionary_encode()), source / f"{name}.parquet"
            )
        else:
            frame.to_csv(source / f"{name}.csv", index=False)
    return source, adsl, lab


@pytest.mark.parametrize("kind", ["csv", "parquet", "xpt"])
def test_the_data_sets_of_a_folder_still_join_and_keep_their_types(tmp_path, kind):
    source, adsl, lab = folder_of(tmp_path, kind)
    files, left = read_data_files(source)
    assert left == ("define.pdf",)
    result = deidentify(files, Rules("USUBJID", merge_rare=("RACE",)), KEY)
    write_data_files(result.files, tmp_path / "out", folder=True)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"adlb.{kind}", f"adsl.{kind}"]
    content = b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
    assert b"01-701-" not in content
    again, _ = read_data_files(tmp_path / "out")
    new = {one.name: one for one in again}
    joined = new["adlb"].frame.merge(new["adsl"].frame, on="USUBJID", validate="many_to_one")
    assert len(joined) == 90
    days = pd.to_datetime(joined["ADT"].astype(str)) - pd.to_datetime(joined["RANDDT"].astype(str))
    assert sorted(days.dt.days) == sorted([-7, 0, 28] * 30)
    assert sorted(joined["AVAL"].astype(float).round(9)) == sorted(lab["AVAL"].round(9))
    assert sorted(new["adsl"].frame["AGE"].astype(float))[-10:] == [90.0] * 10
    assert set(new["adsl"].frame["RACE"]) == {"OTHER"}
    assert "RACEN" not in new["adsl"].frame
    for one in files:
        kept = [name for name in one.frame if name in new[one.name].frame and name not in ("USUBJID", "AGE", "RACE")]
        assert [one.frame[name].dtype for name in kept] == [new[one.name].frame[name].dtype for name in kept]
    if kind == "xpt":
        assert new["adsl"].formats["RANDDT"] == "DATE9"
        assert new["adsl"].labels == {"USUBJID": "Unique Subject Identifier"}
    assert set(adsl["RANDDT"].astype(str)) != set(new["adsl"].frame["RANDDT"].astype(str))


def test_partial_dates_keep_their_precision_and_what_is_no_date_goes():
    frame = {"id": ["A"] * 6, "seen": ["2020-01-15", "2020-01-16", "2020-02", "UNK", "around 2020", None]}
    result = deidentify([data_file(frame)], Rules("id"), KEY)
    seen = result.files[0].frame["seen"].tolist()
    moved = day_shift(KEY, "A", 365)
    assert seen[0] == str(dt.date(2020, 1, 15) + dt.timedelta(days=moved))
    assert seen[2] == str(dt.date(2020, 2, 15) + dt.timedelta(days=moved))[:7]
    assert seen[3:] == ["UNK", None, None]
    assert result.done.table()["Values emptied"].tolist()[1] == "fewer than 11"


def test_rare_categories_are_joined_until_together_they_are_not_rare():
    frame = {"id": [f"A{row}" for row in range(60)], "race": ["a"] * 30 + ["b"] * 20 + ["c"] * 7 + ["d"] * 3}
    (out,) = deidentify([data_file(frame)], Rules("id", merge_rare=("race",)), KEY).files
    assert out.frame["race"].value_counts().to_dict() == {"a": 30, "OTHER": 30}
    plenty = {"id": frame["id"], "race": ["a"] * 30 + ["b"] * 19 + ["c"] * 8 + ["d"] * 3}
    (out,) = deidentify([data_file(plenty)], Rules("id", merge_rare=("race",)), KEY).files
    assert out.frame["race"].value_counts().to_dict() == {"a": 30, "b": 19, "OTHER": 11}


def test_only_the_columns_asked_for_are_kept(dated):
    files, _ = read_data_files(dated[1])
    result = deidentify(files, Rules("usubjid", only=("arm", "days", "progressed")), KEY)
    assert list(result.files[0].frame.columns) == ["usubjid", "arm", "days", "progressed"]


UNNAMED = {
    "a register": np.random.default_rng(6).integers(10**9, 10**10, 60),
    "a number a row": list(range(1, 61)),
    "a random number": np.random.default_rng(1).permutation(300)[:60].tolist(),
    "initials": [f"{chr(65 + row // 26)}{chr(65 + row % 26)}" for row in range(60)],
}


@pytest.mark.parametrize("case", UNNAMED)
def test_a_column_that_looks_like_an_identifier_is_asked_about(patients, case):
    frame = patients(60).assign(extra=[str(value) for value in UNNAMED[case]])
    one = data_file(frame)
    with pytest.raises(DataError, match=r"may identify subjects: 'extra'; name each with --identifier") as refused:
        deidentify([one], Rules("usubjid"), KEY)
    assert "SUBJ" not in str(refused.value)
    assert "extra" not in deidentify([one], Rules("usubjid", drop=("extra",)), KEY).files[0].frame
    assert set(deidentify([one], Rules("usubjid", keep=("extra",)), KEY).files[0].frame["extra"]) == set(frame["extra"])
    hashed = deidentify([one], Rules("usubjid", identifiers=("extra",)), KEY).files[0].frame["extra"]
    assert not set(hashed) & set(frame["extra"])


def test_a_word_that_hardly_a_subject_has_is_asked_about_with_counts(patients):
    """Schmidt in the field of the sex: one word, one subject; codes without words are not asked about."""
    sex = ["F", "M"] * 30
    frame = patients(60).assign(sex=[*sex[:-1], "Schmidt"], stage=["IV", *["II"] * 59])
    with pytest.raises(
        DataError, match=r"fewer than 11 subjects have, .*: 'sex' \(words: 1, subjects: 1\); .* --merge-rare"
    ) as refused:
        deidentify([data_file(frame)], Rules("usubjid"), KEY)
    assert "Schmidt" not in str(refused.value)
    assert "stage" not in str(refused.value)
    merged = deidentify([data_file(frame)], Rules("usubjid", merge_rare=("sex",)), KEY).files[0].frame
    assert "Schmidt" not in set(merged["sex"])
    kept = deidentify([data_file(frame)], Rules("usubjid", keep=("sex",)), KEY).files[0].frame
    assert "Schmidt" in set(kept["sex"])


def test_a_number_of_a_register_that_was_copied_once_is_still_asked_about(patients):
    numbers = np.random.default_rng(6).integers(10**9, 10**10, 60)
    numbers[1] = numbers[0]
    frame = patients(60).assign(extra=numbers.astype(str))
    with pytest.raises(DataError, match=r"may identify subjects: 'extra'"):
        deidentify([data_file(frame)], Rules("usubjid"), KEY)


@pytest.mark.parametrize("name", ["zip", "home_city", "PostalCode", "PLZ"])
def test_a_place_smaller_than_a_state_is_asked_about(patients, name):
    frame = patients(60).assign(**{name: [str(10_000 + row % 3) for row in range(60)]})
    with pytest.raises(DataError, match=f"may identify subjects: '{name}'"):
        deidentify([data_file(frame)], Rules("usubjid"), KEY)
    assert name in deidentify([data_file(frame)], Rules("usubjid", keep=(name,)), KEY).files[0].frame


def test_a_text_that_names_subjects_is_dropped_and_never_kept(patients):
    frame = patients(60)
    frame["partner"] = [f"lives with {frame['usubjid'][0]}" if row % 3 else "alone" for row in range(60)]
    assert done_to(deidentify([data_file(frame)], Rules("usubjid"), KEY), "partner") == ["dropped"]
    with pytest.raises(DataError, match="'partner' holds identifiers of subjects and cannot be kept"):
        deidentify([data_file(frame)], Rules("usubjid", keep=("partner",)), KEY)


BAD = {
    "no subject": ({"id": ["A", None], "x": ["1", "2"]}, {}, "is empty in 1 row"),
    "no such column": ({"id": ["A"], "sex": ["M"]}, {"drop": ("sexx",)}, "nearest name is 'sex'"),
    "no subject column": ({"ident": ["A"]}, {}, "has no column 'id'"),
    "age in words": ({"id": ["A"], "age": ["old"]}, {}, "'age' is no number in 1 row"),
    "age in months": ({"id": ["A"], "AGE": ["9"], "AGEU": ["MONTHS"]}, {}, "other units than years"),
    "dates both ways": ({"id": ["A"], "seen": ["01/02/2020"]}, {}, "none of them says"),
    "subject kept": ({"id": ["A"]}, {"keep": ("id",)}, "neither dropped nor kept"),
    "no shift": ({"id": ["A"]}, {"shift_days": 0}, "at least 1 day"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_done_is_refused(case):
    columns, rules, words = BAD[case]
    with pytest.raises(DataError, match=words):
        deidentify([data_file(columns)], Rules("id", **rules), KEY)


def test_results_hold_counts_alone_and_survive_storage(dated):
    files, _ = read_data_files(dated[1])
    done = deidentify(files, RULES, KEY).done
    assert "SUBJ" not in str(done.to_dict())
    assert Deidentification.from_dict(done.to_dict()).text() == done.text()
    assert done.scalars()["hashed"] == 1


def test_a_key_is_made_for_its_owner_alone_and_used_again(tmp_path):
    key, created = read_or_create_key(tmp_path / "key")
    assert created
    assert len(key) == 32
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert read_or_create_key(tmp_path / "key") == (key, False)
    assert read_or_create_key(tmp_path / "other")[0] != key


def test_a_key_that_others_can_read_or_that_is_none_is_refused(tmp_path):
    path = tmp_path / "key"
    read_or_create_key(path)
    path.chmod(0o644)
    with pytest.raises(DataError, match="mode 644"):
        read_or_create_key(path)
    path.write_text("secret", encoding="utf-8")
    with pytest.raises(DataError, match="is no key file"):
        read_or_create_key(path)
    with pytest.raises(OutputError, match="cannot be made"):
        read_or_create_key(tmp_path / "no" / "key")


def test_nothing_that_exists_is_overwritten_and_formats_are_not_mixed(tmp_path):
    one = data_file({"id": ["A"]})
    (tmp_path / "out.csv").write_text("kept", encoding="utf-8")
    with pytest.raises(OutputError, match="exists already"):
        write_data_files([one], tmp_path / "out.csv", folder=False)
    with pytest.raises(OutputError, match=r"does not end in '\.csv'"):
        write_data_files([one], tmp_path / "out.xpt", folder=False)
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.xlsx", b"x", "ends in '.xlsx'"),
        ("a.xpt", b"x", "cannot be read as a SAS"),
        ("a.parquet", b"x", "as a Parquet"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_refused(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_data_files(tmp_path / name)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no data file"):
        read_data_files(tmp_path / "empty")
