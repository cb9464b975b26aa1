"""Exhaustive sweeps of a format's logits, worst-case search where exhaustion is impossible, on one machine or many."""
