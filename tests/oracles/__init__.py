"""Independent oracles that the certified reference is compared with, and the comparison."""
