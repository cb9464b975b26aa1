"""A sweep of the reference's own values, correctly or faithfully rounded: its judge must not find fault with one of them."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")

from reference.grades import Grade
from suites.sweep.chunk import Job, judged
from suites.sweep.compiled.tally import QUANTITIES, empty_tally
from suites.sweep.outcome import Outcome
from suites.sweep.space import Pairs, Space, Triples
from tests.planted.rounded import CorrectlyRounded, FaithfullyRounded

SPACES = [Pairs("float16", 2053), Pairs("bfloat16", 2053), Triples("float16", 2**14), Triples("bfloat16", 2**14)]
"""2000 questions of pairs and 5184 of triples each, whose landmarks tie, vanish and cancel."""


def swept(space: Space, adapter: CorrectlyRounded) -> Outcome:
    operation = next(op for op in adapter.operations() if op.label == "cross_entropy_indices")
    job = Job(adapter.name, "cpu", operation.label, (0, 1, 2), space)
    total = Outcome(tally=empty_tally(space.classes))
    for chunk in range(space.chunks):
        total = total.plus(judged(job, chunk, adapter, operation))
    return total


@pytest.mark.parametrize(
    ("adapter", "least", "worst"),
    [(CorrectlyRounded(), Grade.CORRECT, 0.5), (FaithfullyRounded(), Grade.FAITHFUL, 1.0)],
    ids=["correct", "faithful"],
)
@pytest.mark.parametrize("space", SPACES, ids=lambda s: f"{type(s).__name__.lower()}-{s.dtype}")
def test_rounded_values_raise_no_alarm(space: Space, adapter: CorrectlyRounded, least: Grade, worst: float) -> None:
    total = swept(space, adapter)
    assert total.rows == space.questions
    for q, quantity in enumerate(QUANTITIES):
        assert total.tally.grades[q].sum() == space.questions * space.classes**q
        assert total.tally.grades[q, :least].sum() == 0, (quantity, total.tally.grades[q])
        assert total.tally.worst[q] <= worst * (1 + 2.0**-30), quantity
    assert not total.tally.failing.any()
    assert np.isinf(total.tally.box).all()
