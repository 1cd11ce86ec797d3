r"""Dialogue: what was said before, and a text, to a reply.

    python recipes/dialogue.py --model rnn --max-minutes 12 --set warmup_steps=250

learns the embedded default, chats in English: a word perplexity of about 469 on the 4,126 replies
of the validation in twelve minutes of one CPU core. Bigrams have 420, which takes a training of an
hour to pass. `attention-zoo chat RUN` talks to the result. On conversations of your own, one a line
(`{"turns": [...]}`), or pairs of texts and replies:

    python recipes/dialogue.py --train train.jsonl --valid valid.jsonl --max-minutes 60 \
        --set history_turns=4

Of what is longer than `max_source_length` the oldest is left out. For a task of your own copy this
file, change what it says, and run it: the copy trains that.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterable

from attention_zoo.recipes import Task, run
from attention_zoo.recipes.data.conversation_files import (
    parse_turns,
    read_conversation_rows,
    replies,
)
from attention_zoo.recipes.data.corpus import PairCorpus
from attention_zoo.zoo.errors import DataError
from attention_zoo.zoo.text.source_format import SourceFormat, SourceInput

RECURRENT = {
    "embedding_dim": 192,
    "encoder_units": 192,
    "decoder_units": 256,
    "attention_units": 192,
    "dropout": 0.2,
}
DEV_SHARE = 20  # one conversation in so many belongs to dev
MAX_WORDS = 60  # of a turn; a longer one ends what is learnt of a conversation


def default_corpora(seed: int) -> tuple[PairCorpus, PairCorpus]:
    """Chats of students from the package `chitchat-dataset`; none is in both corpora."""
    train, dev = PairCorpus([], [], "chitchat (train)"), PairCorpus([], [], "chitchat (dev)")
    for turns in _conversations():
        corpus = dev if zlib.crc32("\n".join(turns).encode()) % DEV_SHARE == 0 else train
        for source, reply in replies(turns):
            corpus.sources.append(source)
            corpus.targets.append(reply)
    return train, dev


@functools.lru_cache(maxsize=1)
def _conversations() -> list[list[str]]:
    try:
        import chitchat_dataset
    except ImportError:
        raise DataError(
            "The default of dialogue is in the package chitchat-dataset, which is not installed: "
            "pip install chitchat-dataset, or give --train and --valid."
        ) from None
    messages = (conversation["messages"] for conversation in chitchat_dataset.Dataset().values())
    return [turns for turns in map(_turns, messages) if len(turns) > 1]


def _turns(messages: Iterable[list[dict[str, str]]]) -> list[str]:
    """The turns of a conversation up to the first that is empty or too long."""
    turns: list[str] = []
    for message in messages:
        text = " ".join(" ".join(part["text"] for part in message).split())
        if not text or len(text.split()) > MAX_WORDS:
            break
        turns.append(text)
    return turns


TASK = Task(
    name="dialogue",
    description="what was said before, and a text, to a reply",
    default_corpora=default_corpora,
    default_description="chats of students in English (chitchat-dataset)",
    corpora="JSON lines of turns or messages, two columns of a table, or two parallel files",
    source_format=SourceFormat((SourceInput("history", "turns"), SourceInput("text")), keep="end"),
    metrics=("word_perplexity", "perplexity", "f1", "distinct_1", "distinct_2"),
    scores="attention_zoo.recipes.metrics.text_scores:reply_scores",
    baselines="attention_zoo.recipes.metrics.baselines:reply_baselines",
    read_rows=read_conversation_rows,
    parse=parse_turns,
    limits={"max_source_length": 128, "max_target_length": 64},
    settings={
        "metric": "word_perplexity",
        "max_length_ratio": 0.0,
        "no_repeat_ngram": None,
        "label_smoothing": 0.0,
        "evaluate_rows": 200,
    },
    default_settings={"vocab_size": 8000, "batch_tokens": 4096},
    default_model_options={
        "rnn*": RECURRENT,
        "pointer-generator": RECURRENT,
    },
)


if __name__ == "__main__":
    run(TASK)
