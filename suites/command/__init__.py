"""The command line of the suites: its options, the plan they make, the tests they select, and what a run says at its end."""
