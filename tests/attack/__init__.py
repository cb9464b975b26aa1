"""Attacks the bounds of `stable`: the algorithms that they are of, with every rounding as bad as it may be, and real ones."""
