"""What the start-up probe tells: a line for each finding, and the one limit that would declare what limits can say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adapters.adapter import Adapter
from adapters.limits import Limit, limit_of
from adapters.operation import Operation
from reference.formats import Format
from suites.command.probe import REASON, Finding, Probe, findings
from suites.judging.heard import Heard


@dataclass(frozen=True)
class Proposal:
    """What was found of a kernel in so many calls; `declared` is True if it has declared limits already."""

    findings: tuple[Finding, ...]
    calls: int
    declared: bool
    heard: tuple[Heard, ...] = ()
    """What the kernel answered."""

    @property
    def keys(self) -> dict[str, Any]:
        """The keys of a limit that says all of it that a limit can say."""
        merged: dict[str, Any] = {}
        for finding in self.findings:
            for key, value in finding.keys.items():
                merged[key] = merged[key] | value if isinstance(value, Mapping) and key in merged else value
        return merged

    @property
    def limit(self) -> Limit | None:
        """That limit; None if there is nothing that it would say."""
        return limit_of({"reason": REASON} | self.keys) if self.keys else None

    @property
    def said(self) -> str:
        """The keys as a decorator has them.

        >>> Proposal((Finding("no second derivative", "RuntimeError", {"derivatives": 1}),), 9, False).said
        'derivatives=1'
        """
        return ", ".join(f"{key}={_literal(value)}" for key, value in self.keys.items())

    def lines(self, accepted: bool) -> list[str]:
        """What the header of a run says: nothing where declared limits cover all."""
        if not self.findings:
            nothing = f"{self.calls} calls of the kernel found nothing that it does not do"
            return [] if self.declared and not accepted else [f"{nothing}{', so nothing is accepted' if accepted else ''}"]
        return [*map(_line, self.findings), *self._advice(accepted)]

    @property
    def decorator(self) -> str:
        """The limit as a kernel declares it; empty if there is none."""
        return f'@limits("{REASON}", {self.said})' if self.keys else ""

    def _advice(self, accepted: bool) -> list[str]:
        if not self.keys:
            return ["nothing of this can be accepted as a limit"] if accepted else []
        if accepted:
            return ["accepted for this run; declare what is meant so:", self.decorator]
        return ["declare what is meant so; --accept-limits takes all of it for this run:", self.decorator]


def _line(finding: Finding) -> str:
    return f"{finding.said}: {finding.why}{'' if finding.keys else ' (no limit can say this: repair it)'}"


def _literal(value: Any) -> str:
    return repr(value) if isinstance(value, bool | int) else json.dumps(value)


def proposal_for(adapter: Adapter, operations: tuple[Operation, ...], formats: tuple[Format, ...]) -> Proposal:
    """Probe the operations, within the limits that they have."""
    probe = Probe(adapter)
    found = tuple(findings(probe, operations, formats))
    return Proposal(found, probe.calls, any(operation.limits for operation in operations), tuple(probe.heard))
