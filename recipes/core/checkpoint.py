"""The state of a training run on disk, from which it goes on exactly where it was."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ...zoo.files import partial_file, written_atomically

PROGRESS = "progress.json"


class CheckpointError(ValueError):
    """No usable checkpoint, one that belongs to another model, or no folder for one any more."""


class Checkpoints:
    """Numbered checkpoints in a folder: all variables of a run, and its progress.

    A checkpoint is one `.npz` file: an array for each variable, each with the checksum that the
    zip format keeps, so that a file that was cut short or damaged is recognised and the one
    before it is used. It is written aside and renamed.

    As a context, it waits at its end for what is being written.

    Args:
        folder: where the files are.
        keep: how many of them.
    """

    def __init__(self, folder: Path, keep: int = 2):
        self.folder = folder
        self.keep = keep
        self._writing: Future[Path] | None = None
        self._made = False

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, *error: object) -> None:
        if self._writing is not None:
            self._writing.exception()

    def make_folder(self) -> None:
        """Makes the folder, as the first checkpoint does; if it goes later, it is not made anew."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._made = True

    def paths(self) -> list[Path]:
        """The checkpoints there are, the newest first."""
        return sorted(self.folder.glob("step-*.npz"), reverse=True)

    def partial_files(self) -> list[Path]:
        """Files of checkpoints whose writing was interrupted."""
        return list(self.folder.glob(partial_file(Path("step-*.npz")).name))

    def save(self, step: int, variables: Sequence[Any], progress: dict[str, Any]) -> Path | None:
        """Writes the values of Keras variables and `progress` (JSON) for a step.

        Raises:
            OSError: it could not be written, for a full disk say; all files are as they were.
            CheckpointError: the folder has gone.
        """
        self.begin(step, variables, progress)
        return self.wait()

    def begin(self, step: int, variables: Sequence[Any], progress: dict[str, Any]) -> None:
        """Holds what `save` writes, and writes it while the caller goes on.

        Raises:
            OSError, CheckpointError: what was written before could not be; see `wait`.
        """
        self.wait()
        values = [_held(variable) for variable in variables]
        writer = ThreadPoolExecutor(1, "checkpoint")
        self._writing = writer.submit(self._write, step, values, json.dumps(progress))
        writer.shutdown(wait=False)

    @property
    def is_writing(self) -> bool:
        return self._writing is not None and not self._writing.done()

    def wait(self) -> Path | None:
        """Waits until what was begun is written; returns its path.

        Raises:
            OSError: it could not be written.
            CheckpointError: the folder has gone.
        """
        writing, self._writing = self._writing, None
        return None if writing is None else writing.result()

    def _write(self, step: int, values: list[np.ndarray], progress: str) -> Path:
        _release(values)
        if not self._made:
            self.make_folder()
        path = self.folder / f"step-{step:09d}.npz"
        try:
            with written_atomically(path) as aside:
                np.savez(aside, **_arrays(values, progress))
        except FileNotFoundError as error:
            raise CheckpointError(
                f"{self.folder} has gone while a training wrote its checkpoints there; give the "
                "same command to begin it anew."
            ) from error
        for old in self.paths()[self.keep :]:
            old.unlink()
        return path

    def restore(self, variables: Sequence[Any], former: int | None = None) -> dict[str, Any] | None:
        """Loads the newest whole checkpoint into the variables and returns its progress.

        Args:
            variables: those that were saved, in the same order.
            former: position of an array that earlier versions may have written among them, which
                is left out.

        Returns `None` where there is no checkpoint at all.
        """
        broken = []
        for path in self.paths():
            try:
                arrays = _read(path)
                progress = json.loads(str(arrays.pop(PROGRESS)))
                if not all(np.isfinite(array).all() for array in arrays.values()):
                    raise ValueError("of a step that spoilt the weights before it was noticed")
            except Exception:  # there are as many kinds of errors as ways of being damaged
                broken.append(path.name)
                continue
            found = [arrays[name] for name in sorted(arrays)]
            if former is not None and len(found) == len(variables) + 1:
                del found[former]
            _assign(path, variables, found)
            return progress
        if broken:
            raise CheckpointError(
                f"No checkpoint in {self.folder} can be read ({', '.join(broken)} damaged); "
                "remove the folder of the run to start it anew."
            )
        return None


def pack(variables: Sequence[Any], progress: dict[str, Any] | None) -> bytes:
    """The state of a run as bytes, for another process."""
    state = io.BytesIO()
    values = [_held(variable) for variable in variables] if progress else []
    np.savez(state, **_arrays(values, json.dumps(progress)))
    return state.getvalue()


def unpack(variables: Sequence[Any], state: bytes) -> dict[str, Any] | None:
    """Loads what `pack` made into the variables; returns the progress.

    Variables stay as they are where there is no progress.
    """
    arrays = _read(io.BytesIO(state))
    progress = json.loads(str(arrays.pop(PROGRESS)))
    if progress:
        _assign("The state of the chief", variables, [arrays[name] for name in sorted(arrays)])
    return progress


def _arrays(values: Sequence[np.ndarray], progress: str) -> dict[str, Any]:
    return {**{f"{i:04d}": value for i, value in enumerate(values)}, PROGRESS: np.array(progress)}


def _held(variable: Any) -> np.ndarray:
    """The values of a variable as they are now, whatever is assigned to it later."""
    read = getattr(getattr(variable, "value", None), "value", None)
    # A tensor of TensorFlow is the memory of its variable on the CPU, which an update leaves as it
    # is, and takes other memory, as long as anything holds it.
    return np.array(variable) if read is None else np.asarray(read())


def _release(values: list[np.ndarray]) -> None:
    """Copies what is held in place of a copy, one after the other, so that updates need no more."""
    for i, value in enumerate(values):
        values[i] = value if value.flags.owndata else value.copy()


def _read(path: Path | io.BytesIO) -> dict[str, np.ndarray]:
    # An array's header says how much of its file is an array; a checksum is of all of it, so each
    # file is read whole before it is believed.
    with zipfile.ZipFile(path) as archive:
        files = {name.removesuffix(".npy"): archive.read(name) for name in archive.namelist()}
    return {
        name: np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
        for name, data in files.items()
    }


def _assign(path: Path | str, variables: Sequence[Any], arrays: list[np.ndarray]) -> None:
    expected = [tuple(variable.shape) for variable in variables]
    found = [array.shape for array in arrays]
    if expected != found:
        raise CheckpointError(
            f"{path} belongs to another model: it holds {len(found)} arrays that do not fit the "
            f"{len(expected)} variables of this run. Give another output folder."
        )
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
