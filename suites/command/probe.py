"""The start-up probe: a few plain calls of a user's kernel, which show what it seems not to do before a run fails for it.

It judges no numbers itself, only exceptions, shapes and dtypes; what it was answered is kept, and suites/test_probed.py judges
that. `suites.command.proposal` makes of what it finds what a user reads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from adapters.adapter import Adapter, Observed, told
from adapters.limits import LEAST_MAX_CLASSES, TARGETS, WIDE, Limit
from adapters.operation import Operation
from adapters.question import Question, shape_of
from reference.evaluation import evaluate
from reference.formats import FORMATS, Format
from reference.linear import identity_layer
from reference.options import OPTIONS, Array, Axes, Choice, Label, Option
from reference.problem import Problem
from reference.quantity import LAYER_GRADIENTS, Quantity
from reference.reduction import Reduction
from suites.inputs.hazards import LARGE_CLASSES
from suites.judging.heard import Heard

REASON = "seen by the start-up probe"
"""Of the limits that it finds."""

MOST_SPENT = 12
"""What calls that end their process may cost before the probe stops, as `Adapter.spent` counts."""

_ROWS = 2
"""Rows of most calls."""

_STEPS = (3, 2, 1, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192)
"""Numbers of classes that are tried until one is taken; each power of two up to 128, and three times that."""


class StoppedError(Exception):
    """Too many calls ended their process."""


@dataclass(frozen=True)
class Answer:
    """What a call came to: None, or what went wrong.

    It `is_defect` where no limit could say it, as of a wrong shape; it `is_less` where the dtype is narrower than that of the
    logits: the kernel has cast them, so it does not do this dtype, whatever the target.
    """

    error: str | None = None
    is_defect: bool = False
    is_less: bool = False


@dataclass(frozen=True)
class Finding:
    """Something that the kernel seems not to do, why, and the keys of a limit that would say so; none if no limit could."""

    said: str
    why: str
    keys: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Cell:
    """An operation in a format."""

    operation: Operation
    format: Format

    def __str__(self) -> str:
        mode = "" if self.operation.label == self.operation.name else f" {self.operation.mode}"
        return f"{self.operation.target} in {self.format.name}{mode}"

    def problem(self, classes: int, rows: int = _ROWS, **changes: Any) -> Problem:
        """A plain problem: logits 0, 0.5 and 1 in turn, of a layer's weight if it takes one; targets among the first two."""
        logits = np.tile(np.arange(classes) % 3 / 2.0, (rows, 1))
        indices = np.arange(rows) % min(classes, 2)
        if self.operation.is_layer:
            return Problem.of_layer(identity_layer(logits, np.ones(rows), bias=False), indices, self.format, **changes)
        target = 1.0 * (np.arange(classes) == indices[:, None]) if self.operation.probabilities else indices
        return Problem(logits, target, self.format, **({"tangent": logits} | changes))

    @property
    def gradients(self) -> list[Quantity]:
        """The gradients by what is given to the kernel, the target excepted."""
        return [each for each in (Quantity.GRADIENT, *LAYER_GRADIENTS) if each in self.operation.quantities]


Answers = Mapping[Cell, Answer]


@dataclass
class Probe:
    """Makes the calls, and remembers what was seen of each on the way."""

    adapter: Adapter
    calls: int = 0
    changed: set[str] = field(default_factory=set)
    returned: dict[Quantity, dict[str, set[str]]] = field(default_factory=dict)
    """The dtypes in which a quantity was returned, by the dtype of the logits."""
    heard: list[Heard] = field(default_factory=list)
    """What was answered, exceptions apart."""

    def ask(self, cell: Cell, problem: Problem, *quantities: Quantity) -> Answer:
        """What quantities of a problem come to.

        Raises:
          StoppedError: too many calls ended their process.
        """
        self.calls += 1
        question = Question(cell.operation, problem, quantities)
        try:
            observed = self.adapter.observe(question)
        except NotImplementedError as error:
            return Answer(told(error))
        if self.adapter.spent >= MOST_SPENT:
            raise StoppedError(observed.error)
        self.changed.update(observed.changed)
        if observed.error is not None:
            return Answer(observed.error, is_defect=observed.malformed)
        self.heard.append(Heard(question, observed))
        wrong = (self._wrong(observed, quantity, question.problem) for quantity in quantities)
        return next((answer for answer in wrong if answer.error is not None), Answer())

    def _wrong(self, observed: Observed, quantity: Quantity, problem: Problem) -> Answer:
        """What is wrong with the shape or the dtype of a quantity; a wider dtype is for `_returns`."""
        if missing := [what for what in ("values", "dtypes") if quantity not in getattr(observed, what)]:
            return Answer(f"observe() returned no {quantity} in {' and '.join(missing)}", is_defect=True)
        values, dtype, asked = observed.values[quantity], observed.dtypes[quantity], problem.format
        if values.shape != (shape := shape_of(quantity, problem)):
            return Answer(f"returned {quantity} of shape {values.shape}, asked for {shape}", is_defect=True)
        if dtype not in FORMATS or FORMATS[dtype].bits < asked.bits:
            known = dtype in FORMATS
            return Answer(f"returned {quantity} as {dtype}, asked for {asked.name}", is_defect=not known, is_less=known)
        self.returned.setdefault(quantity, {}).setdefault(asked.name, set()).add(dtype)
        return Answer()


def findings(probe: Probe, operations: Iterable[Operation], formats: tuple[Format, ...]) -> Iterator[Finding]:
    """What is found, one after another; ends where too many calls ended their process.

    Each operation is asked in each format that its limits leave; what limits take away is asked nowhere.
    """
    cells = [Cell(op, fmt) for op in operations for fmt in _narrow_last(formats) if fmt.name in op.arithmetic]
    try:
        yield from _all_findings(probe, cells)
    except StoppedError as error:
        yield Finding("too many calls ended their process, so the probe stopped", str(error))


def _narrow_last(formats: tuple[Format, ...]) -> list[Format]:
    """float32 first: a kernel that takes one format takes that."""
    return sorted(formats, key=lambda fmt: fmt.name != WIDE[0])


def _all_findings(probe: Probe, cells: list[Cell]) -> Iterator[Finding]:
    if not cells:
        return
    classes, error = _classes_taken(probe, cells)
    if classes is None:
        reduction, cells = _reduced(probe, cells)
        if reduction is None:
            yield Finding("every call failed", error)
            return
        yield Finding("no losses of rows", error, {"reduces": reduction.value})
        classes, _ = _classes_taken(probe, cells)
        assert classes is not None  # it has answered just now
    taken = {cell: probe.ask(cell, cell.problem(classes), Quantity.LOSS) for cell in cells}
    less = _less_than_given(taken)
    live = [cell for cell, answer in taken.items() if answer.error is None and cell.format.name not in less]
    yield from _cells_gone(taken)
    if not live:
        return
    yield from _derivatives(probe, live, classes)
    yield from _options(probe, live, classes)
    yield from _numbers_of_classes(probe, live, classes)
    yield from _logits(probe, live, classes)
    yield from _overwritten(probe, live)
    yield from _returns(probe, live)


def _steps(cells: list[Cell]) -> list[int]:
    """The numbers of classes to try, within the limits that are declared."""
    step = math.lcm(*(cell.operation.classes_multiple for cell in cells))
    most = min((cell.operation.max_classes or math.inf for cell in cells), default=math.inf)
    return [step * factor for factor in _STEPS if step * factor <= most]


def _classes_taken(probe: Probe, cells: list[Cell]) -> tuple[int | None, str]:
    """The first number of classes at which a loss was returned; None, and what was raised first, if there is none."""
    first = ""
    for classes in _steps(cells):
        for cell in cells:
            answer = probe.ask(cell, cell.problem(classes), Quantity.LOSS)
            if answer.error is None:
                return classes, ""
            first = first or answer.error
    return None, first


def _reduced(probe: Probe, cells: list[Cell]) -> tuple[Reduction | None, list[Cell]]:
    """The reduction that a kernel always takes, by the nearer of the two, and its cells so limited; None if it takes none."""
    given = [cell for cell in cells if "reduction" in cell.operation.options and not cell.operation.per_row]
    limited = {
        reduction: [_reducing(probe, cell, reduction) for cell in given] for reduction in (Reduction.MEAN, Reduction.SUM)
    }
    classes, _ = _classes_taken(probe, limited[Reduction.MEAN])
    if classes is None:
        return None, []
    heard = probe.heard[-1]
    observed, asked = float(heard.observed.values[Quantity.LOSS]), heard.question.problem
    mean = float(evaluate(asked, (Quantity.LOSS,))[Quantity.LOSS].values.approximate())
    is_sum = abs(observed - mean * asked.num_rows) < abs(observed - mean)
    reduction = Reduction.SUM if is_sum else Reduction.MEAN
    return reduction, limited[reduction]


def _reducing(probe: Probe, cell: Cell, reduction: Reduction) -> Cell:
    limit = Limit(REASON, reduces=reduction.value)
    return replace(cell, operation=cell.operation.within((limit,), probe.adapter.device))


def _each(cells: list[Cell], ask: Callable[[Cell], Answer]) -> dict[Cell, Answer]:
    """The answers of cells; of the first alone where each costs a compilation, unless that fails: others may not."""
    answers: dict[Cell, Answer] = {}
    for cell in cells:
        answers[cell] = ask(cell)
        if cell.operation.few_shapes and answers[cell].error is None:
            break
    return answers


def _failed(answers: Answers) -> dict[Cell, str]:
    return {cell: answer.error for cell, answer in answers.items() if answer.error is not None}


def _is_gone(answers: Answers) -> bool:
    """True if a limit may say it: no call succeeded, and none failed in a way that is a defect."""
    return bool(answers) and all(answer.error is not None and not answer.is_defect for answer in answers.values())


def _of_all(answers: Answers, said: str, keys: Mapping[str, Any]) -> Iterator[Finding]:
    """What is found of calls that should all succeed: the limit if all fail, else where some do."""
    if not (failed := _failed(answers)):
        return
    where = "" if len(failed) == len(answers) else f" for {', '.join(map(str, failed))}"
    yield Finding(f"{said}{where}", next(iter(failed.values())), keys if _is_gone(answers) else {})


def _gone_by(taken: Answers, axis: Callable[[Cell], str]) -> dict[str, str]:
    """The values of an axis at which every call failed, each with the first error."""
    values = dict.fromkeys(map(axis, taken))
    at = {value: {cell: answer for cell, answer in taken.items() if axis(cell) == value} for value in values}
    gone = {value: answers for value, answers in at.items() if _is_gone(answers)}
    return {value: next(iter(_failed(answers).values())) for value, answers in gone.items()}


def _less_than_given(taken: Answers) -> dict[str, str]:
    """The dtypes for which less is returned than was given, each with how."""
    return {cell.format.name: answer.error for cell, answer in taken.items() if answer.error is not None and answer.is_less}


def _cells_gone(taken: Answers) -> Iterator[Finding]:
    """Targets and dtypes that are not taken; and what is not taken in one of its dtypes alone."""
    targets = _gone_by(taken, lambda cell: cell.operation.target)
    dtypes = _gone_by(taken, lambda cell: cell.format.name) | _less_than_given(taken)
    known = {name for cell in taken for name in cell.operation.arithmetic}
    for target, why in targets.items():
        yield Finding(f"no {target}", why, {"targets": [name for name in TARGETS if name not in targets]})
    for dtype, why in dtypes.items():
        yield Finding(f"not in {dtype}", why, {"dtypes": [name for name in FORMATS if name in known - set(dtypes)]})
    for cell, why in _failed(taken).items():
        if cell.operation.target not in targets and cell.format.name not in dtypes:
            yield Finding(f"no {cell}", why)


def _derivatives(probe: Probe, live: list[Cell], classes: int) -> Iterator[Finding]:
    """The order up to which the kernel is differentiable, and whether by its target."""
    having = [cell for cell in live if cell.gradients]
    both = _each(having, lambda cell: probe.ask(cell, cell.problem(classes), *cell.gradients, *_twice(cell)[:1]))
    first = both | {cell: probe.ask(cell, cell.problem(classes), *cell.gradients) for cell in _failed(both)}
    yield from _of_all(first, "no first derivative", {"derivatives": 0})
    once = {cell: both[cell] for cell in both if first[cell].error is None}
    labelled = [cell for cell in once if Quantity.TARGET_GRADIENT in cell.operation.quantities]
    by_target = _each(labelled, lambda cell: probe.ask(cell, cell.problem(classes), Quantity.TARGET_GRADIENT))
    yield from _of_all(by_target, "no gradient by the target", {"fixed_target": True})
    second = once | {cell: _second(probe, cell, cell.problem(classes)) for cell in _failed(once)}
    yield from _of_all(second, "no second derivative", {"derivatives": 1})


def _twice(cell: Cell) -> list[Quantity]:
    """The second derivatives that are asked of it, the one that is cheaper first."""
    return [quantity for quantity in (Quantity.HVP, Quantity.HESSIAN) if quantity in cell.operation.quantities]


def _second(probe: Probe, cell: Cell, problem: Problem) -> Answer:
    """Each second derivative alone, after they failed with the gradient in one call."""
    return _one_of([probe.ask(cell, problem, quantity) for quantity in _twice(cell)])


def _one_of(answers: list[Answer]) -> Answer:
    """The first failure among calls; a defect, which no limit says, where others did not fail."""
    failed = [answer for answer in answers if answer.error is not None]
    if not failed:
        return Answer()
    partly = len(failed) < len(answers) or any(answer.is_defect for answer in failed)
    return replace(failed[0], is_defect=partly)


def _options(probe: Probe, live: list[Cell], classes: int) -> Iterator[Finding]:
    """Options that are not taken."""
    names = [name for name in OPTIONS if any(name in cell.operation.options for cell in live)]
    answers = {name: _option(probe, live, classes, OPTIONS[name]) for name in names}
    left = [name for name in names if not _is_gone(answers[name])]
    for name in names:
        yield from _of_all(answers[name], f"no {name}", {"options": left})


def _option(probe: Probe, live: list[Cell], classes: int, option: Option) -> Answers:
    having = [cell for cell in live if option.name in cell.operation.options]
    given: list[dict[str, Any]] = [{option.name: value} for value in _values(option, classes)]

    def ask(cell: Cell) -> Answer:
        answers = _losses(probe, cell, [cell.problem(classes, **keys) for keys in given])
        # The loss of each row, which was right, whatever reduction is asked for: the option is not taken.
        return _one_of([replace(answer, is_defect=answer.is_defect and option.name != "reduction") for answer in answers])

    return _each(having, ask)


def _losses(probe: Probe, cell: Cell, problems: list[Problem]) -> list[Answer]:
    return [probe.ask(cell, problem, Quantity.LOSS) for problem in problems]


def _values(option: Option, classes: int) -> list[Any]:
    """Values to ask an option at: every choice, and of numbers the first that is not the default."""
    if isinstance(option.kind, Array):
        return [np.full(classes if option.kind.axes is Axes.CLASSES else _ROWS, 0.5)]
    if isinstance(option.kind, Label):
        return [0]  # the class of the first row
    given = [value for value in option.drawn if option.is_given(value)]
    return given if isinstance(option.kind, Choice) else given[:1]


def _numbers_of_classes(probe: Probe, live: list[Cell], taken: int) -> Iterator[Finding]:
    """What K must be a multiple of, and the largest."""
    step = math.lcm(*(cell.operation.classes_multiple for cell in live))
    if taken != step * _STEPS[0]:
        works = {classes: _any(probe, live, classes) for classes in _steps(live)}
        failed = {classes: answer for classes, answer in works.items() if answer.error is not None}
        divisor = math.gcd(*(classes for classes in works if classes not in failed))
        is_multiple = divisor > step and not any(answer.is_defect for answer in failed.values())
        is_multiple &= all(classes % divisor for classes in failed)
        said = f"K not a multiple of {divisor}" if is_multiple else f"K of {', '.join(map(str, sorted(failed)))}"
        why = next(iter(failed.values())).error or ""
        yield Finding(said, why, {"classes_multiple_of": divisor} if is_multiple else {})
        step = divisor
    yield from _most_classes(probe, live, taken, step)


def _any(probe: Probe, live: list[Cell], classes: int) -> Answer:
    """Whether one of the cells takes a number of classes: what one of them takes is not declared away."""
    answers = (probe.ask(cell, cell.problem(classes, rows=1), Quantity.LOSS) for cell in live)
    first = next(answers)
    return first if first.error is None else next((answer for answer in answers if answer.error is None), first)


def _most_classes(probe: Probe, live: list[Cell], taken: int, step: int) -> Iterator[Finding]:
    """The largest K, found by halving, if the largest that the suites ask is not taken.

    Halving asks one cell; that the others take no more is asked at the end. Nothing is asked where shapes are compiled.
    """
    if live[0].operation.few_shapes:
        return
    declared = min(cell.operation.max_classes or LARGE_CLASSES[-1] for cell in live)
    low, high = taken // step, declared // step
    failed = _any(probe, live, high * step)
    if failed.error is None:
        return
    while high - low > 1:
        middle = (low + high) // 2
        answer = _any(probe, live[:1], middle * step)
        low, high, failed = (middle, high, failed) if answer.error is None else (low, middle, answer)
    if (failed := _any(probe, live, high * step)).error is None:
        return
    enough = low * step >= math.ceil(LEAST_MAX_CLASSES / step) * step and not failed.is_defect
    yield Finding(f"K above {low * step}", failed.error or "", {"max_classes": low * step} if enough else {})


def _logits(probe: Probe, live: list[Cell], classes: int) -> Iterator[Finding]:
    """Masked classes, +inf and NaN, in the place of the last class; a product with a weight would make NaN of them all."""
    taking = [cell for cell in live if not (cell.operation.finite_logits or cell.operation.is_layer)]
    values = (-np.inf, np.inf, np.nan)
    answers = _each(taking, lambda c: _one_of(_losses(probe, c, [_with_last(c.problem(classes), each) for each in values])))
    yield from _of_all(answers, "no logits that are not finite", {"finite_logits": True})


def _with_last(problem: Problem, value: float) -> Problem:
    logits = problem.logits.copy()
    logits[:, -1] = value
    return problem.replace(logits=logits)


def _overwritten(probe: Probe, live: list[Cell]) -> Iterator[Finding]:
    declared = frozenset[str]().union(*(cell.operation.overwrites for cell in live))
    if new := sorted(probe.changed - declared):
        yield Finding(f"overwrites {', '.join(new)}", "its bits differ after a call", {"overwrites": new})


def _returns(probe: Probe, live: list[Cell]) -> Iterator[Finding]:
    """Quantities that are returned in a wider format than the logits have."""
    for quantity, seen in probe.returned.items():
        asked = {name: {cell.operation.returned(quantity, FORMATS[name]).name for cell in live} for name in seen}
        if seen == asked:
            continue
        wide = max((name for at, names in seen.items() for name in names - asked[at]), key=lambda name: FORMATS[name].bits)
        said = "; ".join(f"{' and '.join(sorted(names))} for {name}" for name, names in seen.items() if names != asked[name])
        as_declared = {name: {wide if FORMATS[name].bits < FORMATS[wide].bits else name} for name in seen}
        is_one = wide in WIDE and seen == as_declared
        yield Finding(
            f"returns {quantity} in another format than the logits", said, {"returns": {quantity: wide}} if is_one else {}
        )
