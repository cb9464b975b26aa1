"""A second statement of the rules of reference and measurement, compiled; tests/test_sweep_judge.py holds the two together."""
