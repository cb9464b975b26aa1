"""Checks the traits of each loss against its values, and that each table of formulas has the losses that need it.

A trait that is claimed holds for every row here; for one that is not there is a row at which it fails.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reference.bounds.family import BOUNDS
from reference.evaluation import evaluate
from reference.exact.family import ROW_LOSSES
from reference.formats import FLOAT64, Floats
from reference.loss import SPECS, Loss, Target
from reference.problem import Problem
from reference.quantity import Quantity

ROOT = Path(__file__).parent.parent
EVERY = pytest.mark.parametrize("loss", Loss)

ROWS = [[2.0, 0.0, -1.0], [-3.0, 5.0, 0.5], [0.25, 0.25, 0.25], [-9.0, 1.0, 1.0]]
TARGETS: dict[Target, list[Any]] = {
    Target.EITHER: [[0] * 4, [2] * 4, [[0.5, 0.25, 0.25]] * 4, [[0.25, 0.25, 0.25]] * 4],
    Target.INDICES: [[0] * 4, [2] * 4],
    Target.PROBABILITIES: [[[0.5, 0.25, 0.25]] * 4, [[0.25, 0.25, 0.25]] * 4],
    Target.BINARY_PROBABILITIES: [[[0.0]] * 4, [[0.375]] * 4, [[1.0]] * 4],
    Target.BINARY_CLASSES: [[[0.0]] * 4, [[1.0]] * 4],
}
DIRECTION = [1.0, -2.0, 0.5]


def problems(loss: Loss, **options: Any) -> Iterator[Problem]:
    """The rows with each target that the loss takes; a sigmoid has the first logit of each."""
    rows = np.array(ROWS)[:, : 1 if loss.spec.binary else None]
    focus = {"focusing": 2.0} if loss.spec.focused else {}
    for target in TARGETS[loss.spec.target]:
        tangent = np.broadcast_to(np.array(DIRECTION)[: rows.shape[1]], rows.shape)
        yield Problem(rows, np.array(target), FLOAT64, loss=loss, tangent=tangent, **focus, **options)


def values(problem: Problem, quantity: Quantity) -> Floats:
    return evaluate(problem, [quantity])[quantity].values.approximate()


def cross_entropy_of(problem: Problem) -> Problem:
    """Cross-entropy of the same rows and labels; of [x, 0] for a sigmoid."""
    if not problem.is_binary:
        return problem.replace(loss=Loss.CROSS_ENTROPY, focusing=0.0)
    rows, labels = np.hstack([problem.logits, 0 * problem.logits]), np.hstack([problem.target, 1 - problem.target])
    return problem.replace(loss=Loss.CROSS_ENTROPY, focusing=0.0, logits=rows, target=labels, tangent=None)


def agrees(problem: Problem, quantity: Quantity) -> bool:
    """True if a quantity is that of cross-entropy; that of x, where the row is [x, 0]."""
    other = values(cross_entropy_of(problem), quantity)
    return np.array_equal(values(problem, quantity), other if quantity is Quantity.LOSS else other[:, : problem.num_classes])


def test_every_loss_has_its_traits() -> None:
    assert list(SPECS) == list(Loss)
    assert all(loss.spec is SPECS[loss] for loss in Loss)


@EVERY
def test_convex(loss: Loss) -> None:
    bent = [(p.tangent * values(p, Quantity.HVP)).sum(axis=1) for p in problems(loss)]
    assert loss.spec.convex == bool((np.array(bent) >= 0).all())


@EVERY
def test_shift_invariant(loss: Loss) -> None:
    same = [
        np.array_equal(values(p, Quantity.LOSS), values(p.replace(logits=p.logits + 8.0), Quantity.LOSS))
        for p in problems(loss)
    ]
    assert loss.spec.shift_invariant == all(same)


@EVERY
def test_nonnegative(loss: Loss) -> None:
    assert loss.spec.nonnegative == all((values(p, Quantity.LOSS) >= 0).all() for p in problems(loss))


@EVERY
def test_weighted(loss: Loss) -> None:
    assert loss.spec.weighted == all(agrees(p, Quantity.GRADIENT) for p in problems(loss))


@EVERY
def test_adds_label_entropy(loss: Loss) -> None:
    same = all(agrees(p, Quantity.LOSS) for p in problems(loss))
    assert loss.spec.adds_label_entropy == (loss.spec.weighted and not same)


@EVERY
def test_is_log_probability(loss: Loss) -> None:
    of_indices = [p for p in problems(loss) if not p.has_probabilities]
    assert loss.spec.takes_indices == bool(of_indices)
    assert loss.spec.is_log_probability == (bool(of_indices) and all(agrees(p, Quantity.LOSS) for p in of_indices))


@EVERY
def test_counts_unlabelled(loss: Loss) -> None:
    if loss.spec.binary:
        assert not loss.spec.counts_unlabelled  # a label of 0 is one of the other class
        return
    unlabelled = np.zeros((4, 3)) if loss.spec.takes_probabilities else np.full(4, -100)
    row = next(problems(loss)).replace(target=unlabelled)
    assert loss.spec.counts_unlabelled == bool((values(row, Quantity.LOSS) != 0).any())


@EVERY
def test_focused(loss: Loss) -> None:
    problem = next(problems(loss))
    if loss.spec.focused:
        assert problem.replace(focusing=5.0).focusing == 5.0
        return
    with pytest.raises(ValueError, match="focusing is"):
        problem.replace(focusing=5.0)


@EVERY
def test_target(loss: Loss) -> None:
    spec = loss.spec
    assert (spec.takes_indices, spec.takes_probabilities, spec.binary) == {
        Target.EITHER: (True, True, False),
        Target.INDICES: (True, False, False),
        Target.PROBABILITIES: (False, True, False),
        Target.BINARY_PROBABILITIES: (False, True, True),
        Target.BINARY_CLASSES: (False, True, True),
    }[spec.target]


# ---------------------------------------------------------------------------------------------------------------------
# The tables of formulas, and what asks which loss it is.


def has_own_formulas(loss: Loss) -> bool:
    """True if some problem of the loss is no weighted log-probability, with the options that it takes."""
    for options in ({}, {"z_loss": 0.5}, {"logit_softcap": 2.0}):
        try:
            if not next(problems(loss, **options)).is_weighted:
                return True
        except ValueError:
            assert options
    return False


@EVERY
def test_every_table_has_the_loss(loss: Loss) -> None:
    assert loss in BOUNDS, f"{loss} is missing in BOUNDS of reference/bounds/family.py"
    assert (loss in ROW_LOSSES) >= has_own_formulas(loss), f"{loss} is missing in ROW_LOSSES of reference/exact/family.py"
    assert (loss in ROW_LOSSES) <= has_own_formulas(loss), (
        f"{loss} is never looked up in ROW_LOSSES of reference/exact/family.py"
    )


def is_named(node: ast.AST) -> bool:
    """True for Loss.FOCAL and the like."""
    return isinstance(node, ast.Attribute) and ast.unparse(node.value) == "Loss" and node.attr in Loss.__members__


def asks_by_name(tree: ast.Module) -> Iterator[str]:
    """Comparisons, collections and cases that name members of Loss; the keys of a table are none."""
    for node in ast.walk(tree):
        asks = isinstance(node, ast.Compare | ast.Tuple | ast.List | ast.Set | ast.MatchValue)
        if asks and any(map(is_named, ast.iter_child_nodes(node))):
            yield ast.unparse(node)


def test_no_code_asks_a_loss_for_its_name() -> None:
    """The table of options says which losses take each; nothing else may name one."""
    rooms, table = ("reference", "adapters", "suites"), ROOT / "reference" / "options.py"
    files = [path for room in rooms for path in sorted((ROOT / room).rglob("*.py")) if path != table]
    found = [f"{path.relative_to(ROOT)}: {asked}" for path in files for asked in asks_by_name(ast.parse(path.read_text()))]
    assert not found, "ask a trait of reference/loss.py instead: " + "; ".join(found)


@pytest.mark.parametrize(
    "asked", ["x.loss is Loss.FOCAL", "FOCAL = (Loss.FOCAL, y)", "x in {Loss.FOCAL}", "match x:\n case Loss.FOCAL: y"]
)
def test_a_question_for_a_name_is_found(asked: str) -> None:
    assert list(asks_by_name(ast.parse(asked)))
    assert not list(asks_by_name(ast.parse("table = {Loss.FOCAL: f}; f(loss=Loss.FOCAL)")))
