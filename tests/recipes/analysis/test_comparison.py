"""Runs compared: the numbers against those of `evaluate`, and any name shown as text."""

import io
import json
import re
import shutil
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from eager import eagerly
from PIL import Image

from attention_zoo.recipes.analysis.comparison import (
    ComparedRun,
    Comparison,
    compare,
    decoding_latency,
)
from attention_zoo.recipes.analysis.comparison_plots import DARK, encode, plot_quality_by_length
from attention_zoo.recipes.analysis.comparison_report import to_html, to_markdown, write_report
from attention_zoo.recipes.analysis.source_lengths import (
    Bucket,
    LengthDegradation,
    RunDegradation,
)
from attention_zoo.recipes.cli.main import app, run_command
from attention_zoo.recipes.core.run import Run
from attention_zoo.recipes.metrics.scores import translation_scores
from attention_zoo.recipes.metrics.significance import Interval
from attention_zoo.zoo.errors import ConfigError, DataError
from attention_zoo.zoo.pipeline.text_to_text import Prediction, TextToText
from attention_zoo.zoo.text.tokenizer import Tokenizer

HOSTILE = "<script>alert('1')</script> | \"$x_1$\" שלום\u202e 词汇"


def compared_run(name, shift=0.0, history=((1.0, 5.0), (2.0, 9.5))):
    score = Interval(20.0 + shift, 18.0 + shift, 22.0 + shift)
    return ComparedRun(
        name, "rnn", {"bleu": 20.0 + shift, "chrf": 40.0}, score, [score, score], 8125,
        32500, 1.5, 2345.6, None, None, list(history),
    )  # fmt: skip


def make_comparison():
    return Comparison(
        task="translation",
        data="test.tsv",
        rows=30,
        metric="bleu",
        signature="nrefs:1",
        unit="words",
        buckets=[Bucket(1, 5, 10), Bucket(6, 6, 20)],
        runs=[compared_run("rnn"), compared_run(HOSTILE, 3.0)],
        p_values=[[None, 0.012], [0.012, None]],
        resamples=1000,
        seed=12345,
        degradation=LengthDegradation(
            5, 6, 10, 20, [fallen(40.0, None), fallen(-1.0, Interval(0.3, -0.1, 0.7))]
        ),
    )


def fallen(percent, share):
    score = Interval(20.0, 18.0, 22.0)
    return RunDegradation(score, score, Interval(percent, percent - 9, percent + 9), share)


@pytest.fixture
def comparison():
    return make_comparison()


class Page(HTMLParser):
    """The tags of a page, and the texts in its cells."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.cells, self.alternatives, self._in_cell = [], [], [], False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        values = dict(attributes)
        if tag in ("td", "th"):
            self.cells.append("")
            self._in_cell = True
        if tag == "img":
            self.alternatives.append(values["alt"])
        for name in ("src", "srcset", "href"):
            assert values.get(name, "data:").startswith("data:")

    def handle_endtag(self, tag):
        self._in_cell = self._in_cell and tag not in ("td", "th")

    def handle_data(self, data):
        if self._in_cell:
            self.cells[-1] += data


def test_the_page_has_all_numbers_and_any_name_as_text(comparison):
    page = Page(to_html(comparison))
    shown = HOSTILE.replace("\u202e", "")
    # Overview, head of lengths, row of what is lost, head and row of p values.
    assert page.cells.count(shown) == 5
    assert {"40.0 (31.0 to 49.0)", "-1.0 (-10.0 to 8.0)", "0.30 (-0.10 to 0.70)"} <= set(page.cells)
    assert page.cells.count("0.012") == 2
    assert page.cells.count("23.00 (21.00–25.00)") == 2
    assert {"1–5", "6", "8,125", "1.5", "2,346", "–"} <= set(page.cells)
    assert "script" not in page.tags
    assert page.tags.count("source") == page.tags.count("img") == 2
    assert all(shown in text or "length" in text for text in page.alternatives)


def test_markdown_rows_are_as_wide_as_their_head(comparison):
    lines = to_markdown(comparison).splitlines()
    tables = [line for line in lines if line.startswith("|")]
    assert len(tables) == 4 * (2 + 2)
    bars = [len(re.findall(r"(?<!\\)\|", line)) for line in tables]
    assert bars == [12] * 4 + [5] * 4 + [6] * 4 + [4] * 4
    assert "<script>" not in to_markdown(comparison)


def test_pictures_are_the_same_each_time_and_follow_the_numbers(comparison):
    one, two = (encode(plot_quality_by_length(comparison), "svg") for _ in range(2))
    assert one == two
    assert one != encode(plot_quality_by_length(comparison, DARK), "svg")
    other = replace(comparison, runs=[compared_run("rnn", 1.0), comparison.runs[1]])
    assert one != encode(plot_quality_by_length(other), "svg")
    assert b"<script" not in one
    picture = Image.open(io.BytesIO(encode(plot_quality_by_length(comparison))))
    assert picture.size == (1080, 630)


def test_the_course_of_a_training_is_drawn_where_it_is_known(comparison, tmp_path):
    unknown = [replace(run, history=[]) for run in comparison.runs]
    names = [path.name for path in write_report(replace(comparison, runs=unknown), tmp_path)]
    assert "score_by_time.png" not in names
    one = replace(comparison, runs=[comparison.runs[0], unknown[1]])
    names = [path.name for path in write_report(one, tmp_path)]
    assert {"score_by_time.png", "score_by_time.svg", "quality_by_length.svg"} <= set(names)
    assert ElementTree.parse(tmp_path / "quality_by_length.svg").getroot().tag.endswith("}svg")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_a_score_without_a_value_is_a_dash_in_every_form(comparison, tmp_path):
    none = Interval(None, None, None)
    run = replace(comparison.runs[0], by_length=[none, comparison.runs[0].score])
    run = replace(run, scores={**run.scores, "chrf": None})
    nothing = RunDegradation(none, run.score, none, None)
    comparison = replace(
        comparison,
        runs=[run, comparison.runs[1]],
        degradation=replace(comparison.degradation, runs=[nothing, comparison.degradation.runs[1]]),
    )
    write_report(comparison, tmp_path)
    lines = (tmp_path / "comparison.md").read_text().splitlines()
    (row,) = (line for line in lines if line.startswith("| 1–5 "))
    assert [cell.strip() for cell in row.split("|")][3:5] == ["–", "23.00 (21.00–25.00)"]
    assert "–: there is nothing in these rows that bleu counts." in lines
    assert "| rnn | – | 20.00 (18.00 to 22.00) | – | – |" in "\n".join(
        re.sub(" +", " ", line) for line in lines
    )
    numbers = json.loads((tmp_path / "comparison.json").read_text())
    assert numbers["runs"][0]["by_length"][0] == {"value": None, "low": None, "high": None}
    assert numbers["runs"][0]["scores"]["chrf"] is None


# Runs


@pytest.fixture(scope="module")
def runs(trained, tmp_path_factory):
    """A trained run, and its copy whose search is another and whose training never ended."""
    copy = tmp_path_factory.mktemp("compared") / "greedy"
    shutil.copytree(trained[0], copy, ignore=shutil.ignore_patterns("checkpoints", "tensorboard"))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "beam_size": 1}))
    (copy / "metrics.json").unlink()
    return trained[0], copy


@pytest.fixture(scope="module")
def found(runs, reverse_files):
    data = str(reverse_files / "valid.tsv")
    with eagerly():
        return compare(runs, data, metric="chrf", lengths=[1], resamples=100, timed_rows=2)


@pytest.mark.usefixtures("eager")
def test_scores_are_those_of_the_outputs(found, runs, trained, reverse_files):
    rows = [line.split("\t") for line in (reverse_files / "valid.tsv").read_text().splitlines()]
    model = Run(trained[0]).load()
    for run, beams in zip(found.runs, (2, 1), strict=True):
        outputs = model.with_generation(beam_size=beams).predict([source for source, _ in rows])
        scores = translation_scores([p.text for p in outputs], [target for _, target in rows])
        assert run.score.value == pytest.approx(scores.values["chrf"])
        assert run.scores == pytest.approx(scores.values)
        assert run.score.low <= run.score.value <= run.score.high
        assert run.latency > 0 and run.sentences_per_second > 0
        assert run.bytes == 4 * run.parameters
        assert [interval.value for interval in run.by_length] == [run.score.value]
    metrics = json.loads((runs[0] / "metrics.json").read_text())
    assert found.runs[0].parameters == metrics["parameters"] == found.runs[1].parameters
    assert found.runs[0].tokens_per_second == metrics["tokens_per_second"] > 0
    assert found.runs[0].history == [(h["minutes"], h["chrf"]) for h in metrics["history"]]
    assert (found.runs[1].minutes, found.runs[1].history) == (None, [])
    assert found.buckets == [Bucket(1, 1, 8)]


@pytest.mark.usefixtures("eager")
@pytest.mark.parametrize("content", ["{", "[]", "[" * 100_000])
def test_damaged_metrics_are_refused(content, runs, reverse_files, tmp_path):
    copy = tmp_path / "damaged"
    shutil.copytree(runs[1], copy)
    (copy / "metrics.json").write_text(content)
    with pytest.raises(ConfigError, match=r"metrics\.json is not"):
        compare([runs[0], copy], str(reverse_files / "valid.tsv"), resamples=100, timed_rows=0)


@pytest.mark.usefixtures("eager")
def test_no_more_texts_are_timed_than_there_are(trained):
    assert decoding_latency(Run(trained[0]).load(), ["ab", "ba"], 10**40) > 0


@pytest.mark.usefixtures("eager")
def test_rows_that_one_of_the_models_does_not_write_have_no_perplexity(runs, reverse_files):
    rows = (reverse_files / "valid.tsv").read_text().splitlines()
    rows = [*rows[:3], f"ab\t{'ba' * 20}", *rows[3:]]
    Path("long.tsv").write_text("\n".join(rows))
    told = []
    options = {"metric": "perplexity", "resamples": 100, "timed_rows": 0, "lengths": [1]}
    found = compare(runs, "long.tsv", report=told.append, **options)
    assert "rows left out, as a model does not write such long targets: 1" in told
    metrics = json.loads((runs[0] / "metrics.json").read_text())
    assert (found.rows, found.buckets) == (8, [Bucket(1, 1, 8)])
    assert (found.unscored, found.skipped, found.skipped_rows) == (1, 0, [])
    assert "Rows left out, whose targets are too long for a model: 1." in to_markdown(found)
    assert found.runs[0].score.value == pytest.approx(metrics["valid"]["perplexity"], rel=1e-5)
    Path("long.tsv").write_text(f"ab\t{'ba' * 20}\n")
    with pytest.raises(DataError, match=r"All 1 targets of long.tsv are longer"):
        compare(runs, "long.tsv", **options)


@pytest.mark.usefixtures("eager")
def test_rows_that_cannot_be_read_or_written_are_told(runs, reverse_files, monkeypatch):
    def predict(model, texts):
        return [Prediction("a", 0.0, truncated=i < 7) for i in range(len(texts))]

    monkeypatch.setattr(TextToText, "predict", predict)
    rows = (reverse_files / "valid.tsv").read_text().splitlines()
    Path("bad.tsv").write_text("\n".join([*rows * 20, "ab"]))
    told = []
    options = {"resamples": 100, "timed_rows": 0, "lengths": [1]}
    found = compare(runs, "bad.tsv", report=told.append, **options)
    bad = "bad.tsv:161: no tab between source and target"
    assert f"1 row skipped: {bad}" in told
    assert told.count("7 outputs of a part of the text, or as long as the search allows") == 2
    assert (found.rows, found.skipped, found.skipped_rows) == (160, 1, [bad])
    assert f"Rows skipped: 1, the first {bad}." in to_markdown(found)
    assert json.loads(json.dumps(asdict(found)))["skipped_rows"] == [bad]


def test_perplexities_of_different_tokenizers_are_not_compared(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "attention_zoo.recipes.analysis.comparison._measure", lambda *_: pytest.fail("measured")
    )
    copy = tmp_path / "other-subwords"
    shutil.copytree(runs[1], copy)
    Tokenizer.train(["abc cba"] * 9, 9).save(copy / "tokenizer.model")
    with pytest.raises(ConfigError, match=r"different tokenizers.* choose another --metric"):
        compare([runs[0], copy], metric="perplexity")


@pytest.mark.usefixtures("eager")
def test_the_command_finds_the_same_again(found, runs, reverse_files, tmp_path, capsys):
    command = ["compare", *map(str, runs), "--data", str(reverse_files / "valid.tsv")]
    options = ["--metric", "chrf", "--resamples", "100", "--lengths", "1", "--timed-rows", "0"]
    assert run_command(app, [*command, *options, "--output", "out/figures"]) == 0
    printed = capsys.readouterr()
    folder = tmp_path / "out" / "figures"
    assert printed.out == (folder / "comparison.md").read_text()
    assert "| trained" in printed.out and "| greedy" in printed.out
    for name in ("comparison.html", "quality_by_length.png", "score_by_time.png"):
        assert name in printed.err and (folder / name).exists()
    untimed = replace(
        found, runs=[replace(run, latency=None, sentences_per_second=None) for run in found.runs]
    )
    values = json.loads((folder / "comparison.json").read_text())
    assert values == json.loads(json.dumps(asdict(untimed)))


def test_what_cannot_be_compared(runs, tmp_path, capsys, monkeypatch):
    measure = "attention_zoo.recipes.analysis.comparison._measure"
    monkeypatch.setattr(measure, lambda *_: pytest.fail("measured"))
    (tmp_path / "file").touch()
    other = tmp_path / "other"
    other.mkdir()
    (other / "model.keras").touch()
    config = json.loads((runs[0] / "config.json").read_text())
    data = ["--data", "none.tsv"]
    for change, options, expected in (
        ({"task": "dialogue"}, data, "different task cannot be compared: trained has translation"),
        ({"reverse": True}, data, "different reverse"),
        ({"bleu_tokenize": "zh"}, data, "Give --tokenize"),
        ({"train": "a", "valid": "b"}, [], "different rows; give --data"),
        ({}, data, "none.tsv does not exist"),
        ({}, [*data, "--metric", "rougeL"], "metric of translation is one of bleu"),
        ({}, [*data, "--lengths", "9,5"], "--lengths takes rising numbers"),
        ({}, [*data, "--fall", "9"], "--fall takes two rising numbers"),
        ({}, [*data, "--tokenize", "french"], "bleu_tokenize is one of"),
        ({}, [*data, "--output", "file"], "file is a file"),
    ):
        (other / "config.json").write_text(json.dumps({**config, **change}))
        assert run_command(app, ["compare", str(runs[0]), str(other), *options]) == 2
        error = capsys.readouterr().err
        assert expected in error and error.startswith("error: ") and error.count("\n") == 1
    (other / "model.keras").unlink()
    for folders, expected in (
        ([runs[0], other], "other has no model.keras yet"),
        ([runs[0]], "two runs at least"),
        ([runs[0], runs[0]], "name each once"),
        ([runs[0], tmp_path / "none"], "is no run"),
    ):
        assert run_command(app, ["compare", *map(str, folders)]) == 2
        assert expected in capsys.readouterr().err


@pytest.mark.usefixtures("eager")
def test_what_has_no_value_on_the_rows_is_not_compared(runs, reverse_files, monkeypatch):
    data = str(reverse_files / "valid.tsv")  # words alone, so that BLEU counts nothing
    options = {"resamples": 100, "lengths": [1], "timed_rows": 0}
    with pytest.raises(ConfigError, match=r"bleu has no value on .*valid.tsv.* another --metric"):
        compare(runs, data, metric="bleu", **options)
    config = replace(Run(runs[0]).read_config(), metric="bleu")
    monkeypatch.setattr(Run, "read_config", lambda run: config)
    told = []
    found = compare(runs, data, report=told.append, **options)
    assert found.metric == "chrf" and found.runs[0].scores["bleu"] is None
    assert f"bleu has no value on {data}, whose references would score 0 themselves: chrf is" in (
        "\n".join(told)
    )
