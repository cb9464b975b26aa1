"""What of the user's own is on trial: its name, its file, a hash of that file, and the package that it comes from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.metadata import packages_distributions, version
from importlib.util import find_spec
from pathlib import Path

from adapters.loading import backend_names, installed_backends


@dataclass(frozen=True)
class Subject:
    """A callable or a backend of the user's own.

    Arguments:
      name: of the callable or class.
      place: file name or module.
      sha256: of the source file's bytes, in hexadecimal; None where no file was found.
      package: name and version of the installed package that it comes from; None if it comes from none.
    """

    name: str
    place: str
    sha256: str | None = None
    package: str | None = None

    @property
    def file_name(self) -> str:
        """The name as part of a file name."""
        return "".join(c if c.isalnum() or c in "-_" else "-" for c in self.name)


def subject_of(backend: str, implementation: str | None) -> Subject | None:
    """What is on trial, as the command line names it; None for a backend of this project and its own operations.

    Nothing is imported but parents of a module: where it lies is enough.

    >>> subject_of("torch", None), subject_of("torch", "no_such_package.kernels:fused")
    (None, Subject(name='fused', place='no_such_package.kernels', sha256=None, package=None))
    """
    reference = implementation or _place_of(backend)
    if reference is None:
        return None
    place, _, name = reference.rpartition(":")
    path = Path(place) if place.endswith(".py") else _source_of(place)
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path is not None and path.is_file() else None
    return Subject(name, path.name if place.endswith(".py") and path else place, digest, _package_of(place))


def _place_of(backend: str) -> str | None:
    """Where a backend is that is none of this project: as it was given, or as its package's entry point says."""
    if ":" in backend:
        return backend
    if backend in backend_names():
        return None
    return next((entry.value for entry in installed_backends().get(backend, [])), None)


def _source_of(module: str) -> Path | None:
    """The source file of a module, found by its place in its top-level package, which is not imported."""
    top, *inner = module.split(".")
    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None:
        return None
    if not inner:
        return Path(spec.origin)
    at = [Path(folder, *inner) for folder in spec.submodule_search_locations or ()]
    candidates = [file for path in at for file in (path.with_suffix(".py"), path / "__init__.py")]
    return next((file for file in candidates if file.is_file()), None)


@cache
def _distributions() -> dict[str, list[str]]:
    return dict(packages_distributions())


def _package_of(place: str) -> str | None:
    """Name and version of the package that has a module."""
    if place.endswith(".py"):
        return None
    found = _distributions().get(place.partition(".")[0])
    return f"{found[0]} {version(found[0])}" if found else None
