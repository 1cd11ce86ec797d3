"""Checks that runs can be compared, before any long work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ...zoo.errors import ConfigError
from ..core.config import RunConfig
from ..core.task import metric_of
from ..metrics.row_statistics import has_row_statistics

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
    """Checks that runs can be compared.

    Args:
        configs: Config of each run, by its name.
        metric: Name of the score that is compared.
        data: File to compare on; the validation corpus of the runs if `None`.
        advice: Advice at the end of an error message, by what is wrong; see `ADVICE`.

    Raises:
        ConfigError: The runs differ in task, direction, tokenization or rows, or the metric is not
            one of the task's or is not computed from rows.
    """
    first = next(iter(configs.values()))
    for what in ("task", "reverse", "bleu_tokenize"):
        values = {name: getattr(config, what) for name, config in configs.items()}
        if len(set(values.values())) > 1:
            found = ", ".join(f"{name} has {value}" for name, value in values.items())
            raise ConfigError(
                f"Runs with different {what} cannot be compared: {found}.{advice.get(what, '')}"
            )
    chosen = metric_of(replace(first, metric=metric))
    if not has_row_statistics(chosen):
        raise ConfigError(
            f"{metric} is not a score of rows, so there is no interval for it; {advice['metric']}"
        )
    validated = {config.validated_with for config in configs.values()}
    if data is None and len(validated) > 1:
        raise ConfigError(f"The runs were validated with different rows; {advice['rows']}")
