"""Kernels that keep something between calls, for backends beside torch, whose are in tests/planted/usages.py."""
