"""The backend `jax`: JAX and optax, op by op and under jax.jit."""
