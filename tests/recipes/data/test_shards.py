"""Shards of rows: what is in them, and that a damaged one is found and named."""

import numpy as np
import pytest
import tensorflow as tf

from attention_zoo.recipes.data.shards import (
    Ragged,
    check_shard,
    read_lengths,
    read_lines_of_shard,
    read_shard,
    write_shard,
)
from attention_zoo.zoo.errors import DataError


def rows(seed, count=50):
    random = np.random.default_rng(seed)
    return [random.integers(4, 9000, n).astype(np.int32) for n in random.integers(0, 12, count)]


SOURCES, TARGETS, LINES = rows(1), rows(2), [3 * i + 1 for i in range(50)]


@pytest.fixture(params=[False, True], ids=["plain", "compressed"])
def compressed(request):
    return request.param


@pytest.fixture
def shard(tmp_path, compressed):
    return write_shard(tmp_path / "00-00000.tfrecord", SOURCES, TARGETS, LINES, compressed)


def same(side, expected):
    found = [side.part(i, i + 1).values.tolist() for i in range(len(side))]
    return found == [row.tolist() for row in expected]


def test_a_shard_gives_its_rows_back(tmp_path, shard, compressed):
    source, target = read_shard(tmp_path, shard, compressed)
    assert same(source, SOURCES) and same(target, TARGETS)
    assert read_lines_of_shard(tmp_path, shard, compressed).tolist() == LINES
    both = zip(SOURCES, TARGETS, strict=True)
    assert read_lengths(tmp_path, shard).tolist() == [[len(s), len(t)] for s, t in both]
    assert shard.rows == 50 and shard.tokens == sum(map(len, SOURCES + TARGETS))
    check_shard(tmp_path, shard)


def test_a_record_is_an_example_that_anybody_can_read(tmp_path, shard, compressed):
    path = str(tmp_path / shard.file)
    for i, record in enumerate(tf.data.TFRecordDataset(path, "GZIP" if compressed else "")):
        feature = tf.train.Example.FromString(record.numpy()).features.feature
        assert list(feature["source"].int64_list.value) == SOURCES[i].tolist()
        assert list(feature["target"].int64_list.value) == TARGETS[i].tolist()
        assert list(feature["line"].int64_list.value) == [LINES[i]]


def test_rows_can_be_joined_and_cut():
    one, other = Ragged.of(SOURCES), Ragged.of(TARGETS)
    joined = Ragged.join([one.part(7, 20), other, one.part(3, 3), one.part(49, 50)])
    assert same(joined, [*SOURCES[7:20], *TARGETS, SOURCES[49]])
    assert joined.lengths.tolist() == [len(row) for row in [*SOURCES[7:20], *TARGETS, SOURCES[49]]]


def cut(path):
    path.write_bytes(path.read_bytes()[:-9])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


def swap(path):
    """The same size, other rows: two ids of a row change places."""
    write_shard(path, SOURCES[::-1], TARGETS[::-1], LINES)


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        (cut, "00-00000.tfrecord"),
        (flip, "00-00000.tfrecord"),
        (swap, "00-00000.tfrecord"),
        (cut, "00-00000.npy"),
    ],
)
def test_a_damaged_shard_is_named_in_one_line(spoil, name, tmp_path):
    shard = write_shard(tmp_path / "00-00000.tfrecord", SOURCES, TARGETS, LINES)
    spoil(tmp_path / name)
    with pytest.raises(DataError) as caught:
        read_shard(tmp_path, shard)
    assert str(tmp_path / name) in str(caught.value) and "is damaged: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_lengths_of_other_rows_are_found(tmp_path):
    shard = write_shard(tmp_path / "a.tfrecord", SOURCES, TARGETS, LINES)
    lengths = np.load(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", lengths[::-1])
    with pytest.raises(DataError, match=r"a\.npy is damaged: its lengths"):
        read_shard(tmp_path, shard)
    np.save(tmp_path / "a.npy", lengths[1:])
    with pytest.raises(DataError, match=r"a\.npy is damaged: .*\(49, 2\)"):
        read_shard(tmp_path, shard)


@pytest.mark.parametrize("name", ["00-00000.tfrecord", "00-00000.npy"])
def test_a_file_that_is_not_there_is_found_without_reading(name, tmp_path, shard):
    (tmp_path / name).unlink()
    with pytest.raises(DataError, match=rf"{name} is damaged: it is not there"):
        check_shard(tmp_path, shard)


def test_a_file_of_another_size_is_found_without_reading(tmp_path, shard):
    cut(tmp_path / shard.file)
    with pytest.raises(DataError, match="bytes and had"):
        check_shard(tmp_path, shard)
