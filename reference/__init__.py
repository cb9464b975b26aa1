"""What the right answer is: problems, formats, certified enclosures, the exact and the fast oracle, bounds and tolerances."""

from reference.arithmetic import Arithmetic
from reference.bounds.blindness import blind_from
from reference.bounds.domain import Domain
from reference.bounds.tolerances import Tolerance, tolerance
from reference.evaluation import evaluate
from reference.expected import Expected
from reference.formats import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, FORMATS, Format
from reference.grades import Grade
from reference.loss import Loss
from reference.problem import Problem
from reference.quantity import Quantity
from reference.reduction import Reduction
from reference.tiers import Tier

__all__ = [
    "BFLOAT16",
    "FLOAT16",
    "FLOAT32",
    "FLOAT64",
    "FORMATS",
    "Arithmetic",
    "Domain",
    "Expected",
    "Format",
    "Grade",
    "Loss",
    "Problem",
    "Quantity",
    "Reduction",
    "Tier",
    "Tolerance",
    "blind_from",
    "evaluate",
    "tolerance",
]
