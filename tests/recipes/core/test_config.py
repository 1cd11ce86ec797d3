"""Settings: parsed by type, refused by name and value, read back as they were written."""

import dataclasses
import json

import pytest

from attention_zoo.recipes.core.config import Budget, RunConfig, describe_settings
from attention_zoo.recipes.core.make_config import check_model_options, make_config
from attention_zoo.zoo.errors import ConfigError
from attention_zoo.zoo.text.normalization import KINDS


def refusal(call, *arguments, **options):
    """The message with which something is refused: always one line."""
    with pytest.raises(ConfigError) as caught:
        call(*arguments, **options)
    message = str(caught.value)
    assert message and "\n" not in message
    return message


def test_all_kinds_of_the_tokenizer_can_be_set():
    assert [RunConfig(tokenizer=kind).tokenizer for kind in KINDS] == list(KINDS)
    with pytest.raises(ConfigError, match="tokenizer"):
        RunConfig(tokenizer="syllable")


# --set


@pytest.mark.parametrize(
    ("setting", "name", "value"),
    [
        ("seed=7", "seed", 7),
        ("vocab_size=1000", "vocab_size", 1000),
        ("learning_rate=1", "learning_rate", 1.0),
        ("learning_rate=2e-4", "learning_rate", 0.0002),
        ("clip_norm=0", "clip_norm", 0.0),
        ("average_decay=0", "average_decay", 0.0),
        ("tokenizer=unigram", "tokenizer", "unigram"),
        ("metric=chrf", "metric", "chrf"),
        ("bleu_tokenize=zh", "bleu_tokenize", "zh"),
        ("bleu_tokenize=none", "bleu_tokenize", "none"),  # sacreBLEU's name, not None
        ("checkpoint_minutes=0.5", "checkpoint_minutes", 0.5),
    ],
)
def test_a_setting_is_parsed_by_its_type(setting, name, value):
    parsed = getattr(RunConfig().with_settings([setting]), name)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.4", 0.4),
        ("12", 12),
        ("true", True),
        ("False", False),
        ("none", None),
        ("luong", "luong"),
        ("a=b", "a=b"),
        ("", ""),
    ],
)
def test_a_setting_of_the_model_is_parsed_by_its_looks(text, value):
    config = RunConfig(model_options={"x": 1, "y": 2}).with_settings([f"model.x={text}"])
    assert config.model_options == {"x": value, "y": 2}
    assert type(config.model_options["x"]) is type(value)


def test_every_setting_can_be_set_to_its_default():
    config = RunConfig()
    settings = [f"{name}={default}" for name, default, _ in describe_settings()]
    assert config.with_settings(settings) == config


def test_the_last_of_several_counts_and_the_config_itself_stays():
    config = RunConfig()
    assert config.with_settings(["seed=2", "seed=3"]).seed == 3
    assert config.seed == RunConfig().seed


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("dropout=0.1", "no setting 'dropout'"),
        ("model=rnn", "no setting 'model'"),
        ("task=dialogue", "no setting 'task'"),
        ("subwords=char", "The setting subwords is called tokenizer now"),
        ("train=a.tsv", "no setting 'train'"),
        ("seed", "--set takes name=value. Received: seed"),
        ("seed=1.5", "seed takes a value of type int. Received: seed=1.5"),
        ("seed=true", "seed takes a value of type int. Received: seed=true"),
        ("seed=", "seed takes a value of type int"),
        ("learning_rate=fast", "learning_rate takes a value of type float"),
        ("learning_rate=none", "learning_rate takes a value of type float"),
    ],
)
def test_what_cannot_be_parsed_is_refused(setting, expected):
    assert expected in refusal(RunConfig().with_settings, [setting])


def test_an_unknown_setting_is_answered_with_the_known_ones():
    message = refusal(RunConfig().with_settings, ["learning_rat=1"])
    for name, _, _ in describe_settings():
        assert name in message
    assert "model.NAME" in message


@pytest.mark.parametrize(
    "setting",
    [
        "seed=-1",
        "vocab_size=0",
        "vocab_size=2147483648",
        "character_coverage=0",
        "character_coverage=0.97",
        "character_coverage=1.5",
        "max_source_length=1",
        "max_target_length=1",
        "batch_tokens=0",
        "learning_rate=0",
        "learning_rate=-0.1",
        "learning_rate=nan",
        "learning_rate=inf",
        "warmup_steps=0",
        "label_smoothing=1",
        "label_smoothing=-0.1",
        "clip_norm=-1",
        "average_decay=1",
        "average_decay=-0.5",
        "metric=",
        "bleu_tokenize=french",
        "tokenizer=words",
        "evaluate_every=0",
        "evaluate_rows=0",
        "patience=0",
        "checkpoint_minutes=-1",
        "average_last=101",
        "beam_size=0",
        "beam_size=1001",
        "no_repeat_ngram=99999999999999",
        "length_penalty=-1",
        "length_penalty=nan",
    ],
)
def test_impossible_values_are_refused(setting):
    name, _, value = setting.partition("=")
    message = refusal(RunConfig().with_settings, [setting])
    assert name in message
    assert f"Received: {value}" in message or f"Received: {float(value)}" in message


def test_rows_to_validate_with_need_a_corpus_to_learn_from():
    for valid in ("a.tsv", "0.1"):
        assert refusal(RunConfig, valid=valid).startswith("--valid needs --train too")
    assert "a share such as 0.05" in refusal(RunConfig, train="a.tsv", valid="2")
    assert [RunConfig(train="a.tsv", valid=v).holds_out for v in (None, "0.1", "b")] == [1, 1, 0]
    assert not RunConfig().holds_out


def test_runs_are_alike_if_the_same_rows_are_held_out():
    runs = [RunConfig(train="a.tsv", valid=valid) for valid in (None, "0.1", "b.tsv")]
    runs += [RunConfig(train="c.tsv"), RunConfig(train="a.tsv", filter_rows=False), RunConfig()]
    assert len({run.validated_with for run in runs}) == len(runs)
    assert RunConfig(train="a.tsv", model="rnn").validated_with == runs[0].validated_with


# Files


def test_round_trip_through_json():
    config = RunConfig(
        model="rnn-luong",
        model_options={"dropout": 0.2, "tie_embeddings": False, "readout_units": None},
        train="训练.tsv",
        valid="b.tsv",
        reverse=True,
    ).with_settings(["learning_rate=3", "metric=exact_match"])
    written = json.dumps(config.to_dict())
    assert RunConfig.from_dict(json.loads(written)) == config


def test_a_config_of_an_earlier_version_is_read_by_the_names_of_today():
    values = RunConfig(tokenizer="bpe", bpe_dropout=0.1).to_dict()
    values["subwords"], values["subword_dropout"] = (
        values.pop(name) for name in ("tokenizer", "bpe_dropout")
    )
    del values["filter_rows"]  # there was no filter
    assert RunConfig.from_dict(values) == RunConfig(bpe_dropout=0.1)
    files = RunConfig(bpe_dropout=0.1, train="a.tsv", filter_rows=False)
    assert RunConfig.from_dict({**values, "train": "a.tsv"}) == files


def test_a_config_from_another_version_is_refused():
    values = {**RunConfig().to_dict(), "layers": 3, "heads": 2}
    message = refusal(RunConfig.from_dict, values)
    assert "heads, layers" in message


@pytest.mark.parametrize(
    ("name", "value"),
    [("model", None), ("task", ["x"]), ("model_options", None), ("train", 5)]
    + [("beam_size", 2.5), ("beam_size", "5"), ("seed", True), ("jit", 1)],
)
def test_a_value_of_another_type_is_refused(name, value):
    message = refusal(RunConfig.from_dict, {**RunConfig().to_dict(), name: value})
    assert message.startswith(f"{name} takes a value of type ")
    assert message.endswith(f"Received: {name}={value!r}")


def test_a_whole_number_is_a_float_too():
    assert RunConfig.from_dict({**RunConfig().to_dict(), "clip_norm": 1}).clip_norm == 1


def test_the_list_has_every_field_but_those_with_an_option_of_their_own():
    listed = [name for name, _, _ in describe_settings()]
    fields = [field.name for field in dataclasses.fields(RunConfig)]
    others = {"task", "model", "model_options", "train", "valid", "reverse", "parts", "stated"}
    others |= {"start_from", "keep_state"}
    assert listed == [name for name in fields if name not in others]
    assert all(description for _, _, description in describe_settings())


# Tasks and models


def test_settings_of_the_user_go_over_those_of_the_embedded_default():
    default = make_config("translation", "rnn")
    assert default.metric == "exact_match"
    changed = make_config("translation", "rnn", settings=["metric=bleu", "model.dropout=0.5"])
    assert changed.metric == "bleu"
    assert changed.model_options == {**default.model_options, "dropout": 0.5}
    own = make_config("translation", "rnn", train="a.tsv", valid="b.tsv")
    assert own.metric == RunConfig().metric
    assert own.model_options == {}


def test_unknown_tasks_and_models_are_refused_with_the_known_ones():
    assert "no task 'poetry'. Known: translation" in refusal(make_config, "poetry", "rnn")
    message = refusal(make_config, "translation", "lstm")
    assert "no model 'lstm'. Known: rnn, rnn-bahdanau" in message


# Budgets


@pytest.mark.parametrize(
    ("budget", "steps", "seconds", "spent"),
    [
        (Budget(), 10**9, 1e9, False),
        (Budget(max_steps=5), 4, 1e9, False),
        (Budget(max_steps=5), 5, 0.0, True),
        (Budget(max_minutes=2), 10**9, 119.9, False),
        (Budget(max_minutes=2), 0, 120.0, True),
        (Budget(max_steps=5, max_minutes=2), 1, 120.0, True),
        (Budget(max_steps=5, max_minutes=2), 5, 0.0, True),
    ],
)
def test_a_budget_is_spent_by_whichever_comes_first(budget, steps, seconds, spent):
    assert budget.is_spent(steps, seconds) is spent


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("epochs=10", "--max-steps or --max-minutes"),
        ("dropout=0.3", "set as model.dropout"),
        ("learning_rat=1", "Did you mean learning_rate?"),
    ],
)
def test_a_setting_that_there_is_not_names_the_one_that_is_meant(setting, words):
    assert words in refusal(RunConfig().with_settings, [setting])


def test_an_argument_that_a_model_has_not_names_those_it_has():
    config = make_config("translation", "rnn", settings=["model.dropuot=0.3"])
    message = refusal(check_model_options, config)
    assert message.startswith("rnn has no argument dropuot")
    assert "Did you mean dropout?" in message and "encoder_units" in message
