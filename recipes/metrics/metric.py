"""Metrics by name: what decides which weights are best, and which way it is better."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ...zoo.errors import ConfigError
from ...zoo.registry import Registry
from .error_rate import token_error_rate

References = Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class Metric:
    """A score of what a model writes.

    Args:
        name: The name it is chosen, reported and saved by.
        function: `function(predictions, references)` returns a number, or `None` where there is
            no value; `references` has for each prediction a tuple of the texts that are right. The
            function is left out where the scores of the task have the metric already.
        higher_is_better: The direction.
        tasks: Names of the tasks that can choose it; all tasks if empty.
        mean_of_rows: The value of several rows is the mean of the values of each of them, so that
            `compare` can give its interval.

    Example:

    >>> def same_length(predictions, references):
    ...     equal = [len(p) == len(r[0]) for p, r in zip(predictions, references)]
    ...     return 100 * sum(equal) / len(equal)
    >>> Metric("same_length", same_length, mean_of_rows=True)
    """

    name: str
    function: Callable[[Sequence[str], References], float | None] | None = None
    higher_is_better: bool = True
    tasks: tuple[str, ...] = ()
    mean_of_rows: bool = False

    def is_better(self, value: float | None, than: float | None) -> bool:
        """Compares two values of the metric; a missing value is never better.

        Args:
            value: A value, or `None` where there is none.
            than: The value to compare with, or `None`.

        Returns:
            True if `value` is better.
        """
        if value is None or than is None:
            return value is not None
        return value > than if self.higher_is_better else value < than

    def value(self, predictions: Sequence[str], references: References) -> float | None:
        """The value of the metric's own function; `None` if it has none.

        Args:
            predictions: Outputs of the model.
            references: For each prediction all texts that are right.

        Returns:
            A finite number or `None`.

        Raises:
            ConfigError: The function returns something else than a finite number or `None`.
        """
        assert self.function is not None
        found: Any = self.function(predictions, references)
        if found is None:
            return None
        try:
            number = float(found)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            raise ConfigError(f"The metric {self.name} returns a number. Received: {found!r}")
        return number


PERPLEXITIES = ("perplexity", "word_perplexity")
METRICS = Registry(
    "metric",
    {
        **{
            name: Metric(name)
            for name in ("bleu", "chrf", "exact_match", "rouge1", "rouge2", "rougeL", "rougeLsum")
            + ("f1", "distinct_1", "distinct_2")
        },
        **{name: Metric(name, higher_is_better=False) for name in PERPLEXITIES},
        "token_error_rate": Metric("token_error_rate", token_error_rate, higher_is_better=False),
    },
)


def register_metric(
    name: str,
    function: Callable | None = None,
    *,
    higher_is_better: bool = True,
    tasks: Sequence[str] = (),
    mean_of_rows: bool = False,
) -> Any:
    """Registers a metric, which `--set metric=NAME` then chooses.

    Args:
        name: The name.
        function: As of `Metric`; without it, returns a decorator.
        higher_is_better: The direction.
        tasks: Names of the tasks that can choose it; all tasks if empty.
        mean_of_rows: As of `Metric`.

    Returns:
        The function, or a decorator that returns the function.

    Raises:
        ConfigError: The name is that of another metric.

    Example:

    >>> @attention_zoo.register_metric("same_length")
    ... def same_length(predictions, references):
    ...     ...
    """
    if function is None:
        return lambda decorated: register_metric(
            name,
            decorated,
            higher_is_better=higher_is_better,
            tasks=tasks,
            mean_of_rows=mean_of_rows,
        )
    metric = Metric(name, function, higher_is_better, tuple(tasks), mean_of_rows)
    METRICS.register(name, metric, origin=function)
    return function


def as_metric(value: str | Metric | Callable) -> Metric:
    """The metric of a name, a function or a metric.

    Raises:
        ConfigError: There is no metric of that name.
    """
    if isinstance(value, Metric):
        return value
    if isinstance(value, str):
        return METRICS[value]
    return Metric(value.__name__, value)
