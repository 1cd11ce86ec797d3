"""Corpora by name: Hugging Face and TFDS datasets (extra `[data]`).

If rows are streamed, a Hugging Face dataset is streamed too: it is read from its host and not
stored first. TFDS stores its files once and streams them in any case.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from ...zoo.errors import DataError
from .files.tables import Table


def open_dataset(spec: str, streamed: bool) -> Table:
    """Opens a corpus of the form `hf:NAME...` or `tfds:NAME...`.

    Args:
        spec: Name of the corpus; see `pair_files`.
        streamed: True where nothing that is read is kept.

    Raises:
        DataError: The dataset cannot be loaded.
    """
    kind, _, rest = spec.partition(":")
    rest, _, columns = rest.partition("#")
    name, _, split = rest.partition("@")
    keys = tuple(key.strip() for key in columns.split(",")) if columns else ()
    if not name or not all(keys) or len(keys) == 1:
        raise DataError(f"Expected {kind}:NAME[@SPLIT][#SOURCE,TARGET]. Received: {spec}")
    load = _load_hugging_face if kind == "hf" else _load_tfds
    try:
        records, found = load(name, split or "train", list(keys), streamed)
    except ImportError as error:
        raise DataError(
            f"{spec} needs the package {error.name}: pip install 'attention-zoo[data]'."
        ) from None
    except Exception as error:  # an unknown name, no network, a gated dataset: all end the run
        raise _no_dataset(spec, error) from error
    rows = _records(spec, records)
    first = list(itertools.islice(rows, 1))
    if not keys and first and set(found) <= set(first[0]):
        keys = tuple(found)
    numbered = enumerate(itertools.chain(first, rows), start=1)
    name = spec.partition("#")[0]
    return Table(name, "a dataset", lambda skip: numbered, wanted=keys, head=first)


def _records(spec: str, records: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The records; any of them may fail to arrive over the network."""
    try:
        yield from records
    except Exception as error:
        raise _no_dataset(spec, error) from error


def _no_dataset(spec: str, error: Exception) -> DataError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return DataError(f"{spec} cannot be loaded: {reason}")


def _load_hugging_face(
    name: str, split: str, keys: list[str], streamed: bool
) -> tuple[Iterable[dict[str, Any]], list[str]]:
    datasets = importlib.import_module("datasets")
    path, _, config = name.partition(":")
    streaming = {"streaming": True} if streamed else {}
    dataset = datasets.load_dataset(path, config or None, split=split, **streaming)
    if "translation" in keys:
        return dataset, []
    return map(_texts, dataset), []


def _texts(record: dict[str, Any]) -> dict[str, Any]:
    """The texts of a row, which may be in one column: `{"translation": {"de": …, "en": …}}`."""
    inner = record.get("translation")  # a dataset that is streamed may not know its columns
    return inner if isinstance(inner, dict) else record


def _load_tfds(
    name: str, split: str, keys: list[str], streamed: bool
) -> tuple[Iterable[dict[str, Any]], list[str]]:
    tfds = importlib.import_module("tensorflow_datasets")
    dataset, info = tfds.load(name, split=split, with_info=True)
    return (_decode_values(record) for record in tfds.as_numpy(dataset)), list(
        info.supervised_keys or []
    )


def _decode_values(record: dict[str, Any]) -> dict[str, Any]:
    """A record of TFDS with bytes as texts; a value that is not UTF-8 stays and is a bad row."""
    decoded = {}
    for key, value in record.items():
        try:
            decoded[key] = value.decode() if isinstance(value, bytes) else value
        except UnicodeDecodeError:
            decoded[key] = value
    return decoded
