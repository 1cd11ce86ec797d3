"""PyTorch: `nn.Transformer` and a GRU with additive attention in training, `generate` of Hugging
Face's Marian and a loop of one's own in decoding.

    python benchmarks/peer_torch.py train decode T B R
"""

from __future__ import annotations

import argparse
import os

os.environ["TRANSFORMERS_VERBOSITY"] = "error"

import torch
from sizes import (
    LABEL_SMOOTHING,
    SIZES,
    STEPS,
    THREADS,
    Recurrent,
    Transformer,
    measure_decoding,
    measure_training,
    padded,
    training_batch,
)
from torch import nn
from torch.nn import functional

NAME = f"PyTorch {torch.__version__.split('+')[0]}"


class TransformerModel(nn.Module):
    """PyTorch's own Transformer between tied embeddings."""

    def __init__(self, size: Transformer):
        super().__init__()
        self.width = size.width
        self.embedding = nn.Embedding(size.vocabulary, size.width, padding_idx=0)
        self.register_buffer("places", torch.randn(64, size.width) * 0.02)
        self.transformer = nn.Transformer(
            size.width, size.heads, size.layers, size.layers, size.feedforward, size.dropout,
            batch_first=True, norm_first=True,
        )  # fmt: skip
        self.dropout = nn.Dropout(size.dropout)
        causal = nn.Transformer.generate_square_subsequent_mask(size.length)
        self.register_buffer("causal", causal)

    def embedded(self, ids):
        return self.dropout(self.embedding(ids) * self.width**0.5 + self.places[: ids.shape[1]])

    def forward(self, source, target):
        padding = torch.zeros(source.shape).masked_fill_(source == 0, float("-inf"))
        hidden = self.transformer(
            self.embedded(source),
            self.embedded(target),
            tgt_mask=self.causal,
            src_key_padding_mask=padding,
            memory_key_padding_mask=padding,
            tgt_is_causal=True,
        )
        return functional.linear(hidden, self.embedding.weight)


class RecurrentModel(nn.Module):
    """A GRU that attends with its state and is fed the context."""

    def __init__(self, size: Recurrent):
        super().__init__()
        both = 2 * size.encoder
        self.source_embedding = nn.Embedding(size.vocabulary, size.embedding)
        self.target_embedding = nn.Embedding(size.vocabulary, size.embedding)
        self.encoder = nn.GRU(size.embedding, size.encoder, batch_first=True, bidirectional=True)
        self.bridge = nn.Linear(both, size.decoder)
        self.cell = nn.GRUCell(size.embedding + both, size.decoder)
        self.query = nn.Linear(size.decoder, size.attention)
        self.key = nn.Linear(both, size.attention)
        self.scale = nn.Linear(size.attention, 1, bias=False)
        self.readout = nn.Linear(size.decoder + both, size.decoder)
        self.vocabulary = nn.Linear(size.decoder, size.vocabulary)

    def encode(self, source):
        memory, last = self.encoder(self.source_embedding(source))
        state = torch.tanh(self.bridge(torch.cat([last[0], last[1]], -1)))
        return memory, self.key(memory), source == 0, state

    def step(self, ids, state, memory, keys, padding):
        scores = self.scale(torch.tanh(self.query(state)[:, None] + keys)).squeeze(-1)
        weights = functional.softmax(scores.masked_fill(padding, -1e9), -1)
        context = torch.bmm(weights[:, None], memory)[:, 0]
        state = self.cell(torch.cat([self.target_embedding(ids), context], -1), state)
        return state, torch.tanh(self.readout(torch.cat([state, context], -1)))

    def forward(self, source, target):
        memory, keys, padding, state = self.encode(source)
        outputs = []
        for place in range(target.shape[1]):
            state, output = self.step(target[:, place], state, memory, keys, padding)
            outputs.append(output)
        return self.vocabulary(torch.stack(outputs, 1))


def train(size: str) -> None:
    chosen = SIZES[size]
    recurrent = isinstance(chosen, Recurrent)
    model = RecurrentModel(chosen) if recurrent else TransformerModel(chosen)
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-4, fused=True)
    source, target, labels = (torch.from_numpy(x).long() for x in training_batch(size))

    def step():
        optimizer.zero_grad(set_to_none=True)
        logits = model(source, target).flatten(0, 1)
        smoothing = 0.0 if recurrent else LABEL_SMOOTHING
        loss = functional.cross_entropy(
            logits, labels.flatten(), label_smoothing=smoothing, ignore_index=0
        )
        loss.backward()
        optimizer.step()

    measure_training(NAME, size, step)


def decode_transformer(size: str, batches: list[int]) -> None:
    """By Hugging Face, whose Marian has the same layers."""
    import transformers

    chosen = SIZES[size]
    config = transformers.MarianConfig(
        vocab_size=chosen.vocabulary,
        d_model=chosen.width,
        encoder_layers=chosen.layers,
        decoder_layers=chosen.layers,
        encoder_attention_heads=chosen.heads,
        decoder_attention_heads=chosen.heads,
        encoder_ffn_dim=chosen.feedforward,
        decoder_ffn_dim=chosen.feedforward,
        max_position_embeddings=64,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
        activation_function="relu",
        scale_embedding=True,
    )
    model = transformers.MarianMTModel(config).eval()
    name = f"Hugging Face {transformers.__version__}"
    for beams in (1, chosen.beams):

        @torch.inference_mode()
        def write(rows, beams=beams):
            source = torch.from_numpy(padded(rows)).long()
            ids = model.generate(
                input_ids=source,
                attention_mask=(source != 0).long(),
                num_beams=beams,
                do_sample=False,
                min_new_tokens=STEPS,
                max_new_tokens=STEPS,
            )
            assert ids.shape[1] == STEPS + 1, ids.shape

        for batch in batches:
            measure_decoding(name, size, write, batch, beams, repeats=2, most_seconds=15)


def decode_recurrent(size: str, batches: list[int]) -> None:
    chosen = SIZES[size]
    model = RecurrentModel(chosen).eval()
    for beams in (1, chosen.beams):

        @torch.inference_mode()
        def write(rows, beams=beams):
            beam_search(model, torch.from_numpy(padded(rows)).long(), beams, chosen.vocabulary)

        for batch in batches:
            measure_decoding(NAME, size, write, batch, beams, repeats=2, most_seconds=15)


def beam_search(model: RecurrentModel, source, beams: int, vocabulary: int):
    """32 steps with beams, as short as it is usually written."""
    memory, keys, padding, state = (x.repeat_interleave(beams, 0) for x in model.encode(source))
    rows = len(source)
    ids = torch.ones(rows * beams, dtype=torch.long)
    log_p = torch.tensor([0.0] + [-1e9] * (beams - 1)).repeat(rows)[:, None]
    first = (torch.arange(rows) * beams)[:, None]
    written: list = []
    for _ in range(STEPS):
        state, output = model.step(ids, state, memory, keys, padding)
        logits = model.vocabulary(output)
        if beams == 1:
            ids = logits.argmax(-1)
            written.append(ids)
            continue
        scores = (functional.log_softmax(logits, -1) + log_p).view(rows, -1)
        best, chosen = scores.topk(beams)
        log_p = best.view(-1, 1)
        parents = (first + chosen // vocabulary).view(-1)
        ids = (chosen % vocabulary).view(-1)
        state = state[parents]
        written = [*(step[parents] for step in written), ids]
    return torch.stack(written, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("what", nargs="+", help="train, decode, T, B, R")
    parser.add_argument("--batch", type=int, nargs="*", default=[1, 64])
    chosen = parser.parse_args()
    torch.set_num_threads(THREADS)
    for size in [size for size in SIZES if size in chosen.what]:
        if "train" in chosen.what:
            train(size)
        if "decode" in chosen.what:
            decode = decode_recurrent if size == "R" else decode_transformer
            decode(size, chosen.batch)


if __name__ == "__main__":
    main()
