"""The fast tier of the reference: the same enclosures, compiled (numba), for large batches, vocabularies and sweeps.

Whatever its error bounds leave undecided goes to the exact tier, so no value is less certain than one of `reference.exact`.
"""
