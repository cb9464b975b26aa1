"""The backend `numpy`: SciPy's losses, and the absorption-free operations that show what can be reached."""
