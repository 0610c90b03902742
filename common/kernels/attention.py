"""Softmax attention: the one place where all models compute it."""

from functools import partial

import jax
from jax import Array, lax
from jax import numpy as jnp
from jax.export import is_symbolic_dim

from common.errors import UserError
from common.kernels.choose import choose

FASTEST_OF_FEW = {"cpu": "late_division", "default": "turned_keys"}
FASTEST_OF_MANY = {"default": "turned_keys"}
FEW = 576  # positions; of 1024 the late division is three times slower (docs/experiments.md)
_CUDNN_POSITIONS, _UNSEEN = 8, -1e9  # it gets a multiple of the first


def dot_product_attention(
    qkv: Array,
    bias: Array | None = None,
    real: Array | None = None,
    *,
    implementation: str = "auto",
) -> Array:
    """Softmax attention of every group's positions over each other.

    Args:
      qkv: queries, keys and values, `[groups, positions, 3, heads, head_dim]`.
      bias: added to the scaled products, float32 `[heads, positions, positions]` (query, key).
      real: boolean `[groups, positions]`; False marks padding, which no query attends to.
      implementation: `"auto"`, `"reference"` (the definition, by einsum), `"turned_keys"`,
        `"late_division"` (the same, with values mixed before weights are made to add up to one),
        `"jax_nn"` (`jax.nn.dot_product_attention`, compiled by XLA) or `"cudnn"` (the same by
        cuDNN: NVIDIA GPUs, 16-bit types; it rounds the bias to such a one).

    Returns:
      `[groups, positions, heads, head_dim]`; the softmax is float32 always.

    Raises:
      UserError: there is no such implementation, or cuDNN doesn't take these.
    """
    formulations = {
        "reference": _reference,
        "turned_keys": _turned_keys,
        "late_division": _late_division,
        "jax_nn": partial(_by_jax, implementation="xla"),
        "cudnn": _by_cudnn,
    }
    positions = qkv.shape[1]
    few = not is_symbolic_dim(positions) and positions <= FEW
    fastest = FASTEST_OF_FEW if few else FASTEST_OF_MANY
    return choose(implementation, formulations, fastest, qkv, bias, real)


def attention_weights(qkv: Array, bias: Array | None = None, real: Array | None = None) -> Array:
    """Returns what `dot_product_attention`, of the same arguments, weights values by.

    Float32 `[groups, heads, positions, positions]` (query, key); the weights of a query add up to
    one.
    """
    return jax.nn.softmax(_logits(qkv, bias, real))


def _reference(qkv: Array, bias: Array | None, real: Array | None) -> Array:
    q, k, v = (qkv[:, :, i] for i in range(3))
    q = q * q.shape[-1] ** -0.5
    logits = jnp.einsum("gqhd,gkhd->ghqk", q, k, preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(_biased(logits, bias, real)).astype(qkv.dtype)
    return jnp.einsum("ghqk,gkhd->gqhd", weights, v)


def _turned_keys(qkv: Array, bias: Array | None, real: Array | None) -> Array:
    """Keys as `[groups, heads, head_dim, positions]`: plain batched products."""
    weights = attention_weights(qkv, bias, real).astype(qkv.dtype)
    v = qkv[:, :, 2].transpose(0, 2, 1, 3)
    return jnp.matmul(weights, v).transpose(0, 2, 1, 3)


def _by_jax(qkv: Array, bias: Array | None, real: Array | None, *, implementation: str) -> Array:
    q, k, v = (qkv[:, :, i] for i in range(3))
    bias = None if bias is None else bias[None]
    mask = (
        None
        if real is None
        else jnp.broadcast_to(real[:, None, None], (len(qkv), 1, qkv.shape[1], qkv.shape[1]))
    )
    return jax.nn.dot_product_attention(q, k, v, bias, mask, implementation=implementation)


def _by_cudnn(qkv: Array, bias: Array | None, real: Array | None) -> Array:
    """Padded, where logits have additions: their rows are read in pieces of 16 bytes."""
    positions = qkv.shape[1]
    if (bias is not None or real is not None) and (more := -positions % _CUDNN_POSITIONS):
        qkv = jnp.pad(qkv, [(0, 0), (0, more), (0, 0), (0, 0), (0, 0)])
        bias = jnp.zeros((1, positions, positions)) if bias is None else bias
        bias = jnp.pad(bias, [(0, 0), (0, more), (0, 0)])
        bias = jnp.pad(bias, [(0, 0), (0, 0), (0, more)], constant_values=_UNSEEN)
        real = None if real is None else jnp.pad(real, [(0, 0), (0, more)])
    try:
        return _by_jax(qkv, bias, real, implementation="cudnn")[:, :positions]
    except (NotImplementedError, RuntimeError, ValueError) as error:
        raise UserError(f"implementation='cudnn': {error}") from error


def _late_division(qkv: Array, bias: Array | None, real: Array | None) -> Array:
    """Divides `positions x head_dim` numbers instead of `positions x positions`."""
    logits = _logits(qkv, bias, real)
    largest = lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True))
    weights = jnp.exp(logits - largest)
    v = qkv[:, :, 2].transpose(0, 2, 1, 3)
    mixed = jnp.matmul(weights.astype(v.dtype), v, preferred_element_type=jnp.float32)
    mixed /= jnp.sum(weights, axis=-1, keepdims=True)
    return mixed.astype(v.dtype).transpose(0, 2, 1, 3)


def _logits(qkv: Array, bias: Array | None, real: Array | None) -> Array:
    """What the softmax is of, float32 `[groups, heads, positions, positions]`."""
    q = qkv[:, :, 0].transpose(0, 2, 1, 3) * qkv.shape[-1] ** -0.5
    k = qkv[:, :, 1].transpose(0, 2, 3, 1)
    return _biased(jnp.matmul(q, k, preferred_element_type=jnp.float32), bias, real)


def _biased(logits: Array, bias: Array | None, real: Array | None) -> Array:
    if bias is not None:
        logits += bias
    if real is not None:
        logits = jnp.where(real[:, None, None], logits, jnp.finfo(logits.dtype).min)
    return logits


def multi_query_attention(q: Array, k: Array, v: Array) -> Array:
    """Softmax attention of many query heads over keys and values of one (arXiv:1911.02150).

    Heads are queries like any other, so that both products are plain batched ones.

    Args:
      q: queries, `[groups, queries, heads, head_dim]`.
      k: keys, `[groups, positions, head_dim]`.
      v: values, of the same shape.

    Returns:
      `[groups, queries, heads, head_dim]`; the softmax is float32 always.
    """
    groups, queries, heads, head_dim = q.shape
    q = (q * head_dim**-0.5).reshape(groups, queries * heads, head_dim)
    logits = jnp.matmul(q, k.transpose(0, 2, 1), preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(logits).astype(v.dtype)
    return jnp.matmul(weights, v).reshape(groups, queries, heads, head_dim)
