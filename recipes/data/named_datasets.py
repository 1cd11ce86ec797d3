"""Corpora by name: Hugging Face and TFDS datasets (extra `[data]`).

If rows are streamed, a Hugging Face dataset is streamed too: it is read from its host and not
stored first. TFDS stores its files once and streams them in any case.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from typing import Any

from ...zoo.errors import DataError
from .corpus import Rows


def read_dataset(spec: str, rows: Rows) -> None:
    """Reads a corpus of the form `hf:NAME...` or `tfds:NAME...` row by row.

    Args:
        spec: Name of the corpus; see `pair_files`.
        rows: Collects the rows, good and bad.

    Raises:
        DataError: The dataset cannot be loaded, or has no such columns.
    """
    kind, _, rest = spec.partition(":")
    rest, _, columns = rest.partition("#")
    name, _, split = rest.partition("@")
    keys = [key.strip() for key in columns.split(",")] if columns else []
    if not name or (keys and (len(keys) != 2 or not all(keys))):
        raise DataError(f"Expected {kind}:NAME[@SPLIT][#SOURCE,TARGET]. Received: {spec}")
    load = _load_hugging_face if kind == "hf" else _load_tfds
    try:
        records, found = load(name, split or "train", keys, rows.streamed)
    except ImportError as error:
        raise DataError(
            f"{spec} needs the package {error.name}: pip install 'attention-zoo[data]'."
        ) from None
    except Exception as error:  # an unknown name, no network, a gated dataset: all end the run
        raise _no_dataset(spec, error) from error
    for number, record in enumerate(_records(spec, records), start=1):
        if number == 1:
            keys = keys or _guess_keys(spec, record, found)
            if not set(keys) <= set(record):
                raise DataError(
                    f"{spec} has no columns {keys[0]} and {keys[1]}. It has: {', '.join(record)}. "
                    "Name two of them as #SOURCE,TARGET."
                )
        rows.add_record(spec, number, record, *keys)


def _records(spec: str, records: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The records; any of them may fail to arrive over the network."""
    try:
        yield from records
    except Exception as error:
        raise _no_dataset(spec, error) from error


def _no_dataset(spec: str, error: Exception) -> DataError:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return DataError(f"{spec} cannot be loaded: {reason}")


def _guess_keys(spec: str, record: dict[str, Any], found: list[str]) -> list[str]:
    """`source` and `target`, or the pair that the dataset names, or its only two columns."""
    for keys in (["source", "target"], found, list(record)):
        if len(keys) == 2 and set(keys) <= set(record):
            return keys
    raise DataError(
        f"{spec} has the columns {', '.join(record)}. Name two of them as #SOURCE,TARGET."
    )


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
