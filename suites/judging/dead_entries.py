"""Refuses entries of a claims file that speak of nothing on trial: a misspelt name would claim, excuse and limit nothing.

All modes are looked at, and operations without their limits. Entries for other versions, devices or processors are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from adapters.adapter import Adapter
from adapters.operation import Operation, modes_of
from reference.names import nearest
from reference.quantity import Quantity
from suites.inputs.cases import Case, stored_cases
from suites.judging.claims import (
    BINARY_LABELS,
    INDEX_LABELS,
    NO_CLASSES,
    Claims,
    Deviation,
    Label,
    OutOfRange,
    Scope,
    index_label,
)
from suites.judging.claims_file import ClaimsError, claims_of


def live_claims(adapter: Adapter, path: Path | None, operations: tuple[Operation, ...]) -> Claims:
    """The claims of a file for what is on trial; see `claims_of`.

    Raises:
      ClaimsError: the file is not there, or malformed, or an entry of it is dead.
    """
    claims = claims_of(adapter, path)
    try:
        check_entries(claims, operations)
    except ValueError as error:
        raise ClaimsError(f"claims file {path}: {error}") from None
    return claims


def check_entries(claims: Claims, operations: tuple[Operation, ...]) -> None:
    """Check every entry against the operations on trial.

    Raises:
      ValueError: one is dead; names the entry, what it says, what there is, and the nearest name.
    """
    whole = tuple(replace(operation, limits=(), beyond=None) for operation in operations)
    for limited in claims.limits:
        _spoken_of(limited.scope, whole)
    for computing in claims.arithmetic:
        _check_own(computing.scope, _spoken_of(computing.scope, whole))
    for claim in claims.claims:
        _check_quantities(claim.scope, tuple(claim.grades), _covered(claim.scope, whole))
    for deviation in claims.deviations:
        covered = _covered(deviation.scope, whole)
        _check_quantities(deviation.scope, deviation.quantities, covered)
        _check_cases(deviation, covered)
    for entry in claims.out_of_range:
        _check_labels(entry, _covered(entry.scope, whole))


def _spoken_of(scope: Scope, operations: tuple[Operation, ...]) -> tuple[Operation, ...]:
    """The operations that an entry speaks of: each of its names and modes must match one."""
    by_name: Callable[[Operation, str], bool] = lambda op, pattern: fnmatchcase(op.name, pattern)  # noqa: E731
    _check_each(scope, "operation", scope.operations, operations, by_name, {op.name: None for op in operations})
    named = tuple(op for op in operations if any(by_name(op, pattern) for pattern in scope.operations))
    by_mode: Callable[[Operation, str], bool] = lambda op, pattern: fnmatchcase(op.mode, pattern)  # noqa: E731
    _check_each(scope, "mode", scope.modes, named, by_mode, modes_of(named))
    return tuple(op for op in named if scope.speaks_of(op))


def _check_own(scope: Scope, operations: tuple[Operation, ...]) -> None:
    """An operation of a backend has its arithmetic there: that of a claims file is for kernels of --implementation."""
    if listed := [operation.name for operation in operations if not operation.composed]:
        said = f"{scope.entry}: operation {listed[0]!r} is one of a backend, which declares its arithmetic itself"
        raise ValueError(f"{said}; allowed: kernels of --implementation")


def _covered(scope: Scope, operations: tuple[Operation, ...]) -> tuple[Operation, ...]:
    """The same where its dtypes count: each must be taken by one of the operations."""
    spoken_of = _spoken_of(scope, operations)
    taken = dict.fromkeys(name for operation in spoken_of for name in operation.arithmetic)
    _check_each(scope, "dtype", scope.dtypes, spoken_of, lambda op, dtype: dtype in op.arithmetic, taken)
    return spoken_of


def _check_quantities(scope: Scope, quantities: tuple[Quantity, ...], operations: tuple[Operation, ...]) -> None:
    had = dict.fromkeys(quantity for operation in operations for quantity in operation.quantities)
    _check_each(scope, "quantity", quantities, operations, lambda op, quantity: quantity in op.quantities, had)


def _check_each(
    scope: Scope,
    what: str,
    given: Iterable[str],
    operations: tuple[Operation, ...],
    matches: Callable[[Operation, str], bool],
    there_is: Iterable[str],
) -> None:
    """Refuse the first of the given names that no operation matches."""
    for name in given:
        if not any(matches(operation, name) for operation in operations):
            known = list(map(str, there_is))
            raise ValueError(
                f"{scope.entry}: {what} {str(name)!r} matches none on trial; there is: {', '.join(known)}{nearest(name, known)}"
            )


def _check_cases(deviation: Deviation, operations: tuple[Operation, ...]) -> None:
    """Refuse cases that are not stored, and those that none of the operations is asked."""
    for pattern in deviation.cases:
        stored = [case for case in stored_cases() if fnmatchcase(case.name, pattern)]
        if not stored:
            names = sorted({case.name for case in stored_cases()})
            raise ValueError(
                f"{deviation.scope.entry}: case {pattern!r} matches no stored case{nearest(pattern, names)}; see suites/cases/"
            )
        if not any(_is_asked(operation, case, deviation) for operation in operations for case in stored):
            dtypes = ", ".join(deviation.scope.dtypes)
            raise ValueError(f"{deviation.scope.entry}: case {pattern!r} is asked of none of its operations in {dtypes}")


def _is_asked(operation: Operation, case: Case, deviation: Deviation) -> bool:
    in_dtype = case.problem.format.name in deviation.scope.dtypes
    return in_dtype and operation.refusal(case.problem) is None and bool(operation.asked(case.problem, deviation.quantities))


def _check_labels(entry: OutOfRange, operations: tuple[Operation, ...]) -> None:
    for label in entry.labels:
        asked = [known for operation in operations for known in labels_asked(operation)]
        if label not in asked:
            there_is = ", ".join(dict.fromkeys(map(repr, asked))) or "none"
            raise ValueError(f"{entry.scope.entry}: label {label!r} is asked of none of its operations; there is: {there_is}")


def labels_asked(operation: Operation) -> tuple[Label, ...]:
    """The labels out of range that an operation is asked; see suites/test_out_of_range.py."""
    if operation.loss.spec.binary:
        return BINARY_LABELS
    indices = operation.has_loss and not operation.probabilities
    return (*(index_label(operation, label) for label in INDEX_LABELS if indices), NO_CLASSES)
