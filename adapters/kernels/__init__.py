"""Kernels and libraries beside the four frameworks, one backend a file: its operations, and their words for reproducers."""
