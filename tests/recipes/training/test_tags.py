"""One model of two directions: the language tag of a source says into which it is translated."""

import itertools

import pytest
from eager import eagerly

import attention_zoo
from attention_zoo.recipes.cli.main import app, run_command
from attention_zoo.recipes.core.config import Budget
from attention_zoo.recipes.core.make_config import make_config
from attention_zoo.recipes.data.corpus import PairCorpus
from attention_zoo.recipes.training.reporting import corpora_lines

ALPHABETS = {"<2de>": str.maketrans("1234", "abcd"), "<2fr>": str.maketrans("1234", "wxyz")}
SETTINGS = [
    "tags=<2de> <2fr>",
    "tokenizer=char",
    "model.embedding_dim=16",
    "model.encoder_units=16",
    "model.decoder_units=24",
    "model.attention_units=16",
    "model.dropout=0",
    "batch_tokens=300",
    "learning_rate=0.03",
    "warmup_steps=5",
    "evaluate_every=1000",
    "evaluate_rows=4",
    "metric=chrf",
    "checkpoint_minutes=60",
]


def write_pairs(path, words, tags=tuple(ALPHABETS)):
    pairs = [(f"{tag} {w}", w.translate(ALPHABETS[tag])) for w in words for tag in tags]
    path.write_text("".join(f"{source}\t{target}\n" for source, target in pairs))
    return str(path)


def train(folder, train_file, valid_file, steps, *settings):
    options = [part for setting in (*SETTINGS, *settings) for part in ("--set", setting)]
    return run_command(app, [
        "train", "translation", "--model", "rnn-luong", "--no-fit", "--max-steps", str(steps),
        "--train", train_file, "--valid", valid_file, "--output", str(folder / "run"), *options,
    ])  # fmt: skip


@pytest.mark.usefixtures("fake_evaluator")
def test_a_model_of_two_directions_obeys_the_tag(tmp_path, capsys):
    words = ["".join(digits) for n in (1, 2) for digits in itertools.permutations("1234", n)]
    pairs = write_pairs(tmp_path / "pairs.tsv", words)
    assert train(tmp_path, pairs, pairs, steps=80) == 0
    said = capsys.readouterr().out
    assert "32 pairs" in said and "begin with none of" not in said
    with eagerly():
        obeys_the_tag(tmp_path, words[::3], capsys)


def obeys_the_tag(tmp_path, words, capsys):
    model = attention_zoo.load(tmp_path / "run")
    for tag, alphabet in ALPHABETS.items():
        found = model.predict([f"{tag} {word}" for word in words])
        assert [p.text for p in found] == [word.translate(alphabet) for word in words]
    # Each line of a text goes the way of the tag in front of it, or of its own.
    (whole,) = model.predict(["<2fr> 13\n21\n<2de> 4"])
    assert whole.text == "wy\nxw\nd"
    # Nothing is said of texts with a tag, and which has none is told.
    command = ["predict", str(tmp_path / "run"), "<2de> 12"]
    assert run_command(app, command) == 0 and capsys.readouterr() == ("ab\n", "")
    assert run_command(app, [*command, "12", "<2it> 12"]) == 0
    said = capsys.readouterr().err
    assert "2 texts begin with none of the tags <2de> <2fr>" in said and "text 2" in said
    # A prefix is obeyed before the tag, and one without tokens refused in one line.
    assert run_command(app, [*command, "--prefix", "x"]) == 0
    assert capsys.readouterr().out.startswith("x")
    assert run_command(app, [*command, "--prefix", "ж"]) == 2
    assert "Received: prefix='ж'" in capsys.readouterr().err


def test_a_corpus_without_the_tags_is_refused_and_one_with_some_told(tmp_path, refused):
    tagged = write_pairs(tmp_path / "tagged.tsv", ["12", "21", "131"])
    (tmp_path / "plain.tsv").write_text("12\tab\n21\tba\n")
    plain = str(tmp_path / "plain.tsv")
    for files in ((plain, tagged), (tagged, plain)):
        said = refused(train(tmp_path, *files, 1))
        assert f"No source of {plain} begins with one of tags=<2de> <2fr>" in said
    config = make_config("translation", "rnn-luong", plain, settings=SETTINGS)
    some = PairCorpus(["<2de> 12", "12", " <2fr> 1"], ["ab", "ab", "x"], "some.tsv")
    lines = corpora_lines(config, Budget(max_steps=1), some, some)
    assert lines[-1] == "some.tsv: 1 sources begin with none of <2de> <2fr>"
