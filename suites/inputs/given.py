"""A problem given on the command line, with the test that is to ask it: JSON, the same compressed, or a file of it.

A failure writes one, so that its command runs the same test at the same problem again.
"""

from __future__ import annotations

import json
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reference.formats import FORMATS, format_named
from reference.problem import Problem
from suites.inputs.cases import PROBLEM_KEYS, Case, CaseError, describe_problem, parse_row, problem_from

OF_CASES = "test_case"
"""The test of cases: each quantity of an operation, held to its claim."""

FORMS = "an id, a name, a name with *, {JSON}, z:COMPRESSED or a file.json as failures print them"
_COMPRESSED = "z:"
_PARAMETERS = ("layout", "label")
_KEYS = (*PROBLEM_KEYS, "test", *_PARAMETERS, "after")
_LONGEST_SHOWN = 60


@dataclass(frozen=True, eq=False)
class Given:
    """A problem and the test that is to ask it.

    `parameters` are those of the test beside the operation and the dtype; `after` is a problem that is asked first.
    """

    problem: Problem
    test: str = OF_CASES
    parameters: Mapping[str, Any] = field(default_factory=dict)
    after: Problem | None = None

    @property
    def case(self) -> Case:
        """The problem as a case, which no claim knows."""
        return Case("given", "given", "given on the command line", "command line", self.problem)

    def text(self) -> str:
        """JSON: exact, and short where rows repeat numbers."""
        entry: dict[str, Any] = {} if self.test == OF_CASES else {"test": self.test}
        entry |= {**self.parameters, **describe_problem(self.problem)}
        if self.after is not None:
            entry["after"] = describe_problem(self.after)
        return json.dumps(entry, separators=(",", ":"))


def is_given(text: str) -> bool:
    """True if --case gives a problem, False if it names stored cases."""
    return text.lstrip().startswith("{") or text.startswith(_COMPRESSED) or text.endswith(".json")


def compressed(text: str) -> str:
    """JSON as a short argument of letters, digits, dashes and underscores.

    >>> _json_of(compressed("{}"))
    '{}'
    """
    return _COMPRESSED + urlsafe_b64encode(zlib.compress(text.encode(), 9)).decode()


def given_from(text: str) -> Given:
    """What --case gives.

    Raises:
      CaseError: it is malformed; one line that says what was given and what is allowed.
    """
    try:
        return _given(json.loads(_json_of(text)))
    except (KeyError, TypeError, ValueError, OverflowError, OSError, zlib.error) as error:
        shown = text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
        raise CaseError(
            f"--case: not a case as failures print it ({type(error).__name__}: {error}); given: {shown}; allowed: {FORMS}"
        ) from None


def _json_of(text: str) -> str:
    if text.startswith(_COMPRESSED):
        return zlib.decompress(urlsafe_b64decode(text.removeprefix(_COMPRESSED))).decode()
    return text if text.lstrip().startswith("{") else Path(text).read_text()


def _given(entry: dict[str, Any]) -> Given:
    if unknown := sorted(set(entry) - set(_KEYS)):
        raise ValueError(f"unknown keys {unknown}; allowed: {', '.join(_KEYS)}")
    parameters = {name: entry[name] for name in _PARAMETERS if name in entry}
    after = _problem(entry["after"]) if "after" in entry else None
    return Given(_problem(entry), entry.get("test", OF_CASES), parameters, after)


def _problem(entry: dict[str, Any]) -> Problem:
    """The problem; with a `label` its target is not checked, and of a row without logits neither is the row."""
    fmt, target = format_named(entry["dtype"], FORMATS), entry["target"]
    soft = bool(target) and isinstance(target[0], list)
    if entry["logits"] == [[]]:
        one_class = {"logits": [[1.0]], "target": [[1.0]] if soft else [0]}
        return problem_from(entry | one_class, fmt).without_classes()
    if "label" in entry:
        in_range = [[0.0]] * len(target) if soft else [0] * len(target)
        unchecked = [parse_row(row) for row in target] if soft else target
        return problem_from(entry | {"target": in_range}, fmt).with_unchecked_target(unchecked)
    return problem_from(entry, fmt)
