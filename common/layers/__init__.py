"""Modules that both model packages share; they need jax, flax and numpy only."""
