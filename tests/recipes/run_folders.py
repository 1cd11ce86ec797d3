"""What is in the folder of a run, and the line with which it is refused."""

import pytest

from attention_zoo.zoo.errors import ConfigError


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def refusal(call, *arguments):
    with pytest.raises(ConfigError) as caught:
        call(*arguments)
    message = str(caught.value)
    assert message and "\n" not in message
    return message
