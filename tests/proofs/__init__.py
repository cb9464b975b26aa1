"""Machine-checked proofs of the error bounds of the compiled tier's elementary functions."""
