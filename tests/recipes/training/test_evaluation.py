"""What an evaluation makes of log probabilities, and of targets that are too long to be scored."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from attention_zoo.recipes.core.config import RunConfig
from attention_zoo.recipes.core.task import deciding_metric
from attention_zoo.recipes.data.corpus import PairCorpus
from attention_zoo.recipes.metrics import scoring
from attention_zoo.recipes.metrics.metric import METRICS
from attention_zoo.recipes.metrics.scoring import UnknownTokens, score_targets, unknown_line
from attention_zoo.recipes.training.evaluation import Evaluator, check_targets
from attention_zoo.zoo.errors import DataError
from attention_zoo.zoo.pipeline.text_to_text import Prediction

LENGTHS = [3, 70, 1, 9, 16, 2, 40, 5, 10, 11]  # of the targets, in words
CORPUS = PairCorpus(
    [f"s{row}" for row in range(len(LENGTHS))],
    [" ".join(["w"] * length) for length in LENGTHS],
    "valid.tsv",
)


def encode(texts):
    """The words of each text as ids."""
    return [np.full(len(text.split()), 7) for text in texts]


class FakeModel:
    """A word is a token, and its log probability minus one over the length of its text."""

    def __init__(self, longest):
        self.tokenizer = SimpleNamespace(encode=encode)
        self.generation = SimpleNamespace(max_length=longest)
        self.source_format = SimpleNamespace(to_text=str)
        self.batches = []

    def with_generation(self, **changes):
        return self

    def predict(self, sources):
        return [Prediction(CORPUS.targets[int(source[1:])], 0.0) for source in sources]

    def explain(self, sources):
        return []

    def score(self, sources, targets, batch_size, written_only):
        assert written_only
        assert [CORPUS.targets[int(source[1:])] for source in sources] == targets
        tokens = np.array([len(target.split()) + 1 for target in targets])
        for start in range(0, len(tokens), batch_size):
            self.batches.append(tokens[start : start + batch_size])
        return -1 / tokens, tokens


def test_targets_are_scored_in_batches_of_so_many_tokens(monkeypatch):
    monkeypatch.setattr(scoring, "SCORED_TOKENS", 34)
    monkeypatch.setattr(scoring, "SCORED_ROWS", 4)
    model = FakeModel(longest=41)
    log_p, tokens = score_targets(model, CORPUS.sources, CORPUS.targets)
    counted = [0 if length == 70 else length + 1 for length in LENGTHS]
    assert tokens.tolist() == counted
    np.testing.assert_allclose(log_p, [-1 / count if count else 0 for count in counted], 1e-6)
    assert sorted(np.concatenate(model.batches)) == sorted(count for count in counted if count)
    padded = [len(batch) * max(batch) for batch in model.batches if len(batch) > 1]
    assert max(padded) <= 34 and len(model.batches[0]) == 4


def test_long_targets_are_decoded_and_left_out_of_the_perplexity():
    config = RunConfig("dialogue", max_target_length=17, evaluate_rows=10, metric="perplexity")
    evaluator = Evaluator(FakeModel(17), CORPUS, config)
    scored = [length + 1 for length in LENGTHS if length <= 16]
    log_p = -sum(1 / length for length in scored)
    for values in (evaluator.full().values, evaluator.quick().metrics):
        assert values["perplexity"] == pytest.approx(math.exp(-log_p / sum(scored)))
        assert values["word_perplexity"] == pytest.approx(values["perplexity"])
        assert values["f1"] == 100 and values["distinct_2"] == pytest.approx(
            100 / sum(length - 1 for length in LENGTHS)
        )
    assert evaluator.num_unscored() == 2
    told = []
    check_targets(config, config.max_target_length, FakeModel(17).tokenizer, CORPUS, told.append)
    assert told == ["validation: 2 targets longer than 17 tokens: left out of the perplexity"]


def test_where_no_target_is_short_enough_there_is_no_perplexity_and_no_training():
    config = RunConfig(
        "dialogue", metric="f1", max_target_length=3, evaluate_rows=2
    )  # the first and the last
    with pytest.raises(DataError, match=r"All 2 targets of valid.tsv .* longer than 3 tokens"):
        check_targets(config, config.max_target_length, FakeModel(3).tokenizer, CORPUS, pytest.fail)
    long = CORPUS.part([1, 6])
    values = Evaluator(FakeModel(3), long, config).full().values
    assert values["f1"] == 100
    for name in ("perplexity", "word_perplexity", "cross_entropy"):
        assert values[name] is None
    short = RunConfig("dialogue", metric="f1", max_target_length=128)
    check_targets(short, short.max_target_length, FakeModel(128).tokenizer, CORPUS, pytest.fail)


@pytest.mark.parametrize(
    ("task_name", "asked", "targets", "decides"),
    [
        ("translation", "bleu", ["Anna Berg", "Omar"], "chrf"),
        ("translation", "bleu", ["Anna Berg", "a b c d"], "bleu"),
        ("translation", "perplexity", ["Anna Berg", "Omar"], "perplexity"),
        ("summarization", "rouge2", ["one", "two"], "rouge1"),
        ("summarization", "rougeL", ["👍", "!"], "rougeL"),
        ("question-answering", "f1", ["a", "b"], "f1"),
        ("dialogue", "distinct_2", ["yes", "no"], "word_perplexity"),
        ("dialogue", "distinct_2", ["yes", "no no"], "distinct_2"),
    ],
)
def test_a_metric_without_a_value_does_not_decide(task_name, asked, targets, decides):
    config = RunConfig(task_name, metric=asked)
    corpus = PairCorpus(["s1", "s2"], targets, "valid.tsv")
    assert deciding_metric(config, corpus).name == decides
    # Those that evaluations look at are what counts.
    assert deciding_metric(RunConfig(metric="bleu", evaluate_rows=1), corpus).name != "bleu"


def test_no_value_is_never_better():
    bleu, perplexity = METRICS["bleu"], METRICS["perplexity"]
    assert not bleu.is_better(None, 0.0) and not perplexity.is_better(None, 9.0)
    assert bleu.is_better(0.0, None) and not bleu.is_better(None, None)
    assert perplexity.is_better(9.0, None) and perplexity.is_better(8.0, 9.0)


def test_unknown_tokens_are_counted_and_told():
    rows = [np.array(row, np.int32) for row in ([5, 1, 1], [], [6], [1], [7, 7, 7])]
    targets, none = UnknownTokens.of(rows), UnknownTokens.of(rows[1:3])
    assert (targets, none) == (UnknownTokens(3, 8, 2), UnknownTokens(0, 1, 0))
    assert UnknownTokens.of([]).share == none.share == 0
    assert unknown_line(none, none, copied=False) is None
    sides = "unknown tokens: 3 of 8 (37.50%, in 2 rows) in "
    assert unknown_line(targets, none, copied=False) == f"{sides}sources"
    told = unknown_line(none, targets, copied=False)
    assert told.startswith(f"{sides}targets; no output has them, loss and perplexity leave out")
    assert (
        unknown_line(none, targets, copied=True) == f"{told} but where the source has one to copy"
    )
