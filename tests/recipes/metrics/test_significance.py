"""Intervals and tests against sacreBLEU's own, and against scoring each drawn corpus anew."""

import numpy as np
import pytest
import sacrebleu
from sacrebleu.significance import PairedTest

from attention_zoo.recipes.metrics.metric import METRICS as ALL_METRICS
from attention_zoo.recipes.metrics.metric import PERPLEXITIES
from attention_zoo.recipes.metrics.row_statistics import (
    NOT_OF_ROWS,
    mean_statistics,
    row_statistics,
    sacrebleu_statistics,
)
from attention_zoo.recipes.metrics.scores import translation_scores
from attention_zoo.recipes.metrics.significance import Interval, p_value, resample
from attention_zoo.recipes.metrics.text_scores import answer_scores, rouge_scores
from attention_zoo.zoo.errors import ConfigError

WORDS = ["the", "a", "cat", "dog", "sat", "on", "under", "mat", "house", "red", ",", "."]
METRICS = {"bleu": sacrebleu.BLEU(), "chrf": sacrebleu.CHRF()}


def corpora(seed=0, rows=40):
    """References, and two systems that spoil some words of them, one more than the other."""
    random = np.random.default_rng(seed)
    references = [" ".join(random.choice(WORDS, random.integers(3, 15))) for _ in range(rows)]

    def spoilt(share):
        return [
            " ".join(w if random.random() > share else "x" for w in row.split())
            for row in references
        ]

    return references, spoilt(0.3), spoilt(0.33)


@pytest.mark.parametrize("name", METRICS)
def test_the_paired_test_of_sacrebleu(name, monkeypatch):
    monkeypatch.setenv("SACREBLEU_SEED", "12345")
    references, one, other = corpora()
    rows = [(text,) for text in references]
    systems = [("one", one), ("other", other)]
    test = PairedTest(systems, {name: METRICS[name]}, [references], "bs", n_samples=300)
    _, expected = test()
    (key,) = set(expected) - {"System"}
    scores = [sacrebleu_statistics(METRICS[name], texts, rows) for _, texts in systems]
    drawn = resample(scores, 300)
    for system, result in enumerate(expected[key]):
        interval = Interval.of(scores[system].value(), drawn[system])
        assert interval.value == pytest.approx(result.score, abs=1e-9)
        # sacreBLEU adds up in float32.
        assert drawn[system].mean() == pytest.approx(result.mean, abs=1e-4)
        assert (interval.high - interval.low) / 2 == pytest.approx(result.ci, abs=1e-4)
    p = p_value(scores[0].value(), scores[1].value(), drawn[0], drawn[1])
    assert p == pytest.approx(expected[key][1].p_value, abs=1e-9)
    assert 1 / 301 < p < 1


def test_each_resample_is_the_score_of_a_drawn_corpus():
    references, one, other = corpora(seed=3, rows=12)
    random = np.random.default_rng(7)
    rows = random.choice(12, size=(20, 12), replace=True)
    for name in ("bleu", "chrf", "exact_match"):
        scores = [
            row_statistics("translation", name, texts, [(r,) for r in references], "13a")
            for texts in (one, other)
        ]
        found = resample(scores, 20, seed=7)
        for system, texts in enumerate((one, other)):
            expected = [
                translation_scores([texts[i] for i in d], [references[i] for i in d], "13a")
                for d in rows
            ]
            np.testing.assert_allclose(
                found[system], [scores.values[name] for scores in expected], atol=1e-9
            )


def test_rows_of_means_give_the_scores_of_their_tasks():
    references, one, _ = corpora(seed=5)
    several = [(row, "the cat") for row in references]
    for scores, task_name, names in (
        (rouge_scores(one, several), "summarization", ("rouge1", "rouge2", "rougeL")),
        (answer_scores(one, several), "question-answering", ("exact_match", "f1")),
    ):
        for name in names:
            value = row_statistics(task_name, name, one, several, "auto").value()
            assert value == pytest.approx(scores.values[name], abs=1e-9)
    # What is refused before there are outputs is what cannot be told of them.
    for metric in set(ALL_METRICS) - set(PERPLEXITIES) - NOT_OF_ROWS:
        row_statistics("dialogue", metric, one, several, "auto")
    for metric in NOT_OF_ROWS:
        with pytest.raises(ConfigError, match=f"{metric} is not a score of rows"):
            row_statistics("dialogue", metric, one, several, "auto")


def test_draws_do_not_depend_on_the_number_of_systems():
    values = np.random.default_rng(1).random((2, 30))
    alone = resample([mean_statistics(values[0])], 50, seed=3)
    both = resample([mean_statistics(values[1]), mean_statistics(values[0])], 50, seed=3)
    np.testing.assert_array_equal(alone[0], both[1])
    assert not np.array_equal(alone, resample([mean_statistics(values[0])], 50, seed=4))


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution():
    values = np.random.default_rng(2).random(400)
    score = mean_statistics(values)
    interval = Interval.of(score.value(), resample([score], 2000)[0])
    half = 1.96 * 100 * values.std() / 20
    assert interval.high - interval.value == pytest.approx(half, rel=0.1)
    assert interval.value - interval.low == pytest.approx(half, rel=0.1)


def test_equal_systems_do_not_differ():
    score = mean_statistics([0.0, 1.0, 1.0])
    drawn = resample([score, score], 100)
    assert p_value(score.value(), score.value(), *drawn) == 1.0


def test_systems_of_different_rows_are_refused():
    with pytest.raises(ValueError, match="Received: 2, 3 rows"):
        resample([mean_statistics([0, 1]), mean_statistics([0, 1, 1])])
    with pytest.raises(ValueError, match="one at least"):
        resample([mean_statistics([])])


@pytest.mark.parametrize(
    ("task_name", "metric", "long"),
    [("translation", "bleu", "a b c d e"), ("summarization", "rouge2", "a b")],
)
def test_rows_that_a_score_does_not_count_have_no_value(task_name, metric, long):
    texts = [long, "a", "b", "c"]
    score = row_statistics(task_name, metric, texts, [(text,) for text in texts], "none")
    assert score.value() > 0
    short = score.of(np.array([1, 2, 3]))
    assert short.value() is None
    assert Interval.of(short.value(), resample([short], 50)[0]) == Interval(None, None, None)
    # Corpora are drawn without the first row, too: they have no value, and are left out.
    drawn = resample([score], 200)
    assert 0 < np.isnan(drawn).sum() < 200
    assert Interval.of(score.value(), drawn[0]).low > 0
    assert p_value(1.0, 2.0, drawn[0], drawn[0]) == 1 / ((~np.isnan(drawn)).sum() + 1)
