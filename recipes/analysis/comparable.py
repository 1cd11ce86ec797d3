"""Checks that runs can be compared, before any long work."""

from __future__ import annotations

from collections.abc import Mapping

from ...zoo.errors import ConfigError
from ..core.config import RunConfig
from ..core.task import task
from ..metrics.row_scores import NOT_OF_ROWS

# What helps, in the options of `compare`.
ADVICE = {
    "bleu_tokenize": " Give --tokenize.",
    "rows": "give --data.",
    "metric": "choose another --metric.",
}


def check_comparable(
    configs: Mapping[str, RunConfig],
    metric: str,
    data: str | None = None,
    advice: Mapping[str, str] = ADVICE,
) -> None:
    """Refuses runs that cannot be compared.

    Args:
        configs: of the runs, by name.
        metric: name of the score that is compared.
        data: the file to compare on; what the runs were validated with if `None`.
        advice: what to do about it, by what is wrong, as `ADVICE` has it.

    Raises:
        ConfigError: tasks, directions, tokenizations or rows are not the same, or the metric is
            none of the task's or not made of rows.
    """
    first = next(iter(configs.values()))
    for what in ("task", "reverse", "bleu_tokenize"):
        values = {name: getattr(config, what) for name, config in configs.items()}
        if len(set(values.values())) > 1:
            told = ", ".join(f"{name} has {value}" for name, value in values.items())
            raise ConfigError(
                f"Runs with different {what} cannot be compared: {told}.{advice.get(what, '')}"
            )
    known = task(first.task).metrics
    if metric not in known:
        raise ConfigError(
            f"--metric of {first.task} is one of {', '.join(known)}. Received: {metric}"
        )
    if metric in NOT_OF_ROWS:
        raise ConfigError(
            f"{metric} is not a score of rows, so there is no interval for it; {advice['metric']}"
        )
    validated = {config.validated_with for config in configs.values()}
    if data is None and len(validated) > 1:
        raise ConfigError(f"The runs were validated with different rows; {advice['rows']}")
