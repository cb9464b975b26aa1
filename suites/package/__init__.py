"""What `pip install` gives: the command `softmax-ce`, and below it the whole project.

This folder is installed as the package `softmax_ce_conformance`. The packages `reference`, `adapters` and `suites` are put
inside it, in `tree`. A process of the command finds them there, and no other process sees their names.
"""
