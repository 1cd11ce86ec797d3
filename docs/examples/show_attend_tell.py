"""Show, attend and tell: a caption of a picture, and where the model looked at each word.

    python docs/examples/show_attend_tell.py captions        trains for two minutes on two cores

The source is the regions of a picture, features (B, S, F). What is new stands in this file: an
encoder that convolves the regions, and pictures to read. The folder gets the weights over a picture
as a PNG, the model, and a SavedModel from pictures to captions.

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
from attention_zoo.zoo.training import SmoothedCrossEntropy

SIZE, GRID, RADIUS = 48, 8, 8  # pixels of a side, regions of a side, pixels
COLORS = {"red": (0.9, 0.2, 0.2), "green": (0.2, 0.7, 0.3), "blue": (0.2, 0.4, 0.9)}
SHAPES = ("circle", "square", "triangle")
OFFSETS = {"above": (18, 0), "beside": (0, 18)}  # of the second thing, in rows and columns
START, END = 2, 3  # 0 is padding and 1 the unknown word
WORDS = ["", "?", "", "", "a", *COLORS, *SHAPES, *OFFSETS]


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
    """Paints a thing into a picture (SIZE, SIZE, 3)."""
    y, x = np.mgrid[:SIZE, :SIZE] - np.reshape(center, (2, 1, 1))
    square = np.maximum(abs(x), abs(y)) < RADIUS - 1
    triangle = (abs(x) < (y + RADIUS) / 2) & (y < RADIUS)
    inside = {"circle": x**2 + y**2 < RADIUS**2, "square": square, "triangle": triangle}
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
    side = SIZE // GRID
    grid = tf.reshape(pictures, (-1, GRID, side, GRID, side, 3))
    return tf.reshape(tf.transpose(grid, (0, 1, 3, 2, 4, 5)), (-1, GRID**2, side * side * 3))


def build_model(units=96):
    embedding = ScaledEmbedding(len(WORDS), units)
    return EncoderDecoder(
        encoder=RegionEncoder(units),
        decoder=RecurrentDecoder(units, attention=BahdanauAttention(units)),
        output=VocabularyOutput(len(WORDS), readout_units=units),
        target_embedding=embedding,
    )


def train(model, pictures, captions, epochs):
    labels = np.array([[*map(WORDS.index, text.split()), END] for text in captions], np.int32)
    target = np.pad(labels[:, :-1], ((0, 0), (1, 0)), constant_values=START)
    model.compile(keras.optimizers.Adam(0.003), loss=SmoothedCrossEntropy(0.05))
    inputs = {"source": regions_of(pictures).numpy(), "target": target}
    model.fit(inputs, labels, batch_size=64, epochs=epochs, verbose=2)


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
        axis.set_title(word)
        axis.axis("off")
    figure.savefig(path, dpi=120, bbox_inches="tight")
    plt.close(figure)


def export(model, folder):
    """Writes a SavedModel that takes pictures and returns captions."""
    pictures = tf.TensorSpec((None, SIZE, SIZE, 3), tf.float32, name="pictures")
    archive = keras.export.ExportArchive()
    archive.add_endpoint("serve", lambda x: {"text": describe(model, x)[0]}, [pictures])
    archive.write_out(folder, verbose=False)


def main(folder, count=4000, epochs=12):
    keras.utils.set_random_seed(1)
    model = build_model()
    train(model, *make_pictures(count, seed=0), epochs)
    pictures, captions = make_pictures(200, seed=1)
    written, attention = (found.numpy() for found in describe(model, pictures))
    right = np.mean(written == np.char.encode(captions))
    print(f"{right:.0%} of the captions are exactly right; the first: {written[0].decode()}")
    folder.mkdir(parents=True, exist_ok=True)
    save_picture(folder / "attention.png", pictures[0], written[0].decode(), attention[0])
    model.save(folder / "model.keras")
    export(model, folder / "saved_model")
    return right


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "captions"))
