"""Checkpoints: what is saved comes back, and what is damaged is not taken for it."""

import io
import json
import shutil
import threading
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from attention_zoo.recipes.core import checkpoint
from attention_zoo.recipes.core.checkpoint import CheckpointError, Checkpoints
from attention_zoo.zoo.files import written_atomically

SHAPES = [(3, 4), (5,), (), (2, 1, 2)]


class Variable:
    """What a checkpoint needs of a variable, at no cost."""

    def __init__(self, value):
        self.value = np.array(value)
        self.shape = self.value.shape

    def assign(self, value):
        assert value.dtype == self.value.dtype
        self.value = np.array(value)

    def __array__(self, dtype=None, copy=None):
        return np.array(self.value, dtype)


def make_variables(seed=0):
    random = np.random.default_rng(seed)
    variables = [Variable(random.normal(size=shape).astype("float32")) for shape in SHAPES]
    return [*variables, Variable(np.array([7, seed], "uint32"))]


def values(variables):
    return [np.array(variable) for variable in variables]


def assert_equal(variables, expected):
    for variable, value in zip(variables, expected, strict=True):
        np.testing.assert_array_equal(variable, value)


@pytest.fixture
def checkpoints(tmp_path):
    """Two checkpoints, of steps 3 and 7, with the variables of seeds 3 and 7."""
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for step in (3, 7):
        checkpoints.save(step, make_variables(step), {"step": step, "note": "日本"})
    return checkpoints


def test_round_trip(checkpoints):
    variables = make_variables(0)
    assert checkpoints.restore(variables) == {"step": 7, "note": "日本"}
    assert_equal(variables, values(make_variables(7)))


def test_no_checkpoint_is_no_error(tmp_path):
    variables = make_variables(1)
    assert Checkpoints(tmp_path / "none").restore(variables) is None
    assert_equal(variables, values(make_variables(1)))


def test_variables_of_keras(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    arrays = values(make_variables(3))
    checkpoints.save(1, [keras.Variable(array, dtype=str(array.dtype)) for array in arrays], {})
    restored = [keras.Variable(0 * array, dtype=str(array.dtype)) for array in arrays]
    checkpoints.restore(restored)
    assert_equal(restored, arrays)


def test_many_variables_keep_their_order(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    saved = [Variable(float(i)) for i in range(123)]
    checkpoints.save(1, saved, {})
    restored = [Variable(-1.0) for _ in saved]
    checkpoints.restore(restored)
    assert [float(v.value) for v in restored] == list(range(123))


@pytest.mark.parametrize("kind", ["memory", "variables"])
def test_what_is_written_is_of_its_moment(tmp_path, monkeypatch, kind):
    """Though the steps meanwhile write to the same memory, or update the variables in place."""
    release, go_on = checkpoint._release, threading.Event()

    def release_late(values):
        assert go_on.wait(10)
        release(values)

    monkeypatch.setattr(checkpoint, "_release", release_late)
    values, checkpoints = [np.arange(3.0), np.arange(3.0) + 3], Checkpoints(tmp_path, keep=3)
    if kind == "variables":
        values = [keras.Variable(value) for value in values]
    for step in range(3):
        go_on.clear()
        checkpoints.begin(step, values, {})
        for value in values:
            if kind == "variables":
                value.value.assign_add(tf.fill((3,), tf.constant(10, value.dtype)))
            else:
                value += 10
        go_on.set()
        checkpoints.wait()
    written = [np.load(path) for path in reversed(checkpoints.paths())]
    assert [file["0000"].tolist() for file in written] == [[0, 1, 2], [10, 11, 12], [20, 21, 22]]
    assert [file["0001"].tolist() for file in written] == [[3, 4, 5], [13, 14, 15], [23, 24, 25]]


def test_a_folder_that_is_removed_is_not_made_anew(checkpoints):
    shutil.rmtree(checkpoints.folder)
    checkpoints.begin(9, make_variables(9), {})
    with pytest.raises(CheckpointError, match="checkpoints has gone while a training"):
        checkpoints.wait()
    assert not checkpoints.folder.exists()


def test_the_newest_are_kept(checkpoints):
    for step in (10, 999_999, 1_000_000):
        checkpoints.save(step, make_variables(step % 97), {"step": step})
    names = [path.name for path in checkpoints.paths()]
    assert names == ["step-001000000.npz", "step-000999999.npz"]
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == sorted(names)
    assert checkpoints.restore(make_variables())["step"] == 1_000_000


def restored_after(checkpoints, damaged):
    """The step from which a run goes on after the newest checkpoint was replaced by `damaged`."""
    checkpoints.paths()[0].write_bytes(damaged)
    variables = make_variables(0)
    step = checkpoints.restore(variables)["step"]
    assert_equal(variables, values(make_variables(step)))  # of that step, all of them
    return step


def test_a_cut_checkpoint_is_recognised_and_the_one_before_used(checkpoints):
    whole = checkpoints.paths()[0].read_bytes()
    random = np.random.default_rng(0)
    lengths = [0, 1, len(whole) - 1, *random.integers(0, len(whole), 50)]
    for length in lengths:
        assert restored_after(checkpoints, whole[:length]) == 3
    assert restored_after(checkpoints, whole) == 7


def test_a_damaged_byte_anywhere_is_recognised_or_harmless(checkpoints):
    whole = checkpoints.paths()[0].read_bytes()
    random = np.random.default_rng(1)
    steps = []
    for position in range(len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= int(random.integers(1, 256))
        steps.append(restored_after(checkpoints, bytes(damaged)))
    # A date in the archive may be wrong and nothing is lost; a byte of an array may not.
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        assert steps.count(3) >= sum(file.file_size for file in archive.infolist())


def test_a_header_that_reads_fewer_bytes_is_recognised(checkpoints):
    # The array is then read without its end, where the checksum would be compared.
    whole = checkpoints.paths()[0].read_bytes()
    for old, new in ((b"'<f4'", b"'<f2'"), (b"(3, 4)", b"(3, 0)"), (b"(5,)", b"(1,)")):
        assert whole.count(old) >= 1
        assert restored_after(checkpoints, whole.replace(old, new, 1)) == 3


def test_an_archive_that_is_no_checkpoint_is_recognised(checkpoints):
    path = checkpoints.paths()[0]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "nothing to see")
    assert checkpoints.restore(make_variables())["step"] == 3
    np.savez(path, **{"0000": np.zeros(3)})
    assert checkpoints.restore(make_variables())["step"] == 3


def test_nothing_but_damaged_checkpoints_is_an_error(checkpoints):
    for path in checkpoints.paths():
        path.write_bytes(path.read_bytes()[:100])
    variables = make_variables(5)
    with pytest.raises(CheckpointError, match=r"step-000000007.npz, step-000000003.npz damaged"):
        checkpoints.restore(variables)
    assert_equal(variables, values(make_variables(5)))


@pytest.mark.parametrize("change", ["a shape", "one less", "one more"])
def test_a_checkpoint_of_another_model_is_an_error(checkpoints, change):
    variables = make_variables(5)
    if change == "a shape":
        variables[0] = Variable(np.zeros((4, 3), "float32"))
    elif change == "one less":
        variables.pop()
    else:
        variables.append(Variable(0.0))
    before = values(variables)
    with pytest.raises(CheckpointError, match="belongs to another model"):
        checkpoints.restore(variables)
    assert_equal(variables, before)


def test_a_save_that_fails_leaves_what_there_was(checkpoints, monkeypatch):
    before = {path.name: path.read_bytes() for path in checkpoints.folder.iterdir()}

    def full_disk(path, **arrays):
        path.write_bytes(b"PK half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full_disk)
    for step in (7, 8):
        with pytest.raises(OSError, match="No space"):
            checkpoints.save(step, make_variables(step), {"step": step})
    assert {path.name: path.read_bytes() for path in checkpoints.folder.iterdir()} == before


def test_what_a_killed_save_left_is_no_checkpoint(checkpoints):
    half = checkpoints.paths()[0].read_bytes()[:200]
    (checkpoints.folder / ".step-000000009.partial.npz").write_bytes(half)
    assert checkpoints.restore(make_variables())["step"] == 7


# Files


def write_half(path):
    with written_atomically(path) as aside:
        aside.write_text("half of the n")
        raise RuntimeError("the disk is full")


def test_files_are_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="full"):
        write_half(path)
    assert path.read_text() == "old"
    with written_atomically(path) as aside:
        assert aside.suffix == ".json" and aside != path
        aside.write_text(json.dumps({"new": 1}))
        assert path.read_text() == "old"
    assert json.loads(path.read_text()) == {"new": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.json"]


def test_a_full_disk_costs_nothing_that_was_there(checkpoints):
    before = {path.name: path.read_bytes() for path in checkpoints.folder.iterdir()}
    # What is written aside goes to a device that is always full.
    (checkpoints.folder / ".step-000000009.partial.npz").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device"):
        checkpoints.save(9, make_variables(9), {"step": 9})
    assert {path.name: path.read_bytes() for path in checkpoints.folder.iterdir()} == before
    variables = make_variables(0)
    assert checkpoints.restore(variables)["step"] == 7
    # With room again it is written.
    checkpoints.save(9, make_variables(9), {"step": 9})
    assert checkpoints.restore(variables)["step"] == 9
