"""Softmax cross-entropies that are wrong in one place, and what rejects them: the suite on trial."""
