"""Parts that users bring: where they come from, and that no code runs that nobody gave."""

import sys
from pathlib import Path

import pytest

from attention_zoo.recipes.core import parts
from attention_zoo.recipes.core.config import RunConfig
from attention_zoo.recipes.core.make_config import make_config
from attention_zoo.recipes.core.model import entry_of, model_of
from attention_zoo.recipes.core.parts import Parts, find_part, import_file, load_object, origin_of
from attention_zoo.recipes.core.task import TASKS, Task, metric_of, parse_of, register_task, task
from attention_zoo.recipes.metrics.metric import METRICS, Metric, as_metric, register_metric
from attention_zoo.zoo.errors import ConfigError


def refusal(call, *arguments, **options):
    """The message with which something is refused: always one line."""
    with pytest.raises(ConfigError) as caught:
        call(*arguments, **options)
    message = str(caught.value)
    assert message and "\n" not in message
    return message


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a file into a folder that is not on the path, and forgets what was imported."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(parts, "_modules_of_files", {})
    monkeypatch.setattr(parts, "_added_folders", set())
    before = set(sys.modules)

    def make(name, text):
        path = tmp_path / "elsewhere" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    yield make
    for name in set(sys.modules) - before:
        del sys.modules[name]


TASK = """
from attention_zoo.recipes import Task, run
from {neighbor} import first

def corpora(seed):
    raise NotImplementedError

TASK = Task(name="mine", description="", default_corpora=corpora, default_description="",
            metrics=("bleu", first))
run(TASK)  # does nothing here
"""


def test_a_file_is_imported_once_with_what_lies_beside_it(write):
    write("neighbor_of_mine.py", "def first(predictions, references):\n    return 1.0\n")
    path = write("my_own_task.py", TASK.format(neighbor="neighbor_of_mine"))
    mine = task(str(path))
    assert mine.name == "mine" and task(f"{path}:TASK") is mine
    assert origin_of(mine) == f"{path}:TASK"
    assert origin_of(mine.metric("first").function) == f"{path.parent}/neighbor_of_mine.py:first"
    assert find_part("task", "mine", f"{path}:TASK", "--task") is mine


def test_a_file_does_not_take_the_name_of_a_module(write):
    path = write("json.py", "VALUE = 3\n")
    assert load_object(f"{path}:VALUE") == 3
    assert sys.modules["json"].loads("3") == 3


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("a = 1\nb = a / 0\n", "b", ".py:2 fails with ZeroDivisionError: division by zero"),
        ("a = (\n", "a", "fails with SyntaxError"),
        ("a = 1\n", "b", "has no b"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(write, text, name, expected):
    assert expected in refusal(load_object, f"{write('broken_one.py', text)}:{name}")
    assert "broken_one" not in sys.modules or name == "b"


def test_what_is_not_there_is_refused(tmp_path):
    assert "none.py does not exist" in refusal(load_object, "none.py:A")
    assert "no module 'no_such_module' installed" in refusal(load_object, "no_such_module:A")
    assert "Expected FILE:NAME" in refusal(load_object, "none.py")
    assert "is no task, but module" in refusal(task, "attention_zoo.recipes.core:task")


def test_what_is_of_the_package_has_no_origin():
    assert origin_of(task("translation")) is None
    assert origin_of(Task) is None
    script = Path(parts.__file__).parents[1] / "translation.py"
    assert task(str(script)) is task("translation")


def test_code_that_a_run_names_does_not_run_by_itself(write):
    path = write("never_imported.py", "raise AssertionError\n")
    origin = f"{path}:TASK"
    told = refusal(find_part, "task", "mine", origin, "--task")
    assert told == (
        f"The task mine of this run is in {path}, whose code runs only if you give it: "
        f"--task {path}"
    )
    import_file(write("given_by_the_user.py", ""))  # which puts its folder on the path
    assert refusal(find_part, "task", "mine", origin, "--task") == told
    path.unlink()
    told = refusal(find_part, "task", "mine", origin, "--task")
    assert f"was in {path}, which is gone" in told and "--task FILE" in told
    told = refusal(find_part, "class", "A", "no_such_module:A", "--model")
    assert "was in the module no_such_module, which is not installed here" in told
    assert "an interactive session" in refusal(find_part, "task", "m", "__main__:gone", "--task")


def test_a_module_on_the_path_is_found_by_its_file(write):
    path = write("on_the_path.py", "def f(): pass\n")
    sys.path.append(str(path.parent))
    assert find_part("metric", "f", f"{path}:f", "--task").__name__ == "f"
    assert origin_of(sys.modules["on_the_path"].f) == f"{path}:f"


# Names and objects


def test_a_task_is_registered_under_its_name(monkeypatch):
    monkeypatch.setattr(TASKS, "_entries", dict(TASKS._entries))
    monkeypatch.setattr(TASKS, "_origins", dict(TASKS._origins))
    mine = Task("mine", "", lambda seed: None, "")
    assert register_task(mine) is mine and task("mine") is mine
    again = Task("mine", "again", lambda seed: None, "")
    assert register_task(again) is again and task("mine") is again
    assert "a task 'translation' already" in refusal(
        register_task, Task("translation", "", lambda seed: None, "")
    )


def own(vocab_size, units=3):
    """Makes nothing.

    At all.
    """
    return vocab_size, units


def test_a_model_is_a_name_a_file_or_an_object(write):
    path = write("models_of_mine.py", "def small(vocab_size, units=2):\n    return units\n")
    name, entry = model_of(f"{path}:small")
    assert name == "small" and entry.instance(vocab_size=9, units=4) == 4
    assert entry.defaults() == {"units": 2}
    assert model_of("rnn") == ("rnn", None)
    name, entry = model_of(own)
    assert (name, entry.description) == ("own", "Makes nothing.")
    assert entry.instance(vocab_size=9) == (9, 3)
    assert "no model 'lstm'. Known: rnn," in refusal(model_of, "lstm")
    config = make_config("translation", own)
    assert config.model == "own" and entry_of(config).instance(1) == (1, 3)
    told = refusal(entry_of, RunConfig(model="own", parts=Parts(origins={"model": "/a/b.py:own"})))
    assert "The model own of this run was in /a/b.py" in told


def longer(predictions, references):
    return 100 * sum(len(p) > len(r[0]) for p, r in zip(predictions, references, strict=True))


@pytest.fixture
def metrics(monkeypatch):
    monkeypatch.setattr(METRICS, "_entries", dict(METRICS._entries))
    monkeypatch.setattr(METRICS, "_origins", dict(METRICS._origins))


def test_metrics_are_names_functions_and_objects(metrics):
    assert as_metric("perplexity").is_better(1.0, than=2.0)
    assert as_metric(longer).is_better(2.0, than=1.0)
    assert as_metric(longer).name == "longer"
    with pytest.raises(ConfigError, match=r"no metric 'blue'\. Known: bleu"):
        Task("mine", "", lambda seed: None, "", metrics=("blue",))

    @register_metric("shorter", higher_is_better=False, tasks=("translation",))
    def shorter(predictions, references):
        return 1.0

    config = make_config("translation", "rnn", settings=["metric=shorter"])
    assert metric_of(config).function is shorter and not metric_of(config).higher_is_better
    for name in ("shorter", "bleu", "rouge", ""):
        told = refusal(make_config, "summarization", "rnn", settings={"metric": name})
        assert "metric" in told
    config = make_config("dialogue", "rnn", settings={"metric": longer})
    assert config.metric == "longer" and metric_of(config).function is longer
    assert "a metric 'bleu' already" in refusal(register_metric, "bleu", longer)
    assert "bleu" in METRICS and METRICS["bleu"].function is None


@pytest.mark.parametrize("value", ["high", float("nan"), [1.0]])
def test_a_metric_is_a_number(value):
    metric = Metric("mine", lambda predictions, references: value)
    assert "The metric mine returns a number" in refusal(metric.value, ["a"], [("a",)])


def test_scores_without_the_metric_are_told():
    mine = Task("mine", "", lambda seed: None, "", metrics=("rouge1", longer))
    config = RunConfig("mine", metric="rouge1", parts=Parts(mine))
    assert "have no rouge1, which is its metric" in refusal(mine.score, ["a"], [("a",)], config)
    config = RunConfig("mine", metric="longer", parts=Parts(mine))
    assert mine.score(["ab"], [("a",)], config).values["longer"] == 100


def test_lines_are_parsed_without_the_task_of_a_run():
    """A copy of a recipe is read by a function of the package, which is installed."""
    origins = {"task": "/gone.py:TASK"}
    config = RunConfig("mine", parts=Parts(origins=origins))
    assert parse_of(config)("a line") == "a line"
    parse = "attention_zoo.recipes.data.question_files:parse_question"
    config = RunConfig("mine", parts=Parts(origins={**origins, "parse": parse}))
    assert parse_of(config)("c\tq") == {"context": "c", "question": "q"}
    config = RunConfig("mine", parts=Parts(origins={**origins, "parse": "/gone.py:parse"}))
    assert "--task" in refusal(parse_of, config)


def test_options_of_the_embedded_default_are_by_the_name_of_the_model():
    assert make_config("translation", "rnn-luong").model_options["decoder_units"] == 128
    assert make_config("translation", "pointer-generator").model_options["decoder_units"] == 128
    assert make_config("translation", "transformer-big").model_options == {"dropout": 0.0}
    assert make_config("question-answering", "memory-network").model_options == {"dropout": 0.0}
