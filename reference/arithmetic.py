"""What an operation declares about its arithmetic: precisions, exp and log errors, summation depth, flush to zero.

A bound is only as honest as this declaration, so reports print it beside the bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from reference.formats import Format, format_named


class Order(StrEnum):
    """How a sum of K terms is ordered."""

    PAIRWISE = "pairwise"
    """A balanced tree: depth ceil(log2 K)."""
    BLOCKED = "blocked"
    """numpy's: eight running sums over blocks of 128, the blocks pairwise."""
    LANES = "lanes"
    """W running sums (SIMD lanes or threads), then one running sum over them: depth K/W + W - 1, at most K - 1."""
    TREE = "tree"
    """XLA's: W terms at a time one by one, then W of these sums, and so on: W - 1 roundings a level at most."""
    RECURSIVE = "recursive"
    """One running sum: depth K - 1."""


_WITH_LANES = (Order.LANES, Order.TREE)


@dataclass(frozen=True)
class Summation:
    """The order of a sum, and its depth h: the largest number of roundings that a summand meets.

    For nonnegative terms the relative error of the sum is at most (1 + u)^h - 1 (Higham, Accuracy and Stability of
    Numerical Algorithms, 2nd ed., section 4.2).

    `leaf`, for lanes: a sum of more terms than this is halved until it is not, and the halves are added as a tree.

    `tile`, for a sum of powers that is rescaled as its maximum grows (one-pass or online softmax, merged shards): so many
    terms are added under one maximum, each order then merges the tiles as it would add terms, and every merge multiplies
    both partial sums by exp(m_old - m_new). 1 is online. Of lanes, each has its own tiles. None: the maximum is known first.

    >>> Summation(Order.PAIRWISE).depth(1000), Summation(Order.LANES, 8).depth(128256), Summation(Order.TREE, 32).depth(1025)
    (10, 16039, 63)
    >>> Summation(Order.LANES, 32, leaf=1600).depth(70000)
    87
    >>> online, shards = Summation(Order.RECURSIVE, tile=1), Summation(Order.PAIRWISE, tile=1024)
    >>> online.rescalings(1000), shards.rescalings(32768), PAIRWISE.rescalings(1000)
    (999, 5, 0)

    Raises:
      ValueError: the tile has no terms, or lanes or a leaf are given for an order that has none.
    """

    order: Order
    lanes: int = 1
    leaf: int | None = None
    tile: int | None = None

    def __post_init__(self) -> None:
        for name, orders in (("lanes", _WITH_LANES), ("leaf", (Order.LANES,))):
            if (given := getattr(self, name)) not in (1, None) and self.order not in orders:
                raise ValueError(
                    f"{name} is {given} and order is '{self.order}'; allowed: {name} for {' or '.join(orders)} alone"
                )
        if self.lanes < (least := 2 if self.order is Order.TREE else 1):
            raise ValueError(f"lanes is {self.lanes} and order is '{self.order}'; allowed: numbers >= {least}")
        if self.tile is not None and self.tile < 1:
            raise ValueError(f"tile is {self.tile}; allowed: numbers of terms >= 1, or None where no sum is rescaled")

    def rescalings(self, terms: int) -> int:
        """The largest number of rescalings that a power meets on its way into a sum of so many of them."""
        return 0 if self.tile is None else self.depth(math.ceil(terms / self.tile))

    def depth_of_powers(self, terms: int) -> int:
        """h of the one sum that is made in tiles: that of a tile, and of the sum over the tiles."""
        if self.tile is None:
            return self.depth(terms)
        return min(max(terms - 1, 0), self.depth(min(terms, self.tile)) + self.rescalings(terms))

    def depth(self, terms: int) -> int:
        """h, the largest number of roundings that a summand meets in a sum of so many terms."""
        if terms <= 1:
            return 0
        if self.order is Order.PAIRWISE:
            return math.ceil(math.log2(terms))
        if self.order is Order.LANES:
            alone = terms if self.leaf is None else min(terms, self.leaf)
            return min(terms - 1, math.ceil(alone / self.lanes) + self.lanes - 1 + math.ceil(math.log2(terms / alone)))
        if self.order is Order.TREE:
            parts = math.ceil(terms / self.lanes)
            return min(terms, self.lanes) - 1 + self.depth(parts)
        if self.order is Order.BLOCKED:
            return min(terms - 1, 19 + max(0, math.ceil(math.log2(terms / 128))))
        return terms - 1

    def __str__(self) -> str:
        above = f" in a tree above {self.leaf}" if self.leaf else ""
        order = f"{self.order.value} of {self.lanes}{above}" if self.order in _WITH_LANES else self.order.value
        if self.tile is None:
            return order
        return f"online {order}" if self.tile == 1 else f"rescaled (every {self.tile}) {order}"


PAIRWISE = Summation(Order.PAIRWISE)
RECURSIVE = Summation(Order.RECURSIVE)
BLOCKED = Summation(Order.BLOCKED)


@dataclass(frozen=True)
class Arithmetic:
    """The declared arithmetic of an operation in one storage format.

    Arguments:
      storage: format of the inputs, the results and every intermediate tensor, or its name.
      working: format in which a kernel computes and accumulates (float32 inside half-precision kernels), or its name.
      exp_ulps, log_ulps: largest error of exp and of log or log1p, in ulps of the working format.
      summation: order of the sums over classes.
      stores_sum: True if the sum of powers and its logarithm are rounded to the storage format before they are used.
      flush_to_zero: True if subnormal results become 0.
      tanh_ulps: largest error of tanh, in ulps of the working format.
      stores_log_probability: True if a probability may be the exp of a log-probability that was rounded to the storage format.
      stores_once: True if nothing but the result is rounded to the storage format: on the way to it no sum, log-probability,
        factor or product is. The error is then that of the same computation in the working format, and of one store.
      base_2: True if exp(d) is 2^(d log2 e) and log S is log2(S) ln 2, with rounded constants and products; exp_ulps and
        log_ulps are then those of the functions of base 2.
      reciprocals: True if what is divided by S, T, a softcap or a mean's N is multiplied by its rounded reciprocal.
      softplus: True if a sigmoid loss is max(x, 0) - x y + log1p(exp(-|x|)), which cancels where a label y is neither 0
        nor 1. (1 - y) x - log_sigmoid(x) cancels for the label 0 too: no declaration allows that.
      layer_logits: format to which a linear layer rounds its logits, or its name, where the loss is kept in a wider one, as
        where a layer of bfloat16 is followed by a loss of float32; None where that is the storage format.

    Raises:
      ValueError: a format is not known, or something else is stored by what stores once.

    >>> Arithmetic("float16", "float32").describe()
    'float32 arithmetic, pairwise sum, exp 1 ulp'
    >>> Arithmetic("float16", "float32").storing_once().describe()
    'float32 arithmetic, pairwise sum, exp 1 ulp, stored once'
    >>> Arithmetic("float16", "float32", stores_log_probability=False).describe()
    'float32 arithmetic, pairwise sum, exp 1 ulp, no log-probability stored'
    >>> Arithmetic("float32", "float32", summation=Summation(Order.PAIRWISE, tile=8), base_2=True).describe()
    'float32 arithmetic, rescaled (every 8) pairwise sum, exp 1 ulp in base 2'
    """

    storage: Format
    working: Format
    exp_ulps: float = 1.0
    log_ulps: float = 1.0
    summation: Summation = PAIRWISE
    stores_sum: bool = False
    flush_to_zero: bool = False
    tanh_ulps: float = 2.0
    stores_log_probability: bool = True
    stores_once: bool = False
    base_2: bool = False
    reciprocals: bool = False
    softplus: bool = False
    layer_logits: Format | None = None

    def __post_init__(self) -> None:
        for name in ("storage", "working", "layer_logits"):
            if (given := getattr(self, name)) is not None:
                object.__setattr__(self, name, format_named(given))
        if self.stores_once and (self.stores_sum or self.stores_log_probability):
            stored = "stores_sum" if self.stores_sum else "stores_log_probability"
            raise ValueError(f"stores_once and {stored} are both true; allowed: one of them: what stores once stores a result")

    def storing_once(self) -> Arithmetic:
        """The same, but that nothing is stored on the way to a result."""
        return replace(self, stores_sum=False, stores_log_probability=False, stores_once=True)

    @property
    def inside(self) -> Arithmetic:
        """The arithmetic in which a result is computed before its one store; itself, if that is not the only one."""
        return replace(self, storage=self.working, stores_once=False) if self.stores_once else self

    @property
    def of_layer(self) -> Arithmetic:
        """The arithmetic of a linear layer before the softmax: its logits may be stored in a format of their own."""
        return self if self.layer_logits is None else replace(self, storage=self.layer_logits)

    @property
    def storage_roundoff(self) -> float:
        """Unit roundoff of a store into a narrower format; 0 where nothing narrows."""
        return 0.0 if self.storage == self.working else self.storage.unit_roundoff

    @property
    def underflow(self) -> float:
        """omega: largest absolute error of an underflowing power in the working format.

        Among subnormals an ulp is the least of them: a faithful exp may return that for 0, or 0 for nearly that.
        """
        if self.flush_to_zero:
            return self.working.min_normal
        return max(self.exp_ulps, 0.5) * self.working.min_subnormal

    @property
    def rounding_underflow(self) -> float:
        """Largest absolute error of an underflowing product or quotient, and of a power that is rounded to nearest."""
        return self.working.min_normal if self.flush_to_zero else self.working.min_subnormal / 2

    @property
    def storage_underflow(self) -> float:
        """Largest absolute error of an underflowing store."""
        return self.storage.min_normal if self.flush_to_zero else self.storage.min_subnormal

    def describe(self) -> str:
        """One line for reports."""
        narrows = self.storage != self.working
        stored = f" stored in {self.storage.name}" if narrows and self.stores_sum else ""
        steps = "" if self.stores_log_probability else ", no log-probability stored"
        once = "" if not narrows else ", stored once" if self.stores_once else steps
        flush = ", flush to zero" if self.flush_to_zero else ""
        base = " in base 2" if self.base_2 else ""
        more = ", rounded reciprocals" * self.reciprocals + ", cancelling softplus" * self.softplus
        kept = self.of_layer.storage
        more += f", layer's logits in {kept.name}" * (kept != self.storage)
        exp = f"exp {self.exp_ulps:g} ulp{base}"
        return f"{self.working.name} arithmetic, {self.summation} sum{stored}, {exp}{once}{flush}{more}"
