"""A problem given on the command line, with the test that is to ask it: JSON, the same compressed, or a file of it.

A failure writes one, so that its command runs the same test at the same problem again.
"""

from __future__ import annotations

import json
import zlib
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reference.formats import FORMATS, Format
from reference.problem import Problem
from reference.validation import check, shown, validator
from suites.inputs.case_schema import GIVEN
from suites.inputs.cases import Case, CaseError, describe_problem, parse_indices, problem_from
from suites.inputs.exact_text import parse_table
from suites.inputs.inflated import inflated
from suites.inputs.strict_json import json_of
from suites.inputs.user_file import text_of

OF_CASES = "test_case"
"""The test of cases: each quantity of an operation, held to its claim."""

FORMS = "an id, a name, a name with *, {JSON}, z:COMPRESSED or a file.json as failures print them"
_COMPRESSED = "z:"
_PARAMETERS = ("layout", "label_dtype", "usage", "label")
_STRICT = validator(GIVEN)
_LONGEST_SHOWN = 60
LARGEST_TEXT = 2**26
"""Characters: a shell takes an argument of 2^17, which could decompress to a thousand times as many."""


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
    return text.lstrip().startswith(("{", "[")) or text.startswith(_COMPRESSED) or text.endswith(".json")


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
        return _given(json_of(_json_of(text)))
    except OSError as error:
        raise CaseError(_refusal(error.strerror or str(error), text)) from None
    except ValueError as error:
        raise CaseError(_refusal(str(error), text)) from None


def _refusal(why: str, text: str) -> str:
    start = text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
    given = start if start.isprintable() else repr(start)
    return f"--case: not a case as failures print it ({why}); given: {given}; allowed: {FORMS}"


def _json_of(text: str) -> str:
    if text.startswith(_COMPRESSED):
        return inflated(text.removeprefix(_COMPRESSED), LARGEST_TEXT, altchars=b"-_").decode()
    return text if text.lstrip().startswith(("{", "[")) else text_of(Path(text), LARGEST_TEXT)


def _given(entry: Any) -> Given:
    check(_STRICT, entry)
    parameters = {name: entry[name] for name in _PARAMETERS if name in entry}
    after = _problem(entry["after"]) if "after" in entry else None
    return Given(_problem(entry), entry.get("test", OF_CASES), parameters, after)


def _problem(entry: dict[str, Any]) -> Problem:
    """The problem; with a `label` its target is not checked, and of a row without logits neither is the row."""
    fmt, target = FORMATS[entry["dtype"]], entry["target"]
    soft = bool(target) and isinstance(target[0], list)
    if entry.get("logits") == [[]]:
        return _without_classes(entry, fmt)
    if "label" not in entry:
        return problem_from(entry, fmt)
    unchecked = parse_table(target, "target") if soft else parse_indices(target)
    checked = problem_from(entry | {"target": [[0.0]] * len(target) if soft else [0] * len(target)}, fmt)
    if checked.target.shape != unchecked.shape:
        raise ValueError(f"target has shape {unchecked.shape} and a label; allowed: {checked.target.shape}")
    return checked.with_unchecked_target(unchecked)


def _without_classes(entry: dict[str, Any], fmt: Format) -> Problem:
    """The problem of one row without logits."""
    if json.dumps(entry["target"]) not in ("[0]", "[[]]"):  # which tells 0 from false
        raise ValueError(f"target is {shown(entry['target'])} and the row has no logits; allowed: [0], or [[]]")
    if "rows" in entry:
        raise ValueError("rows is given and the row has no logits; allowed: one such row")
    one_class = {"logits": [[1.0]], "target": [0] if entry["target"] == [0] else [[1.0]]}
    return problem_from(entry | one_class, fmt).without_classes()
