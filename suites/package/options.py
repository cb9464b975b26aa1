"""The options of `pytest suites/` as those of a command: `suites/command/options.py` has them, and nothing is said twice."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import rich_click as click


class _Collected:
    """Stands for the parser, the plugins and the group that options are added to, and keeps the options."""

    def __init__(self) -> None:
        self.options: list[click.Option] = []

    def getgroup(self, *_names: str) -> _Collected:
        return self

    def has_plugin(self, _name: str) -> bool:
        return False

    def register(self, _plugin: object, _name: str) -> None:
        """Nothing asks for it here."""

    def addoption(self, name: str, **attributes: Any) -> None:
        """Keep one; its default is left to pytest."""
        text = attributes["help"].replace("%%", "%")
        if "action" in attributes:
            self.options.append(click.Option([name], is_flag=True, help=text))
        else:
            self.options.append(click.Option([name], metavar=attributes.get("metavar", "NAME"), help=text))


@cache
def options() -> list[click.Option]:
    """All of them, in their order; only where `suites` is found (suites/package/place.py)."""
    from suites.command.options import add_options

    collected: Any = _Collected()
    add_options(collected, collected)
    kept: list[click.Option] = collected.options
    return kept


def argument_list(command: click.Command, given: Mapping[str, Any]) -> list[str]:
    """What was given, as pytest takes it.

    Arguments:
      command: its options.
      given: the value of each by its Python name; None and False where it was not given.
    """
    names = {option.name: option.opts[0] for option in command.params}
    return [
        names[name] if value is True else f"{names[name]}={value}"
        for name, value in given.items()
        if value not in (None, False)
    ]
