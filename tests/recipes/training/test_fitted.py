"""Settings that follow from a corpus, and what is set, which stays."""

import functools
import json
import math

import pytest

from attention_zoo.recipes.core.config import Budget, budget_of
from attention_zoo.recipes.core.corpora import read_corpora
from attention_zoo.recipes.core.make_config import make_config
from attention_zoo.recipes.core.run import Run
from attention_zoo.recipes.core.task import task
from attention_zoo.recipes.data.corpus import PairCorpus
from attention_zoo.recipes.training.fitted import (
    TABLE,
    CorpusFacts,
    fit_to_corpus,
    fitted_values,
    with_values,
)
from attention_zoo.recipes.training.launch import default_folder
from attention_zoo.zoo.errors import ConfigError

HOUR, SHORT = Budget(max_minutes=60), Budget(max_minutes=5)
WORDS = ("the", "old", "house", "by", "a", "quiet", "sea", "has", "seven", "green", "doors", "and")
HAN = "我要去回家今天很好他们喜欢喝茶明年再见朋友"


@functools.cache
def sentences(rows, source_words=6, signs=WORDS, between=" "):
    """Rows that no two are alike."""
    sources = [
        " ".join(WORDS[(i + j * (1 + i % 5)) % len(WORDS)] for j in range(source_words)) + f" {i}"
        for i in range(rows)
    ]
    targets = [
        between.join(signs[(i * 3 + j) % len(signs)] for j in range(source_words))
        for i in range(rows)
    ]
    return PairCorpus(sources, targets, "rows.tsv")


def fitted(corpus, budget=HOUR, name="translation", model=None, settings=()):
    config = make_config(name, model, "rows.tsv", settings=settings, to_be_fitted=True)
    return fit_to_corpus(config, corpus, budget)


def test_model_and_vocabulary_follow_from_rows_and_time():
    small, large = sentences(400), sentences(12_000)
    assert fitted(small).model == "rnn-bahdanau"
    assert fitted(large, SHORT).model == "rnn-bahdanau"
    assert fitted(large).model == "transformer-tiny"
    sizes = [fitted(corpus).vocab_size for corpus in (small, sentences(3000), large)]
    assert sizes == sorted(set(sizes)) and sizes[0] < 1200 and sizes[-1] <= 8000
    # By hand: 12 times the root of 12,000 rows with 7 and 6 words.
    assert sizes[-1] == 100 * math.ceil(12 * math.sqrt(12_000 * 13) / 100)
    # Chinese has no spaces: its words are counted by characters, and all of these are tokens.
    chinese = fitted(sentences(400, signs=HAN, between=""))
    assert len(set(HAN)) < chinese.vocab_size < sizes[0]


@pytest.mark.parametrize(
    ("name", "model"),
    [("question-answering", "memory-network"), ("summarization", "pointer-generator")],
)
def test_the_model_of_a_task_is_that_which_the_guides_measure_best(name, model):
    corpus = sentences(3000)
    assert fitted(corpus, name=name).model == model
    assert make_config(name).model == model  # of the embedded default too


def test_what_is_set_stays():
    settings = ["vocab_size=77", "model.dropout=0.5", "warmup_steps=7", "bpe_dropout=0"]
    config = fitted(sentences(12_000), model="rnn-luong", settings=settings)
    assert (config.model, config.vocab_size, config.warmup_steps) == ("rnn-luong", 77, 7)
    assert config.model_options["dropout"] == 0.5 and config.bpe_dropout == 0
    assert config.model_options["decoder_units"] == 320  # which is not set
    assert not {"model", "vocab_size", "model.dropout"} & set(fitted_values(config))
    # A recipe's settings are set too.
    answers = fitted(sentences(3000), name="question-answering")
    assert answers.patience == 40 and answers.label_smoothing == 0.0


def test_nothing_follows_from_the_embedded_default_or_without_leave():
    default = make_config("translation", to_be_fitted=True)
    assert default == make_config("translation", "rnn-bahdanau")
    plain = make_config("translation", "rnn", "rows.tsv")
    for config in (default, plain):
        assert config.stated is None and fit_to_corpus(config, sentences(9), HOUR) is config
        assert config.is_stated("warmup_steps")


def test_the_rate_goes_to_zero_where_the_end_is_known():
    corpus = sentences(3000)
    assert fitted(corpus).schedule == fitted(corpus, Budget(max_steps=9)).schedule == "cooldown"
    assert fitted(corpus, Budget()).schedule == "inverse_sqrt"


def test_single_words_are_read_letter_by_letter():
    phonemes = [f"{'AEIOU'[i % 5]} {'BDFGK'[i % 3]} T" for i in range(600)]
    corpus = PairCorpus([f"w{i:x}rd" for i in range(600)], phonemes, "words")
    config = fitted(corpus)
    assert config.kinds_of_tokens == ("char", "word") and config.metric == "token_error_rate"
    assert config.model == "rnn-bahdanau" and config.bpe_dropout == 0
    names = PairCorpus(
        [f"Berg{i}, A{i}" for i in range(480)], [f"A{i} Berg{i}" for i in range(480)], ""
    )
    assert fitted(names).kinds_of_tokens == ("char", "char")
    assert fitted(sentences(600)).kinds_of_tokens == ("bpe", "bpe")
    for setting in ("tokenizer=bpe", "vocab_size=90", "bpe_dropout=0.1", "protected=<b>"):
        assert fitted(corpus, settings=[setting]).kinds_of_tokens == ("bpe", "bpe")


def test_limits_of_length_follow_long_texts_up_to_a_bound():
    assert fitted(sentences(300)).max_source_length == 128
    long = fitted(sentences(300, source_words=90))
    assert 128 < long.max_source_length <= 512 and long.max_target_length <= 256
    assert fitted(sentences(300), name="summarization").max_source_length == 256
    assert task("summarization").limits["max_source_length"] == 256


def test_a_batch_is_a_part_of_a_small_corpus():
    sizes = [fitted(sentences(rows), SHORT).batch_tokens for rows in (60, 4000, 30_000)]
    assert sizes == sorted(sizes) and sizes[0] == 256 and sizes[-1] == 2048


def test_facts_of_a_corpus():
    corpus = PairCorpus(["ab cd", "ab"], ["我要去", "回家"], "c")
    facts = CorpusFacts.of(make_config("translation", None, "c"), corpus)
    assert (facts.rows, facts.spaced, facts.lengths) == (2, (True, False), (5, 3))
    assert facts.characters == 5 + 5 and facts.words == int(3 + 2 + 2.5)


def test_the_table_names_settings_that_there_are():
    config = make_config("translation", None, "c", to_be_fitted=True)
    for row in TABLE:
        for name in row.values:
            assert name.startswith("model.") or hasattr(config, name), name


def test_a_run_keeps_what_it_was_begun_with(tmp_path):
    corpus, run = sentences(12_000), Run(tmp_path / "run")
    config = fitted(corpus)
    run.open(config)
    begun = run.read_config()
    assert begun == config and begun.stated == config.stated
    # With another budget the table has another model; the run has not.
    plain = make_config("translation", None, "rows.tsv", to_be_fitted=True)
    again = fit_to_corpus(plain, corpus, SHORT, begun)
    assert again == config and run.check(again)
    # Another model that the user sets now is not overruled in silence: it is another run.
    other = make_config("translation", "rnn-luong", "rows.tsv", to_be_fitted=True)
    assert fit_to_corpus(other, corpus, HOUR, begun).model == "rnn-luong"
    with pytest.raises(ConfigError, match="model is"):
        run.check(fit_to_corpus(other, corpus, HOUR, begun))
    # Of a run before there was a table nothing is fitted.
    values = json.loads(run.config_path.read_text()) | {"stated": None}
    run.config_path.write_text(json.dumps(values))
    assert fit_to_corpus(plain, corpus, HOUR, run.read_config()) is plain
    # What the chief sends makes the same config elsewhere.
    assert with_values(plain, json.loads(json.dumps(fitted_values(config)))) == config


def test_the_budget_that_is_meant():
    assert budget_of(None, None, "a.tsv") == Budget(None, 60.0, 150)
    assert budget_of(None, None) == Budget()
    assert budget_of(5, None, "a.tsv") == Budget(5)
    assert budget_of(None, math.inf, "a.tsv") == Budget()
    assert budget_of(None, None, "a.tsv").in_steps(4) == Budget(600, 60.0)
    assert Budget(max_minutes=1).total_steps(7) == 7 and Budget(5).total_steps(7) == 5
    assert Budget(max_minutes=1).share(3, 59, planned=6) == 0.5
    assert Budget(max_minutes=1).is_spent(6, 0, planned=6)


def test_a_folder_has_the_name_of_the_model_or_of_the_file():
    def folder(model, train):
        return str(default_folder(make_config("translation", model, train, to_be_fitted=True)))

    assert folder("rnn", "a.tsv") == "runs/translation-rnn"
    assert folder(None, "data/my pairs.en,x.de") == "runs/translation-my-pairs"
    assert folder(None, "-") == "runs/translation-stdin"
    assert folder(None, None) == "runs/translation-rnn-bahdanau"


def test_a_real_file_is_fitted(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_text("".join(f"{a}\t{b}\n" for a, b in sentences(300)))
    config = make_config("translation", None, str(path), to_be_fitted=True)
    train, valid = read_corpora(config)
    assert len(train) + len(valid) == 300
    assert fit_to_corpus(config, train, HOUR).vocab_size < 1500
