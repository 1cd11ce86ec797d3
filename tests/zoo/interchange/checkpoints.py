"""Checkpoint folders as transformers writes them, of random weights, and their formulas in NumPy.

Nothing here is read from the package but the writer of tensors; weights have the names and the
layout of PyTorch: a matrix has a row for each output.
"""

import io
import json
import math
import pickle
import sys
import types
import zipfile
from collections import OrderedDict

import numpy as np
from numeric import softmax
from pieces import pieces_of, train_pieces

from attention_zoo.zoo.tensor_files import write_tensors

WIDTH, HEADS, KEY, MIDDLE, LAYERS = 8, 2, 3, 12, 2
TEXTS = [
    "a house by the sea",
    "two dogs and a cat",
    "the cat sees the house",
    "ein Haus am Meer",
    "zwei Hunde und eine Katze",
    "die Katze sieht das Haus",
] * 4


def random_weights(names, seed=0):
    random = np.random.default_rng(seed)
    return {
        name: random.normal(1.0 if "norm" in name and len(shape) == 1 else 0.0, 0.5, shape).astype(
            np.float32
        )
        for name, shape in names.items()
    }


def attention_names(prefix, projections, inner, bias=True):
    query, key, value, output = (f"{prefix}{name}" for name in projections)
    names = {f"{name}.weight": (inner, WIDTH) for name in (query, key, value)}
    names[f"{output}.weight"] = (WIDTH, inner)
    if bias:
        names |= {f"{name}.bias": (inner,) for name in (query, key, value)}
        names[f"{output}.bias"] = (WIDTH,)
    return names


def write_folder(folder, config, weights, **files):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(write_tensors(weights))
    for name, content in files.items():
        path = folder / name.replace("__", ".")
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return folder


def bart_weights(rows, final_norms):
    names = {"model.shared.weight": (rows, WIDTH)}
    for side in ("encoder", "decoder"):
        for i in range(LAYERS):
            block = f"model.{side}.layers.{i}."
            kinds = ["self_attn"] + ["encoder_attn"] * (side == "decoder")
            for kind in kinds:
                projections = ("q_proj", "k_proj", "v_proj", "out_proj")
                names |= attention_names(f"{block}{kind}.", projections, WIDTH)
            norms = [*(f"{kind}_layer_norm" for kind in kinds), "final_layer_norm"]
            names |= {f"{block}{n}.{part}": (WIDTH,) for n in norms for part in ("weight", "bias")}
            names |= {f"{block}fc1.weight": (MIDDLE, WIDTH), f"{block}fc1.bias": (MIDDLE,)}
            names |= {f"{block}fc2.weight": (WIDTH, MIDDLE), f"{block}fc2.bias": (WIDTH,)}
        if final_norms:
            norm = f"model.{side}.layer_norm"
            names |= {f"{norm}.{part}": (WIDTH,) for part in ("weight", "bias")}
    return random_weights(names)


def bart_config(kind, rows, activation, **special):
    sizes = {"layers": LAYERS, "attention_heads": HEADS, "ffn_dim": MIDDLE}
    sides = ("encoder", "decoder")
    return {
        "model_type": kind,
        "d_model": WIDTH,
        "vocab_size": rows,
        "scale_embedding": True,
        "activation_function": activation,
        "max_position_embeddings": 64,
        **{f"{side}_{name}": size for side in sides for name, size in sizes.items()},
        **special,
    }


def marian(folder):
    """A MarianMT folder, its weights, and the row of each piece."""
    models = [train_pieces(TEXTS[i::2], size) for i, size in ((0, 40), (1, 45))]
    names = dict.fromkeys(name for model in models for name in pieces_of(model)[3:-2])
    names = ["</s>", "<unk>", ">>deu<<", *names, "<pad>"]
    vocabulary = {name: i for i, name in enumerate(names)}
    pad = len(names) - 1
    special = {"pad_token_id": pad, "eos_token_id": 0, "decoder_start_token_id": pad}
    weights = bart_weights(len(names), final_norms=False)
    bias = np.random.default_rng(1).normal(size=(1, len(names))).astype(np.float32)
    weights["final_logits_bias"] = bias
    config = bart_config("marian", len(names), "swish", num_beams=3, max_length=48, **special)
    files = {"source__spm": models[0], "target__spm": models[1], "vocab__json": vocabulary}
    write_folder(folder, config, weights, **files)
    return weights, vocabulary


def t5(folder, gated):
    """A T5 folder, of version 1.1 if gated, and its weights."""
    model = train_pieces(TEXTS, 50, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    rows = len(pieces_of(model)) + 6
    names = {"shared.weight": (rows, WIDTH)}
    if gated:
        names["lm_head.weight"] = (rows, WIDTH)
    for side in ("encoder", "decoder"):
        last = 2 if side == "decoder" else 1
        for i in range(LAYERS):
            block = f"{side}.block.{i}.layer."
            projections, inner = ("q", "k", "v", "o"), HEADS * KEY
            names |= attention_names(f"{block}0.SelfAttention.", projections, inner, bias=False)
            if side == "decoder":
                name = f"{block}1.EncDecAttention."
                names |= attention_names(name, projections, inner, bias=False)
            names |= {f"{block}{n}.layer_norm.weight": (WIDTH,) for n in range(last + 1)}
            dense = f"{block}{last}.DenseReluDense."
            expand = ("wi_0", "wi_1") if gated else ("wi",)
            names |= {f"{dense}{name}.weight": (MIDDLE, WIDTH) for name in expand}
            names[f"{dense}wo.weight"] = (WIDTH, MIDDLE)
        table = f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
        names |= {table: (32, HEADS), f"{side}.final_layer_norm.weight": (WIDTH,)}
    config = {
        "model_type": "t5",
        "d_model": WIDTH,
        "d_kv": KEY,
        "d_ff": MIDDLE,
        "num_layers": LAYERS,
        "num_heads": HEADS,
        "vocab_size": rows,
        "feed_forward_proj": "gated-gelu" if gated else "relu",
        "tie_word_embeddings": not gated,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
    }
    weights = random_weights(names)
    write_folder(folder, config, weights, spiece__model=model)
    return weights


# The formulas, of one row


def attention(weights, prefix, projections, x, memory, mask, scale, bias=0.0):
    def project(name, inputs):
        name = f"{prefix}{name}"
        return inputs @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0.0)

    *qkv, output = projections
    query, key, value = (
        np.split(project(name, inputs), HEADS, -1)
        for name, inputs in zip(qkv, (x, memory, memory), strict=True)
    )
    heads = []
    for head, (q, k, v) in enumerate(zip(query, key, value, strict=True)):
        added = bias if isinstance(bias, float) else bias[head]
        heads.append(softmax(q @ k.T * scale + added, mask) @ v)
    return project(output, np.concatenate(heads, -1))


def marian_logits(weights, source, target):
    """Post-norm, swish, and the paper's sinusoids."""
    bart = ("q_proj", "k_proj", "v_proj", "out_proj")
    scale = 1 / math.sqrt(WIDTH // HEADS)

    def norm(x, name):
        centered = x - x.mean(-1, keepdims=True)
        x = centered / np.sqrt((centered**2).mean(-1, keepdims=True) + 1e-5)
        return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def embed(ids):
        half = WIDTH // 2
        rates = 10_000 ** (-2 * np.arange(half) / WIDTH)
        angles = np.arange(len(ids))[:, None] * rates
        waves = np.concatenate([np.sin(angles), np.cos(angles)], -1)
        return weights["model.shared.weight"][ids] * math.sqrt(WIDTH) + waves

    def run(side, x, memory=None):
        length = len(x)
        mask = np.ones((length, length), bool)
        mask = np.tril(mask) if side == "decoder" else mask
        for i in range(LAYERS):
            block = f"model.{side}.layers.{i}."
            found = attention(weights, f"{block}self_attn.", bart, x, x, mask, scale)
            x = norm(x + found, f"{block}self_attn_layer_norm")
            if memory is not None:
                full = np.ones((length, len(memory)), bool)
                name = f"{block}encoder_attn."
                found = attention(weights, name, bart, x, memory, full, scale)
                x = norm(x + found, f"{block}encoder_attn_layer_norm")
            middle = x @ weights[f"{block}fc1.weight"].T + weights[f"{block}fc1.bias"]
            middle = middle / (1 + np.exp(-middle))
            found = middle @ weights[f"{block}fc2.weight"].T + weights[f"{block}fc2.bias"]
            x = norm(x + found, f"{block}final_layer_norm")
        return x

    hidden = run("decoder", embed(target), run("encoder", embed(source)))
    return hidden @ weights["model.shared.weight"].T + weights["final_logits_bias"][0]


def t5_logits(weights, source, target, gated):
    """Pre-norm without a mean, relative positions in classes, no scale of the scores."""

    def norm(x, name):
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)
        return x * weights[f"{name}.weight"]

    def classes(length, both):
        found = np.zeros((length, length), int)
        for q in range(length):
            for k in range(length):
                distance, first, count = q - k, 0, 32
                if both:
                    count, first = 16, 16 if k > q else 0
                distance = abs(distance) if both else max(distance, 0)
                half = count // 2
                if distance >= half:
                    share = math.log(distance / half) / math.log(128 / half)
                    distance = min(half + int(share * (count - half) + 1e-9), count - 1)
                found[q, k] = first + distance
        return found

    def run(side, x, memory=None):
        length, last = len(x), 2 if side == "decoder" else 1
        mask = np.ones((length, length), bool)
        mask = np.tril(mask) if side == "decoder" else mask
        table = weights[f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"]
        bias = table[classes(length, side == "encoder")].transpose(2, 0, 1)
        for i in range(LAYERS):
            block = f"{side}.block.{i}.layer."
            read = norm(x, f"{block}0.layer_norm")
            args = (("q", "k", "v", "o"), read, read, mask, 1.0, bias)
            x = x + attention(weights, f"{block}0.SelfAttention.", *args)
            if memory is not None:
                full = np.ones((length, len(memory)), bool)
                args = (("q", "k", "v", "o"), norm(x, f"{block}1.layer_norm"), memory, full, 1.0)
                x = x + attention(weights, f"{block}1.EncDecAttention.", *args)
            read = norm(x, f"{block}{last}.layer_norm")
            dense = f"{block}{last}.DenseReluDense."
            if gated:
                middle = read @ weights[f"{dense}wi_0.weight"].T
                cube = np.sqrt(2 / np.pi) * (middle + 0.044715 * middle**3)
                middle = middle / 2 * (1 + np.tanh(cube))
                middle = middle * (read @ weights[f"{dense}wi_1.weight"].T)
            else:
                middle = np.maximum(read @ weights[f"{dense}wi.weight"].T, 0)
            x = x + middle @ weights[f"{dense}wo.weight"].T
        return norm(x, f"{side}.final_layer_norm")

    table = weights["shared.weight"]
    hidden = run("decoder", table[target], run("encoder", table[source]))
    if gated:
        return hidden @ weights["lm_head.weight"].T
    return hidden / math.sqrt(WIDTH) @ table.T


# Files of PyTorch, written without it


def torch_modules():
    """Stand-ins for the modules that a file of PyTorch's names."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def _rebuild_tensor_v2():
        pass

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2, torch._utils = _rebuild_tensor_v2, utils
    for name in ("FloatStorage", "HalfStorage"):
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    return {"torch": torch, "torch._utils": utils}


class _Storage:
    def __init__(self, key, array):
        self.key, self.array = key, array


class _Tensor:
    def __init__(self, rebuild, storage, shape, strides):
        self.arguments = rebuild, (storage, 0, shape, strides, False, OrderedDict())

    def __reduce__(self):
        return self.arguments


class _Pickler(pickle.Pickler):
    legacy = False

    def persistent_id(self, value):
        if not isinstance(value, _Storage):
            return None
        kind = {"float32": "FloatStorage", "float16": "HalfStorage"}[value.array.dtype.name]
        pid = "storage", getattr(sys.modules["torch"], kind), value.key, "cpu", value.array.size
        return (*pid, None) if self.legacy else pid


def torch_file(path, weights, monkeypatch, legacy=False, transposed=()):
    """Writes weights as `torch.save` does, now or before version 1.6."""
    for name, module in torch_modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    rebuild = sys.modules["torch._utils"]._rebuild_tensor_v2
    state, storages = OrderedDict(), []
    for key, (name, array) in enumerate(weights.items()):
        kept = array.T if name in transposed else array
        storages.append(_Storage(str(key), np.ascontiguousarray(kept).reshape(-1)))
        strides = [math.prod(kept.shape[i + 1 :]) for i in range(kept.ndim)]
        strides = strides[::-1] if name in transposed else strides
        state[name] = _Tensor(rebuild, storages[-1], array.shape, tuple(strides))

    def pickled(value):
        buffer = io.BytesIO()
        pickler = _Pickler(buffer, 2)
        pickler.legacy = legacy
        pickler.dump(value)
        return buffer.getvalue()

    if legacy:
        parts = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, state]
        parts.append([storage.key for storage in storages])
        with open(path, "wb") as file:
            file.writelines(map(pickled, parts))
            for storage in storages:
                file.write(storage.array.size.to_bytes(8, "little") + storage.array.tobytes())
        return
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled(state))
        for storage in storages:
            archive.writestr(f"archive/data/{storage.key}", storage.array.tobytes())
