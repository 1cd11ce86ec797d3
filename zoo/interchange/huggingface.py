"""Checkpoints of transformers as models of the zoo: MarianMT, Pegasus, T5, M2M100, NLLB."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ..models.encoder_decoder import EncoderDecoder
from ..models.transformer import transformer
from ..text.tokenizer import Tokenizer
from .checkpoint import Weights, read_json, read_weights
from .transformer_weights import BART, T5, WeightNames, fill_model
from .vocabulary import Vocabularies, read_vocabularies

_ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "silu": "silu",
    "swish": "silu",
    "tanh": "tanh",
}


@dataclass(frozen=True)
class Imported:
    """A checkpoint as the zoo has it.

    Attributes:
        model: The model with its weights.
        tokenizer: Its pieces.
        model_options: What `transformer` was called with, beside the sizes of the vocabularies.
        settings: Settings of a run that the checkpoint decides: of its tokenizer, its lengths and
            its search.
        task: Name of the task that it was made for.
        source_tag: Piece in front of each source, that of its language.
        target_tag: Piece that each target begins with.
    """

    model: EncoderDecoder
    tokenizer: Tokenizer
    model_options: dict[str, Any]
    settings: dict[str, Any] = field(default_factory=dict)
    task: str = "translation"
    source_tag: str | None = None
    target_tag: str | None = None


def read_checkpoint(folder: str | Path, **languages: str | None) -> Imported:
    """Reads a checkpoint folder as transformers saves it.

    Args:
        folder: Has `config.json`, weights, and the SentencePiece models of the tokenizer.
        **languages: `source_language` and `target_language`, the codes of a model that has a token
            for each.

    Returns:
        The model, which gives the logits of the checkpoint, and all that a run is made of.

    Raises:
        ConfigError: The folder is no checkpoint of a model that is known here, a part of it is
            missing or damaged, or it has a part that the zoo has not.

    Example:

    >>> imported = read_checkpoint("opus-mt-en-de")
    >>> TextToText(imported.model, imported.tokenizer).predict(["a house"])

    References: Marian, https://arxiv.org/abs/1804.00344; Pegasus, https://arxiv.org/abs/1912.08777;
    T5, https://arxiv.org/abs/1910.10683; M2M100, https://arxiv.org/abs/2010.11125; NLLB,
    https://arxiv.org/abs/2207.04672
    """
    folder = Path(folder)
    if not (folder / "config.json").is_file():
        raise ConfigError(
            f"{folder} has no config.json: it is no checkpoint. Give the folder that transformers "
            "saved, or a copy of one of the hub."
        )
    config = read_json(folder / "config.json")
    kind = config.get("model_type")
    if kind not in _FAMILIES:
        raise ConfigError(
            f"{folder} is a model of type {kind!r}; what can be imported is {', '.join(_FAMILIES)}."
        )
    model_options, names, task = _FAMILIES[kind]
    vocabularies = read_vocabularies(folder, kind, config, **languages)
    weights = read_weights(folder)
    try:
        options = model_options(config, weights)
        model = _build(options, vocabularies)
        fill_model(model, names, weights, vocabularies)
        _finish(model, kind, config)
    except KeyError as error:
        raise ConfigError(f"{folder} is not whole: it has no {error.args[0]}.") from error
    except (IndexError, TypeError, ValueError) as error:
        raise ConfigError(f"{folder} cannot be imported: {error}") from error
    target, source = vocabularies.target, vocabularies.source
    tokenizer = Tokenizer(target.model, None if source is None else source.model)
    settings = {
        "vocab_size": len(target.rows),
        "shared_vocabulary": source is None,
        "tokenizer": target.kind,
        **_search(folder, config),
    }
    tags = vocabularies.source_tag, vocabularies.target_tag
    return Imported(model, tokenizer, options, settings, task, *tags)


def _bart_options(config: dict[str, Any], weights: Weights) -> dict[str, Any]:
    """Options that Marian, M2M100 and Pegasus have in common."""
    return {
        "width": config["d_model"],
        "encoder_layers": config["encoder_layers"],
        "decoder_layers": config["decoder_layers"],
        "num_heads": _both(config, "attention_heads"),
        "feedforward_dim": _both(config, "ffn_dim"),
        "dropout": config.get("dropout", 0.1),
        "attention_dropout": config.get("attention_dropout", 0.0),
        "activation_dropout": config.get("activation_dropout", 0.0),
        "activation": _activation(config.get("activation_function", "gelu")),
        "embedding_scale_power": 0.5 if config.get("scale_embedding") else 0.0,
        "norm_epsilon": 1e-5,
    }


def _marian_options(config: dict[str, Any], weights: Weights) -> dict[str, Any]:
    return {
        **_bart_options(config, weights),
        "norm_first": False,
        "positions": "sinusoidal-published",
    }


def _pegasus_options(config: dict[str, Any], weights: Weights) -> dict[str, Any]:
    return {**_bart_options(config, weights), "positions": "sinusoidal-published"}


def _m2m_options(config: dict[str, Any], weights: Weights) -> dict[str, Any]:
    first = config.get("pad_token_id", 1) + 1
    return {**_bart_options(config, weights), "positions": "sinusoidal", "first_position": first}


def _t5_options(config: dict[str, Any], weights: Weights) -> dict[str, Any]:
    buckets = (
        config.get("relative_attention_num_buckets", 32),
        config.get("relative_attention_max_distance", 128),
    )
    if buckets != (32, 128):
        raise ValueError(
            f"its relative positions have {buckets} classes and distances, not (32, 128)"
        )
    *gated, activation = config.get("feed_forward_proj", "relu").split("-")
    # "gated-gelu" means the approximation, and so does all that transformers makes of it.
    activation = "gelu_new" if gated and activation == "gelu" else activation
    return {
        "width": config["d_model"],
        "encoder_layers": config["num_layers"],
        "decoder_layers": config.get("num_decoder_layers") or config["num_layers"],
        "num_heads": config["num_heads"],
        "key_dim": config["d_kv"],
        "feedforward_dim": config["d_ff"],
        "dropout": config.get("dropout_rate", 0.1),
        "activation": _activation(activation),
        "gated": bool(gated),
        "norm": "rms",
        "norm_epsilon": config.get("layer_norm_epsilon", 1e-6),
        "positions": "relative",
        "embedding_scale_power": 0.0,
        "tie_embeddings": "lm_head.weight" not in weights,
    }


_FAMILIES: dict[str, tuple[Callable[..., dict[str, Any]], WeightNames, str]] = {
    "marian": (_marian_options, BART, "translation"),
    "m2m_100": (_m2m_options, BART, "translation"),
    "pegasus": (_pegasus_options, BART, "summarization"),
    "t5": (_t5_options, T5, "translation"),
    "mt5": (_t5_options, T5, "translation"),
}


def _both(config: dict[str, Any], name: str) -> int:
    """A value that encoder and decoder have alike."""
    encoder, decoder = (config[f"{side}_{name}"] for side in ("encoder", "decoder"))
    if encoder != decoder:
        raise ValueError(f"its {name} of encoder and decoder differ: {encoder} and {decoder}")
    return encoder


def _activation(name: str) -> str:
    if name not in _ACTIVATIONS:
        raise ValueError(f"there is no activation {name!r} here")
    return _ACTIVATIONS[name]


def _build(options: dict[str, Any], vocabularies: Vocabularies) -> EncoderDecoder:
    source = vocabularies.source
    model = transformer(
        len(vocabularies.target.rows),
        source_vocab_size=None if source is None else len(source.rows),
        **options,
    )
    model.build()
    return model


def _finish(model: EncoderDecoder, kind: str, config: dict[str, Any]) -> None:
    """Puts into weights what a checkpoint has beside them."""
    tied = config.get("scale_decoder_outputs", config.get("tie_word_embeddings", True))
    if kind == "t5" and tied:
        # T5 divides what the vocabulary is read from; the last normalization can do it.
        scale = model.decoder.norm.scale
        scale.assign(scale * config["d_model"] ** -0.5)


def _search(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Lengths and options of generation, as far as the checkpoint says them."""
    path = folder / "generation_config.json"
    said = {**config, **(read_json(path) if path.is_file() else {})}
    longest = int(said.get("max_position_embeddings") or said.get("n_positions") or 512)
    # 20 is what transformers takes where nothing is said, and too short for anything.
    most = int(said.get("max_length") or 0)
    found: dict[str, Any] = {
        "max_source_length": longest,
        "max_target_length": most if most > 20 else longest,
        "max_length_ratio": 0.0,
    }
    if said.get("num_beams"):
        found["beam_size"] = int(said["num_beams"])
    if said.get("length_penalty") is not None:
        found["length_penalty"] = max(float(said["length_penalty"]), 0.0)
    if said.get("no_repeat_ngram_size"):
        found["no_repeat_ngram"] = int(said["no_repeat_ngram_size"])
    return found
