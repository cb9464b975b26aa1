"""How to ask each backend for losses and derivatives: a folder for each framework, and a file for each kernel in kernels/."""
