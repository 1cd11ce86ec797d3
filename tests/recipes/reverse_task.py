"""A task that is learnt in a moment: words spelt backwards. And the smallest run on it."""

import numpy as np

import attention_zoo
from attention_zoo.recipes.cli.main import app, run_command

LETTERS = "abcd"
STEPS = 20
SETTINGS = [
    "model.embedding_dim=16",
    "model.encoder_units=16",
    "model.decoder_units=16",
    "model.attention_units=16",
    "model.dropout=0.1",
    "vocab_size=13",
    "filter_rows=false",  # a word that is its own reverse is no mistake
    "max_target_length=12",
    "batch_tokens=60",
    "learning_rate=0.05",
    "warmup_steps=5",
    "schedule=inverse_sqrt",  # which does not know the end, so that trainings in parts are alike
    "patience=10",
    "metric=chrf",
    "evaluate_every=10",
    "evaluate_rows=4",
    "checkpoint_minutes=0",  # after every step
    "beam_size=2",
]


def write_pairs(path, rows, seed):
    random = np.random.default_rng(seed)
    words = ["".join(random.choice(list(LETTERS), n)) for n in random.integers(2, 6, rows)]
    path.write_text("".join(f"{word}\t{word[::-1]}\n" for word in words))
    return path


def arguments(data, output, *more, model="rnn-bahdanau", steps=STEPS, settings=()):
    """What `attention-zoo` is told to train on the files of a folder: all that decides it."""
    options = [part for setting in (*SETTINGS, *settings) for part in ("--set", setting)]
    return [
        "train", "translation", "--model", model, "--max-steps", str(steps), "--no-fit",
        "--train", str(data / "train.tsv"), "--valid", str(data / "valid.tsv"),
        "--output", str(output), *options, *more,
    ]  # fmt: skip


def train(data, output, **options):
    """The exit status of a training."""
    return run_command(app, arguments(data, output, **options))


def final_state(output, step=STEPS):
    """All arrays of the checkpoint of a step: weights, optimizer, average, seeds."""
    with np.load(output / "checkpoints" / f"step-{step:09d}.npz") as file:
        return {name: file[name] for name in file.files if name != "progress.json"}


def assert_same_run(output, expected, step=STEPS):
    """Bit by bit: weights, optimizer, averages and the seeds of dropout; the best model too."""
    one, other = final_state(output, step), final_state(expected, step)
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)
    models = [attention_zoo.load(folder).model.get_weights() for folder in (output, expected)]
    for first, second in zip(*models, strict=True):
        np.testing.assert_array_equal(first, second)
