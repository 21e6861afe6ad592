"""A file longer than memory is read if its study is small: by blocks, of which only the columns that have a part are kept.

`benchmarks/large_files.py` reads two gigabytes; here the same is asked of files of some megabytes, by peaks of allocated memory.
"""

import tracemalloc

import pyarrow as pa
import pytest

from trialml.data import read_text as reader
from trialml.data.read import read_table


def write(path, rows, wide, quote=""):
    filler = ",".join(f"{quote}value {place:04d}{quote}" for place in range(wide))
    heading = ",".join(["id", "arm", *(f"unused{place}" for place in range(wide))])
    with path.open("w") as stream:
        stream.write(heading + "\n")
        stream.writelines(f"{row},{row % 2}{',' * bool(wide)}{filler}\n" for row in range(rows))
    return path.stat().st_size


def peaks(folder, **keywords):
    """Peaks in bytes of what arrow and what Python (numpy too) allocated while a file was read."""
    before = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(before)
    pa.set_memory_pool(pool)
    tracemalloc.start()
    try:
        table = read_table("t.csv", folder, **keywords)
        return table, pool.max_memory(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(before)


def test_memory_follows_the_columns_that_are_kept_and_not_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(reader, "_CHUNK", 1 << 16)
    monkeypatch.setattr(reader, "_BLOCK", 1 << 18)
    rows = (15_000, 45_000)
    size, arrow, python, own = {}, {}, {}, {}
    for many in rows:
        write(tmp_path / "t.csv", many, 0)
        alone, *own[many] = peaks(tmp_path)
        size[many] = write(tmp_path / "t.csv", many, 80)
        table, arrow[many], python[many] = peaks(tmp_path, columns={"id", "arm"})
        assert table.frame.equals(alone.frame)
        assert len(table.heading) == 82
    short, long = rows
    # The file grew by 27 MB; what is kept of it grew as in a file without the other columns.
    assert size[long] - size[short] > 25e6
    assert arrow[long] - arrow[short] < own[long][0] - own[short][0] + 2e6
    assert python[long] - python[short] < own[long][1] - own[short][1] + 4e6
    # A few blocks are read ahead of the one in work.
    assert arrow[long] + python[long] < size[long] / 2
    _, everything, _ = peaks(tmp_path)
    assert everything > size[long]


@pytest.mark.parametrize("quote", ["", '"'])
def test_the_exact_reader_holds_one_block_of_rows_at_a_time(tmp_path, monkeypatch, quote):
    monkeypatch.setattr(reader, "_ROWS", 500)
    monkeypatch.setattr(reader, "_CHUNK", 1 << 16)
    monkeypatch.setattr(reader, "_fast", lambda *_: None)
    used = {}
    for rows in (2_000, 8_000):
        size = write(tmp_path / "t.csv", rows, 80, quote)
        table, _, used[rows] = peaks(tmp_path, columns={"arm"})
        assert len(table.frame) == rows
    # Four times the file: the block is the same, and a row's number and code are all that is added.
    assert used[8_000] < used[2_000] + 8_000 * 100
    assert used[8_000] < size
