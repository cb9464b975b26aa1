"""Tests of the suite itself: its reference, its judge and its adapters."""
