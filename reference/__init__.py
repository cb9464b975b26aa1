"""What the right answer is: problems, formats, certified enclosures, the exact oracle and error bounds."""

from reference.evaluation import Expected, evaluate
from reference.formats import BFLOAT16, FLOAT16, FLOAT32, FLOAT64, FORMATS, Format
from reference.loss import Loss
from reference.problem import Problem
from reference.quantity import Quantity

__all__ = [
    "BFLOAT16",
    "FLOAT16",
    "FLOAT32",
    "FLOAT64",
    "FORMATS",
    "Expected",
    "Format",
    "Loss",
    "Problem",
    "Quantity",
    "evaluate",
]
