"""NotImplementedError for what is hard, and undeclared, so that what is left conforms."""

from __future__ import annotations

from dataclasses import replace

from tests.planted.kernel import Call, Kernel, Rows, Tensor, planted


@planted("refusal", "gaps beyond 100 are not implemented", "test_loss", "may not depend on values")
class RefusesLargeGaps(Kernel):
    def losses(self, rows: Rows, a: Tensor, call: Call) -> Tensor:
        if (rows.gaps > 100).any():
            raise NotImplementedError("a gap beyond 100")
        return super().losses(rows, a, call)


@planted("refusal", "five classes are not implemented, and of others a gap beyond 100 counts as 100", "test_loss")
class RefusesFiveClasses(Kernel):
    def loss(self, rows: Rows, a: Tensor) -> Tensor:
        if rows.x.shape[1] == 5:
            raise NotImplementedError("five classes")
        return super().loss(replace(rows, gaps=rows.gaps.clamp(max=100.0)), a)
