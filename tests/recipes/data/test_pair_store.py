"""The files of a prepared corpus: any row of them alone, and that a damaged one is found."""

import itertools

import numpy as np
import pytest

from attention_zoo.recipes.data.pair_store import PairStore, PairWriter, id_type
from attention_zoo.zoo.errors import DataError
from attention_zoo.zoo.text.special_ids import END_ID


def make_rows(seed, count=50):
    random = np.random.default_rng(seed)
    return [random.integers(-5, 9000, n).astype(np.int32) for n in random.integers(0, 12, count)]


SOURCES, TARGETS, LINES = make_rows(1), make_rows(2), [3 * i + 1 for i in range(50)]
TOKENS = sum(map(len, SOURCES + TARGETS))


def write(folder, dtype="int16", sources=SOURCES, targets=TARGETS, edges=(0, 20, 50)):
    folder.mkdir(exist_ok=True)
    writer = PairWriter(folder, 0, 0, dtype, 0)
    for start, stop in itertools.pairwise(edges):
        writer.append(sources[start:stop], targets[start:stop], LINES[start:stop])
    return writer


@pytest.mark.parametrize("dtype", ["int16", "int32"])
def test_any_row_is_read_alone(tmp_path, dtype):
    writer = write(tmp_path, dtype)
    assert (writer.rows, writer.tokens) == (50, TOKENS)
    assert (tmp_path / "pairs.ids").stat().st_size == TOKENS * np.dtype(dtype).itemsize
    store = PairStore(tmp_path, 50, TOKENS, dtype)
    wanted = np.array([49, 0, 7, 20, 7])
    for ids, rows, width in zip(
        store.read(wanted, 14, 13), (SOURCES, TARGETS), (14, 13), strict=True
    ):
        assert ids.dtype == np.int32
        expected = [[*rows[i].tolist(), END_ID] for i in wanted]
        assert ids.tolist() == [row + [0] * (width - len(row)) for row in expected]
    assert store.lines(wanted).tolist() == [LINES[i] for i in wanted]
    source, target = store.lengths(3, 9)
    assert source.tolist() == [len(row) for row in SOURCES[3:9]]
    assert target.tolist() == [len(row) for row in TARGETS[3:9]]
    assert [len(side) for side in store.read(wanted[:0], 14, 13)] == [0, 0]


def test_the_size_of_the_blocks_changes_nothing(tmp_path):
    one, other = write(tmp_path / "one"), write(tmp_path / "other", edges=(0, 1, 2, 49, 50))
    assert one.checksum == other.checksum
    for name in ("pairs.rows", "pairs.ids"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()
    assert write(tmp_path / "one", sources=SOURCES[::-1]).checksum != other.checksum


def test_ids_are_as_small_as_they_can_be():
    assert id_type(1 << 15, 200) == "int16"
    assert id_type((1 << 15) + 1, 200) == id_type(100, 1 << 16) == "int32"


def test_each_bit_and_each_order_counts(tmp_path):
    write(tmp_path)
    rows = np.arange(50)
    for name in ("pairs.ids", "pairs.rows"):
        path = tmp_path / name
        content = path.read_bytes()
        for bit in np.random.default_rng(3).integers(0, 8 * len(content), 60).tolist():
            spoilt = bytearray(content)
            spoilt[bit // 8] ^= 1 << bit % 8
            path.write_bytes(spoilt)
            with pytest.raises(DataError, match=r"pairs\.\w+ is damaged: row \d+ (is|cannot)"):
                PairStore(tmp_path, 50, TOKENS, "int16").read(rows, 12, 12)
        path.write_bytes(content)
    ids = np.fromfile(tmp_path / "pairs.ids", np.int16)
    row = max(range(50), key=lambda i: len(SOURCES[i]))
    start = sum(map(len, SOURCES[:row] + TARGETS[:row]))
    ids[start : start + 2] = ids[start : start + 2][::-1]
    ids.tofile(tmp_path / "pairs.ids")
    with pytest.raises(DataError, match=f"row {row} is not the one that was prepared"):
        PairStore(tmp_path, 50, TOKENS, "int16").read(rows, 12, 12)


@pytest.mark.parametrize("name", ["pairs.rows", "pairs.ids"])
def test_a_file_that_is_cut_or_missing_is_named_without_reading(name, tmp_path):
    write(tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=rf"{name} is damaged: it has .* bytes, expected"):
        PairStore(tmp_path, 50, TOKENS, "int16")
    path.unlink()
    with pytest.raises(DataError, match=rf"{name} is damaged: it is not there") as caught:
        PairStore(tmp_path, 50, TOKENS, "int16")
    assert "\n" not in str(caught.value)
