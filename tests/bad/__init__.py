"""Kernels and backends that are wrong as those of users are, for the table tests/bad_input.toml."""
