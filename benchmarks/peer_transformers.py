"""Random small models of transformers, and what they answer; run by `interchange.py`.

    .venv-bench/bin/python benchmarks/peer_transformers.py FOLDER

The folder has `texts.txt`, one text a line. Each model gets a folder of its own, as transformers
saves it, with `expected.npz` and `expected.json`: tokens of all texts, logits of random targets,
and what greedy and beam search give for the first 200 texts.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import torch
import transformers as hf
from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES

ROWS, SCORED, LENGTH, STEPS, BEAMS = 200, 40, 48, 24, 4
BART = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 128,
    "scale_embedding": True,
    "init_std": 0.15,
}
T5 = {"d_model": 32, "d_kv": 12, "d_ff": 64, "num_layers": 2, "num_heads": 4}


def train_pieces(texts: list[str], size: int, kind: str, **options: Any) -> bytes:
    """A SentencePiece model as its authors' own program makes it."""
    buffer = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=buffer,
        model_type=kind,
        vocab_size=size,
        character_coverage=0.98,
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    return buffer.getvalue()


def pieces_of(model: bytes) -> list[str]:
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    return [processor.id_to_piece(i) for i in range(processor.get_piece_size())]


def marian(folder: Path, texts: list[str]) -> tuple[Any, Any, dict[str, Any]]:
    # With the same characters: one that only the target's model knows is unknown to the zoo, where
    # transformers may find it, or a run of such, in the vocabulary of both.
    models = [train_pieces(texts, size, "unigram") for size in (900, 1100)]
    for side, model in zip(("source", "target"), models, strict=True):
        (folder / f"{side}.spm").write_bytes(model)
    names = [">>fra<<", *pieces_of(models[0])[3:], *pieces_of(models[1])[3:]]
    # Some pieces of each model are unknown to the checkpoint, as with the real ones.
    names = ["</s>", "<unk>", *sorted(set(names[:-20]) - set(names[30:40])), "<pad>"]
    names = list(dict.fromkeys(names))
    (folder / "vocab.json").write_text(json.dumps({name: i for i, name in enumerate(names)}))
    pad = len(names) - 1
    sizes = {"vocab_size": len(names), "pad_token_id": pad, "decoder_start_token_id": pad}
    config = hf.MarianConfig(
        **BART, **sizes, eos_token_id=0, activation_function="swish", forced_eos_token_id=None
    )
    model = hf.MarianMTModel(config)
    with torch.no_grad():
        model.final_logits_bias.normal_(0, 0.5)
        model.final_logits_bias[0, 0] += 4
    tokenizer = hf.MarianTokenizer(
        str(folder / "source.spm"), str(folder / "target.spm"), str(folder / "vocab.json")
    )
    return model, tokenizer, {}


def pegasus(folder: Path, texts: list[str]) -> tuple[Any, Any, dict[str, Any]]:
    special = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
    pieces = train_pieces(texts, 1100, "unigram", **special)
    (folder / "spiece.model").write_bytes(pieces)
    size = len(pieces_of(pieces)) + 103
    config = hf.PegasusConfig(
        **BART,
        vocab_size=size,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
        activation_function="relu",
        forced_eos_token_id=None,
    )
    model = hf.PegasusForConditionalGeneration(config)
    with torch.no_grad():
        model.final_logits_bias[0, 1] += 4
    return model, hf.PegasusTokenizer.from_pretrained(folder), {}


def t5(folder: Path, texts: list[str], version: str = "1.0") -> tuple[Any, Any, dict[str, Any]]:
    special = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
    pieces = train_pieces(texts, 1100, "unigram", **special)
    (folder / "spiece.model").write_bytes(pieces)
    options = {"vocab_size": len(pieces_of(pieces)) + 128, "decoder_start_token_id": 0}
    if version == "1.0":
        config: Any = hf.T5Config(**T5, **options, feed_forward_proj="relu")
        model: Any = hf.T5ForConditionalGeneration(config)
    else:
        options |= {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
        config = hf.MT5Config(**T5, **options)
        model = hf.MT5ForConditionalGeneration(config)
        model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "layer_norm" in name:
                weight.uniform_(0.5, 1.5)
            elif "relative" in name:
                weight.normal_(0, 1)
        model.lm_head.weight[1] *= 2 if version == "1.1" else 6  # ends now and then
    return model, hf.T5Tokenizer.from_pretrained(folder, extra_ids=100), {}


def mt5(folder: Path, texts: list[str]) -> tuple[Any, Any, dict[str, Any]]:
    return t5(folder, texts, "1.1")


def m2m100(folder: Path, texts: list[str]) -> tuple[Any, Any, dict[str, Any]]:
    special = {"unk_id": 0, "bos_id": 1, "eos_id": 2}
    pieces = train_pieces(texts, 1300, "bpe", **special)
    path, vocabulary = folder / "sentencepiece.bpe.model", folder / "vocab.json"
    path.write_bytes(pieces)
    names = ["<s>", "<pad>", "</s>", "<unk>", *pieces_of(pieces)[3:-5]]
    vocabulary.write_text(json.dumps({name: i for i, name in enumerate(names)}))
    tokenizer = hf.M2M100Tokenizer(str(vocabulary), str(path), src_lang="en", tgt_lang="de")
    size = len(names) + len(tokenizer.lang_code_to_id) + 8
    return m2m_model(size), tokenizer, {"forced_bos_token_id": tokenizer.get_lang_id("de")}


def nllb(folder: Path, texts: list[str]) -> tuple[Any, Any, dict[str, Any]]:
    special = {"unk_id": 0, "bos_id": 1, "eos_id": 2}
    pieces = train_pieces(texts, 1300, "bpe", **special)
    (folder / "sentencepiece.bpe.model").write_bytes(pieces)
    languages = {"src_lang": "eng_Latn", "tgt_lang": "deu_Latn"}
    codes = FAIRSEQ_LANGUAGE_CODES
    tokenizer = hf.NllbTokenizer.from_pretrained(folder, extra_special_tokens=codes, **languages)
    german = tokenizer.convert_tokens_to_ids("deu_Latn")
    return m2m_model(len(tokenizer)), tokenizer, {"forced_bos_token_id": german}


def m2m_model(size: int) -> Any:
    options = {"pad_token_id": 1, "eos_token_id": 2, "bos_token_id": 0}
    config = hf.M2M100Config(
        **BART,
        **options,
        vocab_size=size,
        decoder_start_token_id=2,
        activation_function="relu",
        forced_eos_token_id=None,
    )
    model = hf.M2M100ForConditionalGeneration(config)
    with torch.no_grad():  # an end that comes now and then
        end = model.model.shared.weight[2]
        model.model.decoder.layer_norm.bias += 4 * end / (end @ end)
    return model


def answers(model: Any, tokenizer: Any, texts: list[str], options: dict[str, Any]) -> dict:
    """Tokens, logits and outputs of a model, as arrays and lists."""
    model.eval()
    tokens = [tokenizer(text).input_ids for text in texts]
    ids = [row[:LENGTH] for row in tokens[:ROWS]]
    longest = max(map(len, ids))
    pad = model.config.pad_token_id
    source = torch.tensor([row + [pad] * (longest - len(row)) for row in ids])
    mask = (source != pad).long()
    generator = torch.Generator().manual_seed(0)
    size = model.config.vocab_size
    target = torch.randint(0, size, (SCORED, 12), generator=generator)
    target[:, 0] = model.config.decoder_start_token_id
    with torch.no_grad():
        scored = {"input_ids": source[:SCORED], "attention_mask": mask[:SCORED]}
        logits = model(**scored, decoder_input_ids=target).logits
        found = {}
        for name, beams in (("greedy", 1), ("beam", BEAMS)):
            made = model.generate(
                input_ids=source,
                attention_mask=mask,
                num_beams=beams,
                do_sample=False,
                max_length=STEPS,
                length_penalty=0.0,
                early_stopping=False,
                bad_words_ids=[[pad]],
                return_dict_in_generate=True,
                output_scores=True,
                **options,
            )
            rows = made.sequences[:, 1:]
            found[name] = rows.tolist()
            if beams > 1:
                found["scores"] = made.sequences_scores.tolist()
        found["texts"] = tokenizer.batch_decode(rows, skip_special_tokens=True)
    arrays = {"source": source.numpy(), "target": target.numpy(), "logits": logits.numpy()}
    return {"arrays": arrays, "lists": {"tokens": tokens, **found}}


FAMILIES: dict[str, Callable] = {
    "marian": marian,
    "pegasus": pegasus,
    "t5": t5,
    "mt5": mt5,
    "m2m100": m2m100,
    "nllb": nllb,
}


def main() -> None:
    base = Path(sys.argv[1])
    texts = (base / "texts.txt").read_text(encoding="utf-8").splitlines()
    for name in sys.argv[2:] or FAMILIES:
        torch.manual_seed(1)
        folder = base / name
        folder.mkdir(exist_ok=True)
        model, tokenizer, options = FAMILIES[name](folder, texts)
        found = answers(model, tokenizer, texts, options)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        np.savez(folder / "expected.npz", **found["arrays"])
        lists = {**found["lists"], **options}
        (folder / "expected.json").write_text(json.dumps(lists))
        print(f"{name}: {sum(p.numel() for p in model.parameters()):,} weights", flush=True)


if __name__ == "__main__":
    main()
