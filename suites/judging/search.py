"""Searches for problems that fail a check, by Hypothesis; what is drawn for one operation is given to the next as it was.

Every operation that is asked the same gets the same problems, since the seed of a search depends on its name alone. Hypothesis
would also draw numbers that it finds in the source of imported modules. That is left out: the kernel on trial is such a
module, and would get other problems once a number in it is changed. Problems are drawn once, and all of them are checked, also
after one has failed: a row of a report rests on the same problems for a right operation and for a wrong one. A failure is then
searched anew, to be shrunk; that is not recorded. A failure that does not come back when it is tried again is one all the
same: the operation is not deterministic. Where failures end the process of the call (`--isolate`), each costs a timeout or a
new process, so the search stops early, with the smallest of them.

`hypothesis.target()` is left out: problems would depend on the errors of the operation that is asked first, and little is won.
Aimed at error over bound of PyTorch's cross_entropy (1000 examples, five seeds, mean of the worst), it moved the gradient from
0.37 to 0.45 in float32 and from 0.73 to 0.71 in bfloat16, the loss not at all and from 0.957 to 0.943.
`suites.sweep.worst_case` climbs instead.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from math import inf
from typing import NoReturn
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis.errors import Flaky
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants

from reference.problem import Problem
from suites.inputs.pairs import Made
from suites.inputs.problems import Ask, problems
from suites.judging.failure import JudgeFailed
from suites.judging.narrowing import narrowed
from suites.judging.refusals import PassedOver, PassedOverWarning

MOST_KEPT = 2**20
"""Logits of the problems that are kept of one search: 8 MiB, with a tangent and what is expected of them five times as much."""

MOST_SPENT = 8
"""Ended processes of a search, a hang counted as `adapters.isolation.HANG`, after which it stops: one hang, or 8 crashes."""

MANY = 64
"""Classes from which on a failure is shrunk in their number too."""

Check = Callable[[Problem], None]


class _Enough(BaseException):
    """Stops Hypothesis, which catches every Exception."""


@dataclass(repr=False)
class Searches:
    """All searches of a run with a seed.

    Arguments:
      seed: with the name of a property it decides which problems are drawn.
      spent: what ended processes have cost so far.
      unrecorded: what is measured within it is not recorded. Shrinking is: how often a kernel is asked while a failure shrinks
        depends on the failure, and a row of a report must rest on the same problems whether they pass or fail.
    """

    seed: int
    spent: Callable[[], int] = lambda: 0
    unrecorded: Callable[[], AbstractContextManager[None]] = nullcontext
    _drawn: dict[tuple[str, Ask, int], list[Problem]] = field(default_factory=dict)
    _made: dict[tuple[str, Ask], Made] = field(default_factory=dict)

    def run(self, name: str, ask: Ask, check: Check, examples: int, part: int = 1) -> None:
        """Check every problem that is drawn, also after one has failed; then fail with the smallest that fails.

        `name` is that of the property. Where `part` is not 1, one in so many is checked.
        """
        key = (name, ask, examples)
        watched = Watched(check, self.spent)
        watched.check_all(self._problems(key)[::part])
        if watched.first is not None:
            with self.unrecorded():
                self._fail(key, watched)
        watched.tell_refused()

    def run_all(self, problems: Iterable[Problem], ask: Ask, check: Check) -> None:
        """Check problems that were made of an ask, all of them; then fail with a narrowed one."""
        watched = Watched(check, self.spent)
        watched.check_all(problems)
        if watched.smallest_failing is not None:
            with self.unrecorded():
                self._fail_narrowed(ask, watched)
        watched.tell_refused()

    def run_screened(self, problems: Iterable[Problem], ask: Ask, screen: Check, check: Check) -> None:
        """Screen problems, none of which is kept; check what fails there as `run_all` does, and fail as that does.

        First the problem of the failure, a row that was judged alone, then all rows together.
        """
        screening, watched = Watched(screen, self.spent), Watched(check, self.spent)
        for problem in problems:
            with suppress(_Enough):
                if screening.fails(problem):
                    with self.unrecorded():
                        any(map(watched.fails, _suspects(screening.last, problem)))
            if screening.is_enough or watched.is_enough:
                break
        with self.unrecorded():
            if watched.smallest_failing is not None:
                self._fail_narrowed(ask, watched)
            if screening.first is not None:
                raise _once(screening.first).with_traceback(None) from None
        screening.tell_refused()

    def made(self, how: Callable[[Ask, int], Made], ask: Ask) -> Made:
        """The problems that are made of an ask and the seed; made once, however many operations are asked them."""
        key = (how.__name__, ask)
        if key not in self._made:
            self._made[key] = how(ask, self.seed)
        return self._made[key]

    def _fail_narrowed(self, ask: Ask, watched: Watched) -> NoReturn:
        """Fail at the smallest problem, or at what is left of it; one that does not fail again says so."""
        failure = watched.smallest if watched.is_enough else self._narrowed(ask, watched)
        assert failure is not None
        raise failure.with_traceback(None) from None

    def _narrowed(self, ask: Ask, watched: Watched) -> BaseException | None:
        """The failure at what is left of the smallest problem that fails; at itself where every new shape is compiled."""
        again, smallest = Watched(watched.check, self.spent, watched.before), watched.smallest_failing
        assert smallest is not None
        with suppress(_Enough):
            if not again.fails(smallest):
                return _once(watched.smallest)
            if not ask.few_shapes:
                narrowed(smallest, again.fails, ask.classes_multiple)
        return again.last

    def _problems(self, key: tuple[str, Ask, int]) -> list[Problem]:
        """The problems of a search, drawn once as long as there is room for them."""
        if key in self._drawn:
            return self._drawn[key]
        drawn = self._generate(*key, lambda _: None)
        if sum(problem.logits.size for problem in drawn) <= MOST_KEPT:
            self._drawn[key] = drawn
        return drawn

    def _fail(self, key: tuple[str, Ask, int], watched: Watched) -> NoReturn:
        """Search again, to shrink; where ended processes leave no room for that, the smallest of the problems must do."""
        again = Watched(watched.check, self.spent, watched.before)
        failure = watched.smallest if watched.is_enough else self._shrunk(key, again)
        if failure is None:
            failure = _once(watched.first)
        raise failure.with_traceback(None) from None

    def _shrunk(self, key: tuple[str, Ask, int], again: Watched) -> BaseException | None:
        """The failure at the problem to which Hypothesis shrinks it; None if it does not come back."""
        try:
            self._generate(*key, again)
        except _Enough:
            return again.smallest
        except Flaky:
            return None
        except (Exception, pytest.fail.Exception) as failure:
            return self._of_fewer_classes(key[1], again) or failure
        return None

    def _of_fewer_classes(self, ask: Ask, again: Watched) -> BaseException | None:
        """The failure at fewer classes; None if there were few, if it needs as many, or if every new shape is compiled."""
        shrunk = again.failing
        if shrunk is None or shrunk.num_classes < MANY or ask.few_shapes:
            return None
        with suppress(_Enough):
            again.fails(narrowed(shrunk, again.fails, ask.classes_multiple))
        return again.last if again.failing is not shrunk else None

    def _generate(self, name: str, ask: Ask, examples: int, check: Check) -> list[Problem]:
        profile = settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.generate, Phase.shrink],
            report_multiple_bugs=False,
            print_blob=False,
            suppress_health_check=list(HealthCheck),
        )
        drawn: list[Problem] = []

        @seeded(zlib.crc32(f"{name} {self.seed}".encode()))
        @profile
        @given(problems(ask))
        def holds(problem: Problem) -> None:
            drawn.append(problem)
            check(problem)

        # A private name, which other versions of Hypothesis may not have: `create` lets them run, with other problems.
        with patch.object(providers, "_get_local_constants", Constants, create=True):
            holds()
        return drawn


def _suspects(failure: BaseException | None, problem: Problem) -> list[Problem]:
    """What is checked where screening fails: its problem, if that is a part, and the whole."""
    told = [failure.finding.problem] if isinstance(failure, JudgeFailed) else []
    return [*(part for part in told if part is not problem), problem]


_NOT_REPEATED = "the same problem passed when it was tried again: the operation is not deterministic"


def _once(first: BaseException | None) -> BaseException:
    """The first failure, which says of itself that it did not come back."""
    if isinstance(first, JudgeFailed):
        return first.noting(_NOT_REPEATED)
    return pytest.fail.Exception(f"{first}  # {_NOT_REPEATED}", pytrace=False)


@dataclass
class Watched:
    """A check that remembers how it failed, in whatever way, and passes over what is refused; another skip is a skip.

    Arguments:
      check: raises if a problem fails.
      spent: what ended processes have cost so far.
      before: what they had cost when the search began; what they cost now unless told otherwise.
    """

    check: Check
    spent: Callable[[], int]
    before: int | None = None
    first: BaseException | None = None
    smallest: BaseException | None = None
    """The failure at the problem with the fewest logits, of those the last."""
    smallest_failing: Problem | None = None
    """That problem."""
    failing: Problem | None = None
    """The last problem that failed."""
    last: BaseException | None = None
    """How it failed."""
    refused: list[str] = field(default_factory=list)
    asked: int = 0
    _fewest: float = inf

    def __post_init__(self) -> None:
        self.before = self.spent() if self.before is None else self.before

    def __call__(self, problem: Problem) -> None:
        """Check a problem; once failures have ended too many processes, raises _Enough."""
        self.asked += 1
        try:
            self.check(problem)
        except PassedOver as refused:
            self.refused.append(str(refused))
        except (Exception, pytest.fail.Exception) as failure:
            self._keep(problem, failure)
            if self.is_enough:
                raise _Enough from None
            raise

    def _keep(self, problem: Problem, failure: BaseException) -> None:
        self.first, self.failing, self.last = self.first or failure, problem, failure
        if problem.logits.size <= self._fewest:
            self._fewest, self.smallest, self.smallest_failing = problem.logits.size, failure, problem

    @property
    def is_enough(self) -> bool:
        """True once failures of this search have ended too many processes."""
        assert self.before is not None
        return self.first is not None and self.spent() - self.before >= MOST_SPENT

    def fails(self, problem: Problem) -> bool:
        """True if the problem fails; raises _Enough as above."""
        try:
            self(problem)
        except (Exception, pytest.fail.Exception):
            return True
        return False

    def check_all(self, problems: Iterable[Problem]) -> None:
        """Check every problem, whether others fail or not, until failures have ended too many processes."""
        for problem in problems:
            try:
                self.fails(problem)
            except _Enough:
                return

    def tell_refused(self) -> None:
        """Skip the test if every problem was refused; warn if some were."""
        if self.refused and len(self.refused) == self.asked:
            pytest.skip(self.refused[0])
        if self.refused:
            told = f"{len(self.refused)} of {self.asked} problems passed over; {self.refused[0]}"
            warnings.warn(told, PassedOverWarning, stacklevel=2)
