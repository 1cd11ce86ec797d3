import pytest

from attention_zoo.zoo.errors import ConfigError
from attention_zoo.zoo.registry import Registry


def test_a_string_is_imported_when_it_is_asked_for():
    registry = Registry("error", {"data": "zoo.errors:DataError", "none": "zoo.missing:Nothing"})
    assert list(registry) == ["data", "none"]
    assert registry["data"].__name__ == "DataError"


def test_users_register_objects_and_decorate_them():
    registry = Registry("schedule")

    @registry.register("mine")
    def mine():
        return 3

    assert registry["mine"] is mine and "mine" in registry and len(registry) == 1
    assert registry.register("other", registry) is registry


def test_an_unknown_name_lists_those_there_are():
    with pytest.raises(ConfigError, match=r"no metric 'blue'\. Known: bleu, chrf"):
        Registry("metric", {"bleu": "a:b", "chrf": "a:c"})["blue"]


def test_a_name_is_not_taken_twice_but_by_the_same_definition():
    registry = Registry("model", {"rnn": "zoo.models.recurrent:rnn"})
    with pytest.raises(ConfigError, match="a model 'rnn' already"):
        registry.register("rnn", len)

    def define():
        def again():
            pass

        return again

    registry.register("again", define())
    registry.register("again", second := define())
    assert registry["again"] is second


@pytest.mark.parametrize("name", ["", " a", 3])
def test_a_name_is_a_word(name):
    with pytest.raises(ConfigError, match="by a name"):
        Registry("model").register(name, len)
