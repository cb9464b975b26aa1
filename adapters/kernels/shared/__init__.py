"""What several of the kernels share."""
