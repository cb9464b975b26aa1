"""How to install what is not there: an extra of a checkout, or of the installed package."""

from __future__ import annotations

from pathlib import Path


def extra(name: str) -> str:
    """The command that installs an extra of this project.

    >>> extra("fast")
    "pip install -e '.[fast]'"
    """
    is_checkout = (Path(__file__).parents[1] / "tests").is_dir()  # an installation has no tests
    return f"pip install -e '.[{name}]'" if is_checkout else f"pip install 'softmax-ce-conformance[{name}]'"
