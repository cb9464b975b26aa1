"""The backend `torch`: PyTorch eager, under autocast and compiled; and what kernels on PyTorch share with it."""
