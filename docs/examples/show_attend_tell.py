"""Show, attend and tell: a caption of a picture, and where the model looked at each word.

    python docs/examples/show_attend_tell.py captions        trains for two minutes on two cores

The source is the regions of a picture, features (B, S, F); new are the encoder and the pictures.
The folder gets the weights over a picture as a PNG, the model, and a SavedModel.

Reference: Xu et al. 2015, https://arxiv.org/abs/1502.03044
"""

import sys
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf
from keras import ops

from attention_zoo import Encoder, EncoderDecoder, GenerationOptions, generate
from attention_zoo.layers import BahdanauAttention
from attention_zoo.zoo.models.embedding import ScaledEmbedding
from attention_zoo.zoo.models.outputs import VocabularyOutput
from attention_zoo.zoo.models.parts import Encoded, masked_mean
from attention_zoo.zoo.models.recurrent_decoder import RecurrentDecoder
from attention_zoo.zoo.text.tokenizer import END_ID, START_ID
from attention_zoo.zoo.training import SmoothedCrossEntropy

SIZE, GRID, RADIUS = 48, 8, 8  # pixels of a side, regions of a side, pixels
COLORS = {"red": (0.9, 0.2, 0.2), "green": (0.2, 0.7, 0.3), "blue": (0.2, 0.4, 0.9)}
SHAPES = ("circle", "square", "triangle")
OFFSETS = {"above": (18, 0), "beside": (0, 18)}  # of the second thing, in rows and columns
WORDS = ["", "?", "", "", "a", *COLORS, *SHAPES, *OFFSETS]  # ids 0 to 3 are special


@keras.saving.register_keras_serializable(package="show_attend_tell")
class RegionEncoder(Encoder):
    """A convolution over a grid of regions, with states of width `units`."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.project = keras.layers.Dense(units, "relu")
        self.convolve = keras.layers.Conv2D(units, 3, padding="same", activation="relu")

    def call(self, inputs, mask, training=False):
        regions = self.project(inputs)  # (B, S, D)
        grid = ops.reshape(regions, (-1, GRID, GRID, self.units))
        states = regions + ops.reshape(self.convolve(grid), ops.shape(regions))
        return Encoded(states, mask, masked_mean(states, mask))

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def paint(picture, shape, color, center):
    y, x = np.mgrid[:SIZE, :SIZE] - np.reshape(center, (2, 1, 1))
    inside = {
        "circle": x**2 + y**2 < RADIUS**2,
        "square": np.maximum(abs(x), abs(y)) < RADIUS,
        "triangle": (abs(x) < (y + RADIUS) / 2) & (y < RADIUS),
    }
    picture[inside[shape]] = COLORS[color]


def make_pictures(count, seed):
    """Pictures (N, SIZE, SIZE, 3) of two things, and their captions."""
    random = np.random.default_rng(seed)
    pictures, captions = np.ones((count, SIZE, SIZE, 3), np.float32), []
    for picture in pictures:
        relation = str(random.choice(list(OFFSETS)))
        center, names = random.integers(12, 18, 2), []
        for offset in ((0, 0), OFFSETS[relation]):
            color, shape = str(random.choice(list(COLORS))), str(random.choice(SHAPES))
            paint(picture, shape, color, center + offset + random.integers(-2, 3, 2))
            names.append(f"a {color} {shape}")
        captions.append(f" {relation} ".join(names))
    pictures += random.normal(0, 0.03, pictures.shape).astype(np.float32)
    return pictures.clip(0, 1), captions


def regions_of(pictures):
    """The pixels of each region, (B, S, F)."""
    grid = tf.reshape(pictures, (-1, GRID, SIZE // GRID, GRID, SIZE // GRID, 3))
    return tf.reshape(
        tf.transpose(grid, (0, 1, 3, 2, 4, 5)), (-1, GRID**2, 3 * (SIZE // GRID) ** 2)
    )


def build_model(units=96):
    return EncoderDecoder(
        encoder=RegionEncoder(units),
        decoder=RecurrentDecoder(units, attention=BahdanauAttention(units)),
        output=VocabularyOutput(len(WORDS), readout_units=units),
        target_embedding=ScaledEmbedding(len(WORDS), units),
    )


def train(model, pictures, captions, epochs):
    labels = np.array([[*map(WORDS.index, text.split()), END_ID] for text in captions], np.int32)
    target = np.pad(labels[:, :-1], ((0, 0), (1, 0)), constant_values=START_ID)
    model.compile(keras.optimizers.Adam(0.003), loss=SmoothedCrossEntropy(0.05))
    inputs = {"source": regions_of(pictures).numpy(), "target": target}
    model.fit(inputs, labels, 64, epochs, verbose=2)


def describe(model, pictures):
    """Captions, and the attention of each word, (B, T, S)."""
    options = GenerationOptions(beam_size=3, max_length=12, max_length_ratio=None)
    found = generate(model, regions_of(pictures), options, return_attention=True)
    words = tf.strings.reduce_join(tf.gather(WORDS, found.ids[:, 0]), axis=1, separator=" ")
    return tf.strings.strip(words), found.attention[:, 0]


def save_picture(path, picture, caption, attention):
    """Draws the picture once for each word, shaded by the attention."""
    words = caption.split()
    figure, axes = plt.subplots(1, len(words), figsize=(1.5 * len(words), 1.8))
    for axis, word, weights in zip(axes, words, attention[: len(words)], strict=True):
        heat = np.kron(weights.reshape(GRID, GRID), np.ones((SIZE // GRID,) * 2))
        axis.imshow(picture * (0.2 + 0.8 * heat / heat.max())[..., None])
        axis.set(title=word, xticks=[], yticks=[])
    figure.savefig(path, dpi=120, bbox_inches="tight")


def export(model, folder):
    """Writes a SavedModel that takes pictures and returns captions."""
    archive, pictures = keras.export.ExportArchive(), tf.TensorSpec((None, SIZE, SIZE, 3))
    archive.add_endpoint("serve", lambda x: {"text": describe(model, x)[0]}, [pictures])
    archive.write_out(folder, verbose=False)


def main(folder, count=5000, epochs=16):
    keras.utils.set_random_seed(1)
    model = build_model()
    train(model, *make_pictures(count, seed=0), epochs)
    pictures, captions = make_pictures(200, seed=1)
    written, attention = (found.numpy() for found in describe(model, pictures))
    right = written == np.char.encode(captions)
    print(f"{right.mean():.0%} of the captions of {len(right)} pictures are exactly right")
    folder.mkdir(parents=True, exist_ok=True)
    best = max(range(200), key=lambda i: right[i] * len({*captions[i].split()}))
    save_picture(folder / "attention.png", pictures[best], written[best].decode(), attention[best])
    model.save(folder / "model.keras")
    export(model, folder / "saved_model")
    return model


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "captions"))
