"""Blocks of a file put together are the file, whatever its kind, its groups of rows and the size of a block."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyreadstat
import pytest

from trialml.data.read_blocks import open_blocks
from trialml.errors import DataError


@pytest.fixture(scope="module")
def frame():
    draw = np.random.default_rng(3)
    return pd.DataFrame(
        {"age": draw.normal(60, 9, 1003).round(2), "site": draw.choice(["lung", "liver"], 1003), "n": np.arange(1003.0)}
    )


def write(frame, path):
    if path.suffix == ".parquet":
        frame.to_parquet(path, row_group_size=100)
    elif path.suffix == ".xpt":
        pyreadstat.write_xport(frame, str(path), file_format_version=5)
    else:
        frame.to_csv(path, index=False)
    return path


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.xpt"])
@pytest.mark.parametrize("rows", [7, 100, 5000])
def test_blocks_are_cut_by_the_rows_of_the_file(tmp_path, frame, name, rows):
    file = open_blocks(str(write(frame, tmp_path / name)), tmp_path)
    blocks = list(file.blocks(["site", "n"], rows))
    assert [block.num_rows for block in blocks[:-1]] == [rows] * (len(blocks) - 1)
    whole = pa.concat_tables(blocks).to_pandas()
    assert list(whole) == ["site", "n"]
    assert whole["n"].astype(float).tolist() == frame["n"].tolist()
    assert whole["site"].tolist() == frame["site"].tolist()


def test_quotes_semicolons_and_another_encoding_are_read_as_elsewhere(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes('age;site\r\n61,5;"lung; left"\r\n70,25;M\u00fcnchen\r\n'.encode("cp1252"))
    file = open_blocks(str(path), tmp_path)
    assert (file.decimal_comma, file.delimiter, file.encoding) == (True, ";", "cp1252")
    assert next(file.blocks(["site"], 10)).to_pydict() == {"site": ["lung; left", "M\u00fcnchen"]}


REFUSED = {
    "absent column": ("a.csv", b"age,sit\n1,x\n", "The column 'site'"),
    "ragged": ("a.csv", b"age,site\n1,x\n1,x,y\n", "rows differ in length"),
    "ragged with quotes": ("a.csv", b'age,site\n1,"x"\n1,x,y\n', "File row 3 has 3 values"),
    "empty": ("a.csv", b"", "is empty"),
    "no Parquet": ("a.parquet", b"PAR1 and more", "cannot be read as Parquet"),
    "no transport file": ("a.xpt", b"age,site\n1,x\n", "is no SAS transport file"),
    "an empty transport file": ("a.xpt", b"", "is empty"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_will_not_do_is_refused_in_a_sentence(tmp_path, case):
    name, content, said = REFUSED[case]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        list(open_blocks(str(tmp_path / name), tmp_path, needed=["site"]).blocks(["site"], 10))


def test_a_transport_file_that_is_cut_is_refused(tmp_path, frame):
    path = write(frame, tmp_path / "a.xpt")
    path.write_bytes(path.read_bytes()[:-80])
    with pytest.raises(DataError, match="truncated"):
        open_blocks(str(path), tmp_path)
