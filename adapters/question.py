"""What a backend is asked: quantities of an operation at a problem, whose logits lie in a layout."""

from __future__ import annotations

from dataclasses import dataclass, replace

from adapters.layout import Layout
from adapters.operation import Operation
from reference.problem import Problem
from reference.quantity import Quantity


@dataclass(frozen=True)
class Question:
    """One call of an operation.

    Arguments:
      operation: what is called.
      problem: the logits with target and options.
      quantities: what is wanted, all of one call: a framework may share work between them.
      layout: how the (N, K) logits lie in memory, and the target where the framework keeps that.
    """

    operation: Operation
    problem: Problem
    quantities: tuple[Quantity, ...]
    layout: Layout = Layout.CONTIGUOUS

    @property
    def quantity(self) -> Quantity:
        """The quantity of a question that asks for one, as those of scripts do.

        Raises:
          ValueError: it asks for none or several.
        """
        (quantity,) = self.quantities
        return quantity

    def about(self, *quantities: Quantity) -> Question:
        """The same question about other quantities."""
        return replace(self, quantities=quantities)
