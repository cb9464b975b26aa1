"""All proofs, in the order of the page."""

from __future__ import annotations

from tests.proofs import double_double, elementary, wide_sums
from tests.proofs.proof import Proof
from tests.proofs.wide import Expm1, exp_scaled, reduce
from tests.proofs.wide_log import log1p_wide


def proofs() -> tuple[Proof, ...]:
    """Each made anew by the two programs."""
    reduced = reduce()
    expm1 = Expm1(reduced.size)
    wide = (exp_scaled(reduced, expm1), log1p_wide(reduced, expm1))
    return (*elementary.proofs(), *double_double.proofs(), *wide, *wide_sums.proofs())
