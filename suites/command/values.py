"""Reads what an option gives, one name or several: an empty value, a name given twice or one not known is an error."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from reference.names import not_known

_ALLOWED = {
    "backend": "the name of a backend, file.py:Class or module:Class",
    "implementation": "file.py:function or module:function",
    "device": "cpu, cuda or cuda:INDEX",
    "mode": "modes of the backend",
    "dtype": "formats",
    "operation": "a name or a glob",
    "hazard": "hazards",
    "case": "a stored case, or a problem as a failure prints it",
    "claim": "a grade",
    "claims": "a TOML file",
    "effort": "an effort",
    "report": "a directory",
}
"""What each option that takes a text takes; none of them may be empty."""

_OF_IMPLEMENTATIONS = {"accept_limits": "takes what is seen", "fail_shared": "fails what is shared"}
"""What options do that need a kernel."""

_OF_PLUGINS = {"hypothesispytest": "hypothesis_seed", "terminal": "verbose"}
"""Plugins that the suites need, by an option that each adds."""

LARGEST_SEED = 2**63


def check_options(option: Any) -> None:
    """Refuse an empty option, one that does nothing without another, and a plugin that is switched off.

    Raises:
      ValueError: names it, and says what to do.
    """
    for plugin, added in _OF_PLUGINS.items():
        if not hasattr(option, added):
            raise ValueError(f"pytest's plugin {plugin!r} is off, and the suites need it; leave out -p no:{plugin}, or load it")
    for name, allowed in _ALLOWED.items():
        if getattr(option, name) is not None and not getattr(option, name).strip():
            raise ValueError(f"--{name}: {getattr(option, name)!r} was given; allowed: {allowed}, or leave it out")
    for name in ("call_timeout", "call_memory"):
        if getattr(option, name) is not None and not option.isolate:
            raise ValueError(f"--{name.replace('_', '-')}: it limits the calls of --isolate; give that too, or leave it out")
    for name, does in _OF_IMPLEMENTATIONS.items():
        if getattr(option, name) and option.implementation is None:
            told = f"--{name.replace('_', '-')}: it {does} of an --implementation"
            raise ValueError(f"{told}; give that too, or leave it out")


def name_of(given: str, known: Iterable[str], option: str) -> str:
    """The one name that an option gives.

    Raises:
      ValueError: it is not known; names the nearest.
    """
    names = tuple(known)
    if given not in names:
        raise ValueError(f"--{option}: {not_known(given, names)}")
    return given


def names_of(given: str | None, known: tuple[str, ...], option: str) -> tuple[str, ...]:
    """The comma-separated names that an option gives; all that are known where it gives none.

    Raises:
      ValueError: one is not known, or given twice.
    """
    if given is None:
        return known
    names = tuple(name_of(name.strip(), known, option) for name in given.split(","))
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"--{option}: {twice[0]!r} is given twice; allowed: each name once")
    return names


def seed_of(given: str | None) -> int:
    """The seed of --hypothesis-seed; 0 where it is not given.

    Raises:
      ValueError: it is no whole number from 0 on; a negative one would be taken for its absolute value.
    """
    if given is not None and not (re.fullmatch(r"[0-9]{1,19}", given) and int(given) < LARGEST_SEED):
        raise ValueError(f"--hypothesis-seed: {given!r} was given; allowed: a whole number from 0 to {LARGEST_SEED - 1}")
    return int(given or 0)
