"""AdamW, LAMB, SGD, Muon with clipping and a decay mask, for all parameters or groups of them."""

import dataclasses
import difflib
import itertools
import re
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import optax
from jax import numpy as jnp

from common.config import check_type, require
from common.errors import UserError, did_you_mean
from common.train.muon import is_product, muon

# Settings that each kind reads; those of every kind follow.
_ADAM = ("b1", "b2", "mu_dtype", "eps")
_READ_BY = {
    "adamw": _ADAM,
    "lamb": _ADAM,
    "sgd": ("momentum", "nesterov", "mu_dtype"),
    "muon": ("momentum", *_ADAM),
}
_COMMON = ("kind", "weight_decay", "no_decay", "clip_norm")


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerConfig:
    """The config's `optimizer` section.

    Attributes:
      kind: `"adamw"`, `"lamb"` (arXiv:1904.00962), `"sgd"` or `"muon"`: Muon for the kernels of
        products, AdamW for all other parameters, with the same learning rate.
      learning_rate: peak of the schedule.
      b1: decay of the first moment.
      b2: decay of the second moment.
      momentum: of `"sgd"` (0: none, without memory) and `"muon"`.
      nesterov: look ahead along the momentum.
      mu_dtype: of the stored first moment or momentum; `"bfloat16"` saves two bytes per parameter.
      eps: added to the root of the second moment.
      weight_decay: decoupled, multiplied by the learning rate; with `"sgd"` coupled, as PyTorch's:
        added to the clipped gradient, before the momentum.
      no_decay: regular expression; parameters whose path contains a match are not decayed.
      clip_norm: global gradient norm above which gradients are scaled down; None: never.
      ema_decay: exponential moving average of weights and batch statistics, used for evaluation;
        warmed up as `min(ema_decay, (1 + step) / (10 + step))`, as TensorFlow's. None: off.
      ema_start: steps during which that average is the latest weights.
      groups: parameters with settings of their own, such as
        `({"pattern": "^stem/", "frozen": True}, {"pattern": "^head/", "weight_decay": 0.0})`.
        A parameter belongs to the first group whose `pattern`, a regular expression, is found in
        its path; to the section itself if there is none. A group is `frozen` (never changed, no
        memory, no part in the clipped norm), or sets any of `learning_rate_factor` (times the
        schedule), `kind` and what that reads, `weight_decay`, `no_decay`, and `clip_norm`, by which
        it is clipped on its own. What it leaves out is the section's.
    """

    kind: Literal["adamw", "lamb", "sgd", "muon"] = "adamw"
    learning_rate: float
    b1: float = 0.9
    b2: float = 0.999
    momentum: float = 0.9
    nesterov: bool = False
    mu_dtype: Literal["float32", "bfloat16"] = "float32"
    eps: float = 1e-8
    weight_decay: float = 0.0
    no_decay: str = "bias|scale"
    clip_norm: float | None = None
    ema_decay: float | None = None
    ema_start: int = 0
    groups: tuple[dict[str, Any], ...] = ()

    def __post_init__(self):
        require(self.learning_rate > 0, "config.optimizer.learning_rate must be positive")
        require(self.weight_decay >= 0, "config.optimizer.weight_decay must not be negative")
        clips = self.clip_norm is None or self.clip_norm > 0
        require(clips, "config.optimizer.clip_norm must be positive, or None for no clipping")
        for name in ("b1", "b2", "momentum", "ema_decay"):
            in_range = getattr(self, name) is None or 0 <= getattr(self, name) < 1
            require(in_range, f"config.optimizer.{name} must be in [0, 1)")
        require(self.ema_start >= 0, "config.optimizer.ema_start must not be negative")
        _check_pattern(self.no_decay, "config.optimizer.no_decay")
        _parse_groups(self)


@dataclasses.dataclass(frozen=True)
class _Group:
    """One of `OptimizerConfig.groups`, checked; `settings` are a whole section's."""

    where: str
    pattern: str
    frozen: bool
    learning_rate_factor: float
    settings: OptimizerConfig
    clips_itself: bool


def decay_mask(params: Any, no_decay: str) -> Any:
    """Returns a tree of booleans: True where weight decay applies."""
    pattern = re.compile(no_decay)

    def decays(path: tuple, _: Any) -> bool:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return not (no_decay and pattern.search(name))

    return jax.tree_util.tree_map_with_path(decays, params)


def make_optimizer(
    config: OptimizerConfig, schedule: optax.Schedule
) -> optax.GradientTransformation:
    """Returns clipping followed by the optimizer, or one for each group, on the given schedule.

    LAMB scales every array's step by the ratio of the array's norm to the step's; arrays without
    decay are left out of that, as in Apex and timm, and take Adam's step.

    Its `init` raises a `UserError` for a group that no parameter belongs to.
    """
    groups = _parse_groups(config)
    if not groups:  # the state of runs from before there were groups
        return _clipped(config.clip_norm, _rule(config, schedule))
    rules = {"rest": _rule(config, schedule)}
    together = {"rest"}  # the labels whose gradients are clipped by their common norm
    for label, group in groups.items():
        if group.frozen:
            rules[label] = optax.stateless(_stay)
            continue
        rules[label] = _rule(group.settings, schedule, group.learning_rate_factor)
        if group.clips_itself:
            rules[label] = _clipped(group.settings.clip_norm, rules[label])
        else:
            together.add(label)

    def labels(params: Any) -> Any:
        return _labels(params, groups)

    def clipped(params: Any) -> Any:
        return jax.tree.map(lambda label: label in together, labels(params))

    optimizer = optax.partition(rules, labels)
    if config.clip_norm is None:
        return optimizer
    return optax.chain(
        optax.masked(optax.clip_by_global_norm(config.clip_norm), clipped), optimizer
    )


def hold_frozen(params: Any, config: OptimizerConfig) -> Any:
    """Returns the parameters for a loss whose gradient leaves out, as zeros, what is frozen.

    No backward pass is computed for it, and norms of the gradient are of what is trained.
    """
    groups = _parse_groups(config)
    if not any(group.frozen for group in groups.values()):
        return params

    def hold(label: str, leaf: Any) -> Any:
        return jax.lax.stop_gradient(leaf) if label in groups and groups[label].frozen else leaf

    return jax.tree.map(hold, _labels(params, groups), params)


def layer_decay(depths: Sequence[int], rate: float) -> tuple[dict[str, Any], ...]:
    """Groups for layer-wise learning-rate decay, as in BEiT and timm: one per block and the stem.

    Args:
      depths: of the model's stages.
      rate: the learning rate of a block over that of the next; of the last block over that of what
        follows, such as the head, which has the whole one.
    """
    layers = [r"(^|/)stem/"]
    for stage, depth in enumerate(depths, 1):
        layers += [rf"(^|/)stage_{stage}_((block_0|merging|downsample)/|positions$)"]
        layers += [rf"(^|/)stage_{stage}_block_{block}/" for block in range(1, depth)]
    return tuple(
        {"pattern": pattern, "learning_rate_factor": rate**above}
        for above, pattern in zip(range(len(layers), 0, -1), layers, strict=True)
    )


def _rule(
    config: OptimizerConfig, schedule: optax.Schedule, factor: float = 1.0
) -> optax.GradientTransformation:
    """The optimizer of a section or group, without clipping."""

    def mask(params: Any) -> Any:
        return decay_mask(params, config.no_decay)

    rate = schedule if factor == 1 else lambda step: factor * schedule(step)
    if config.kind == "adamw":
        return optax.adamw(
            rate,
            config.b1,
            config.b2,
            config.eps,
            mu_dtype=config.mu_dtype,
            weight_decay=config.weight_decay,
            mask=mask,
        )
    if config.kind == "muon":
        kernels = muon(
            rate,
            momentum=config.momentum,
            mu_dtype=config.mu_dtype,
            weight_decay=config.weight_decay,
            weight_decay_mask=mask,
        )
        rest = _rule(dataclasses.replace(config, kind="adamw", groups=()), schedule, factor)
        return optax.partition({"kernels": kernels, "rest": rest}, _of_muon)
    decay = optax.add_decayed_weights(config.weight_decay, mask)
    if config.kind == "lamb":
        return optax.chain(
            optax.scale_by_adam(config.b1, config.b2, config.eps, mu_dtype=config.mu_dtype),
            decay,
            optax.masked(optax.scale_by_trust_ratio(), mask),
            optax.scale_by_learning_rate(rate),
        )
    momentum = optax.trace(config.momentum, config.nesterov, config.mu_dtype)
    rest = [momentum] if config.momentum else []
    return optax.chain(decay, *rest, optax.scale_by_learning_rate(rate))


def _of_muon(params: Any) -> Any:
    """A tree of labels: `"kernels"` of products, or `"rest"`."""

    def label(path: tuple, leaf: Any) -> str:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return "kernels" if is_product(name, leaf) else "rest"

    return jax.tree_util.tree_map_with_path(label, params)


def _stay(updates: Any, _: Any) -> Any:
    """Updates that leave every bit: a sum with 0.0 would turn -0.0 into 0.0."""
    return jax.tree.map(lambda x: jnp.full_like(x, -0.0), updates)


def _clipped(
    norm: float | None, rule: optax.GradientTransformation
) -> optax.GradientTransformation:
    return rule if norm is None else optax.chain(optax.clip_by_global_norm(norm), rule)


def _parse_groups(config: OptimizerConfig) -> dict[str, _Group]:
    """The groups by label, in order.

    Raises:
      UserError: an unknown or unread setting, or a wrong value.
    """
    groups = {}
    for i, values in enumerate(config.groups):
        where = f"config.optimizer.groups[{i}]"
        groups[f"group_{i}"] = _parse_group(config, values, where)
    return groups


def _parse_group(config: OptimizerConfig, values: Mapping[str, Any], where: str) -> _Group:
    kinds = typing.get_type_hints(OptimizerConfig)
    own = {"pattern": str, "frozen": bool, "learning_rate_factor": float}
    settings = {name: kinds[name] for name in {*_COMMON, *itertools.chain(*_READ_BY.values())}}
    known = own | settings
    for name in values:
        require(name in known, f"{where}.{name}: unknown setting, {did_you_mean(name, known)}")
    values = {n: check_type(v, known[n], f"{where}.{n}") for n, v in values.items()}
    require(bool(values.get("pattern")), f"{where}.pattern is missing")
    _check_pattern(values["pattern"], f"{where}.pattern")
    factor = values.get("learning_rate_factor", 1.0)
    require(
        factor > 0, f"{where}.learning_rate_factor must be positive; frozen=True trains nothing"
    )
    frozen = values.get("frozen", False)
    kind = values.get("kind", config.kind)
    for name in values.keys() - {"pattern", "frozen"}:
        require(not frozen, f"{where}.{name}: the group is frozen, leave it out")
        read = name in own or name in _COMMON or name in _READ_BY[kind]
        require(read, f"{where}.{name}: kind {kind!r} does not read it, leave it out")
    changes = {name: value for name, value in values.items() if name in settings}
    try:
        changed = dataclasses.replace(config, groups=(), **changes)
    except UserError as error:
        raise UserError(str(error).replace("config.optimizer", where)) from None
    return _Group(where, values["pattern"], frozen, factor, changed, "clip_norm" in values)


def _labels(params: Any, groups: Mapping[str, _Group]) -> Any:
    """A tree of labels: a group's, or `"rest"`.

    Raises:
      UserError: a group that gets no parameter.
    """
    found: dict[str, str] = {}

    def label(path: tuple, _: Any) -> str:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        matches = (k for k, group in groups.items() if re.search(group.pattern, name))
        found[name] = next(matches, "rest")
        return found[name]

    tree = jax.tree_util.tree_map_with_path(label, params)
    given = set(found.values())
    for group in (group for label, group in groups.items() if label not in given):
        taken = any(re.search(group.pattern, name) for name in found)
        why = "earlier groups have all that match" if taken else _similar(group.pattern, found)
        require(False, f"{group.where}.pattern={group.pattern!r} gets no parameter: {why}")
    return tree


def _similar(pattern: str, paths: Mapping[str, Any]) -> str:
    """The hint that ends the message on a pattern without a match: paths that look like it."""
    names = sorted({n for path in paths for n in itertools.accumulate(path.split("/"), _join)})
    plain = re.sub(r"[^\w/]", "", pattern).strip("/")
    close = difflib.get_close_matches(plain, names, n=3, cutoff=0.4)
    close = close or sorted({path.split("/")[0] for path in paths})[:5]
    return f"no path matches; there are {', '.join(close)}"


def _join(parent: str, name: str) -> str:
    return f"{parent}/{name}"


def _check_pattern(pattern: str, where: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        require(False, f"{where}={pattern!r} is no pattern: {error}")
