"""Other kernels and libraries, a backend a file: each with its operations and their words for reproducers."""
