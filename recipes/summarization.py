r"""Summarization: a text to a few words that say what it is about.

    python recipes/summarization.py --model pointer-generator --max-minutes 5

learns the embedded default, docstrings to their first lines: about 28 ROUGE-L on the 634 rows of
the validation, where the first 12 words have 19.6, in five minutes of one CPU core. On text of
your own, of which the beginning is read:

    python recipes/summarization.py --train train.tsv --valid valid.tsv --max-minutes 60 \
        --set max_source_length=400

For a task of your own copy this file, change what it says, and run it: the copy trains that.
"""

from __future__ import annotations

import random
from dataclasses import replace

from attention_zoo.recipes import Task, run
from attention_zoo.recipes.data.corpus import PairCorpus
from attention_zoo.recipes.data.docstrings import docstring_pairs
from attention_zoo.zoo.text.source_format import Source, SourceFormat, SourceInput

RECURRENT = {
    "embedding_dim": 128,
    "encoder_units": 128,
    "decoder_units": 192,
    "attention_units": 128,
    "dropout": 0.3,
}
LENGTH_SHARE = 0.5  # of the rows that are learnt with a wish for their length


def default_corpora(seed: int) -> tuple[PairCorpus, PairCorpus]:
    """Docstrings and their first lines; no summary is in both corpora."""
    return docstring_pairs("train"), docstring_pairs("dev")


def with_lengths(corpus: PairCorpus, seed: int) -> PairCorpus:
    """A corpus in which half of the sources ask for as many words as their summary has."""
    from attention_zoo.recipes.metrics.text_scores import words

    rng = random.Random(seed)
    sources: list[Source] = [
        {"length": len(words(target)), "text": source}
        if isinstance(source, str) and rng.random() < LENGTH_SHARE
        else source
        for source, target in corpus
    ]
    return replace(corpus, sources=sources)


TASK = Task(
    name="summarization",
    description="a text to a few words that say what it is about",
    default_corpora=default_corpora,
    default_description="docstrings of numpy, Keras and TensorFlow to their first lines",
    source_format=SourceFormat(
        (SourceInput("length", "length", optional=True), SourceInput("text"))
    ),
    metrics=("rouge1", "rouge2", "rougeL", "rougeLsum", "perplexity"),
    scores="attention_zoo.recipes.metrics.text_scores:rouge_scores",
    baselines="attention_zoo.recipes.metrics.baselines:summary_baselines",
    filters=("duplicates", "copies of the source"),
    prepare=with_lengths,
    limits={"max_source_length": 256, "max_target_length": 64},
    model="pointer-generator",
    settings={
        "metric": "rougeL",
        "max_length_ratio": 0.0,
        "no_repeat_ngram": None,
    },
    # Six thousand pairs: a small model, and small batches for more steps.
    default_settings={
        "vocab_size": 4000,
        "max_source_length": 128,
        "max_target_length": 40,
        "batch_tokens": 1536,
        "learning_rate": 0.002,
        "warmup_steps": 200,
        "average_decay": 0.99,
        "evaluate_every": 250,
        "evaluate_rows": 200,
    },
    default_model_options={
        "rnn*": RECURRENT,
        "pointer-generator": RECURRENT,
    },
)


if __name__ == "__main__":
    run(TASK)
