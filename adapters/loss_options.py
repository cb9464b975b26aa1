"""The options of a loss that are plain numbers: every framework's losses take them as a problem has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from reference.problem import Problem


@dataclass(frozen=True, kw_only=True)
class LossOptions:
    """Numbers by the names that they have in a `Problem`, each at its default where a problem sets none."""

    normaliser: float | None = None
    label_smoothing: float = 0.0
    logit_scale: float = 1.0
    logit_softcap: float | None = None
    z_loss: float = 0.0
    focusing: float = 0.0
    positive_weight: float = 1.0

    def softcapped(self, logits: Any, tanh: Callable[[Any], Any]) -> Any:
        """c tanh(s x/c) as language models write it, by a framework's tanh; x itself without a scale s and a softcap c."""
        scaled = logits if self.logit_scale == 1.0 else self.logit_scale * logits
        return scaled if self.logit_softcap is None else self.logit_softcap * tanh(scaled / self.logit_softcap)


def numbers_of(problem: Problem) -> dict[str, Any]:
    """The numbers of a problem, by name.

    >>> numbers_of(Problem([[0.0, 1.0]], [0], "float32", z_loss=0.5))["z_loss"]
    0.5
    """
    return {number.name: getattr(problem, number.name) for number in fields(LossOptions)}
