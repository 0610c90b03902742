"""Reference outputs of the official code, each with the weights and images that made it.

Weights and images are functions of their names, shapes and a seed (`weights.py`), so a case stores
outputs only. `load_case(name)` knows, per family folder, one case for every manifest there:

    case = load_case("tf_micro")
    path = case.write_checkpoint(tmp_path / "model", "tf")  # or npz, safetensors, pth
    errors = case.compare({"logits": logits, "stage_1": maps["stage_1"]})
    assert max(errors.values()) < 1  # in units of the stored limit

`load_maxim_case(name)` knows the cases of `maxim/manifest.json`; their outputs are named as
`named_outputs` does: `stage_1/scale_0` is the first stage's finest.
"""

import dataclasses
import functools
import json
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from tests.golden.weights import make_image, make_weight

FOLDER = pathlib.Path(__file__).parent
EMA = "/ExponentialMovingAverage"

# `jax.jit` as users have it: undoes what `tests/conftest.py` saves, where limits are those of
# stored outputs.
full_jit = functools.partial(
    jax.jit,
    compiler_options={
        "xla_backend_optimization_level": 3,
        "xla_llvm_disable_expensive_passes": False,
        "xla_cpu_use_fusion_emitters": True,
    },
)

# Small cases that are compared so, one of each family; those of full size are besides.
AS_USERS_COMPILE = {"tf_micro", "micro_cls", "caformer_micro", "micro_nocross_nobias_64x64"}


def golden_jit(name: str) -> Callable[..., Any]:
    """`full_jit`, or `jax.jit` for further small cases: their limits are the same."""
    return jax.jit if "micro" in name and name not in AS_USERS_COMPILE else full_jit


def logits_and_maps(
    model: nn.Module, variables: Mapping[str, Any], images: Any
) -> tuple[Any, dict[str, Any]]:
    """What a backbone returns, and the maps that it made on the way: traced once for both."""
    logits, kept = model.apply(
        variables,
        images,
        capture_intermediates=lambda _, method: method == "features",
        mutable=["intermediates"],
    )
    return logits, kept["intermediates"]["features"][0]


@dataclasses.dataclass(frozen=True)
class Expected:
    """One stored output.

    Attributes:
      value: what is stored: a strided part of the full output.
      part: index that cuts the full output down to `value`.
      limit: largest allowed absolute difference, one for all or one per element.
      channels_first: the reference is `[batch, channels, height, width]`.
      rms_limit: largest allowed root mean square of the difference.
      flat_stride: `value` is every so-maniest element of the flattened output.
    """

    value: np.ndarray
    part: tuple[slice, ...]
    limit: float | np.ndarray
    channels_first: bool = False
    rms_limit: float = np.inf
    flat_stride: int | None = None


@dataclasses.dataclass(frozen=True)
class Case:
    """One run of a reference implementation.

    Attributes:
      name: of the manifest.
      config: configuration of the reference model, in its own words.
      shapes: shape per foreign variable name.
      expected: stored outputs. Gradient cases have `loss`, gradients under the foreign variable
        names and their norms under `norm of <name>`; training cases have moving statistics
        under the foreign variable names.
      manifest: everything the manifest says.
    """

    name: str
    config: dict[str, Any]
    shapes: dict[str, tuple[int, ...]]
    expected: dict[str, Expected]
    manifest: dict[str, Any]
    weight_seed: int
    image: dict[str, Any]

    def variables(self) -> dict[str, np.ndarray]:
        """Returns the float32 weights under their foreign names."""
        scale = np.float32(self.manifest.get("weights", {}).get("scale", 1.0))
        arrays = {n: make_weight(n, s, self.weight_seed) for n, s in self.shapes.items()}
        return {n: a * scale if a.ndim >= 2 else a for n, a in arrays.items()}

    def images(self) -> np.ndarray:
        """Returns the float32 input `[batch, height, width, 3]`."""
        return make_image(**self.image)

    def fields(self) -> dict[str, Any]:
        """Returns the fields of our model that are the reference's configuration."""
        c = self.config
        if self.manifest.get("family") == "moat":
            return _moat_fields(c)
        if self.manifest.get("family") == "metaformer":
            return _metaformer_fields(c, tuple(self.image["shape"][1:3]))
        if "model" in c:  # a timm name; the rest are our defaults
            return {"num_classes": c["num_classes"]}
        if "num_supervision_scales" in c:  # MAXIM's fields, by the same names
            fields = {k: v for k, v in c.items() if k != "variant"}
            return {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}
        window, ratio = c["window_size"], 1.0
        if c["scale_ratio"]:
            size, pretrained = map(int, c["scale_ratio"].split("/"))
            ratio = size / pretrained
        return {
            "stem_widths": tuple(c["stem_hsize"]),
            "widths": tuple(c["hidden_size"]),
            "depths": tuple(c["num_blocks"]),
            "num_classes": c["num_classes"],
            "window_size": window,
            "grid_size": c["grid_size"],
            "bias_window_size": round(window / ratio) if c["scale_ratio"] else None,
        }

    def compare(self, outputs: Mapping[str, Any]) -> dict[str, float]:
        """Returns max |difference| / limit per output (or that of the root mean square, where it
        is limited and closer to its limit); above 1 the output is wrong.

        Args:
          outputs: any of `expected`, in full size; maps are `[batch, height, width, channels]`.
        """
        return {name: self._error(name, output, limited=True) for name, output in outputs.items()}

    def differences(self, outputs: Mapping[str, Any]) -> dict[str, float]:
        """Returns max |difference| per output: see `compare`."""
        return {name: self._error(name, output, limited=False) for name, output in outputs.items()}

    def _error(self, name: str, output: Any, limited: bool) -> float:
        expected = self.expected[name]
        full = np.asarray(output, np.float32)
        if expected.channels_first and full.ndim == 4:
            full = full.transpose(0, 3, 1, 2)
        got = full[expected.part]
        if expected.flat_stride:
            got = got.ravel()[:: expected.flat_stride]
        assert got.shape == expected.value.shape, (name, got.shape, expected.value.shape)
        difference = np.abs(got - expected.value)
        if not limited:
            return float(np.max(difference))
        rms = float(np.sqrt(np.mean(np.square(difference))))
        return max(float(np.max(difference / expected.limit)), rms / expected.rms_limit)

    def write_checkpoint(self, path: str | pathlib.Path, fmt: str, ema: bool = False) -> str:
        """Writes the variables as a foreign file.

        Args:
          path: where to; a prefix for `tf`.
          fmt: `tf` (name-based checkpoint), `npz`, `safetensors` or `pth`.
          ema: as the official releases (`tf` only): moving averages under their own names, beside
            raw weights, optimizer slots and a step that must all be ignored.

        Returns:
          The path to load from.
        """
        arrays = self.variables()
        if ema:
            raw = {n: np.zeros_like(a) for n, a in arrays.items()}
            slots = {f"{n}/Adam": np.zeros_like(a) for n, a in arrays.items()}
            slots["global_step"] = np.array(90_000, np.int64)
            arrays = {n + EMA: a for n, a in arrays.items()} | raw | slots
        return write_arrays(path, arrays, fmt)


def write_arrays(path: str | pathlib.Path, arrays: Mapping[str, np.ndarray], fmt: str) -> str:
    """Writes named arrays in a foreign format (see `Case.write_checkpoint`); returns the path."""
    path = str(path)
    match fmt:
        case "tf":
            import tensorflow as tf

            names = list(arrays)
            tensors = [tf.constant(arrays[n]) for n in names]
            tf.raw_ops.SaveV2(
                prefix=path, tensor_names=names, shape_and_slices=[""] * len(names), tensors=tensors
            )
        case "npz":
            with open(path, "wb") as f:  # a file object: savez appends ".npz" to names
                np.savez(f, **arrays)
        case "safetensors":
            from safetensors.numpy import save_file

            save_file({n: np.asarray(a, order="C") for n, a in arrays.items()}, path)
        case "pth":
            import torch

            torch.save({n: torch.from_numpy(np.array(a)) for n, a in arrays.items()}, path)
        case _:
            raise ValueError(f"unknown format {fmt}")
    return path


def load_case(name: str, family: str = "maxvit") -> Case:
    """Reads one case, such as `tf_micro`, `tf_micro_grads` or `timm_maxvit_tiny_tf_224`."""
    path = FOLDER / family / f"{name}.json"
    manifest = json.loads(path.read_text())
    with np.load(path.with_suffix(".npz")) as file:
        stored = {key.replace("|", "/"): file[key] for key in file.files}
    if "base_case" in manifest:
        base = load_case(manifest["base_case"].split()[0], family)
        read = _gradients if "loss" in manifest else _training
        return dataclasses.replace(
            base, name=name, expected=read(stored, manifest), manifest=manifest
        )
    if "rtol_of_absmax" in manifest["tolerance"]:
        return _flattened(stored, manifest)
    config = manifest.get("config") or {k: manifest[k] for k in ("model", "num_classes")}
    image = {k: manifest["input"][k] for k in ("shape", "seed", "low", "high")}
    return Case(
        name,
        config,
        {n: tuple(shape) for n, shape in manifest["variables"].items()},
        _outputs(stored, manifest),
        manifest,
        manifest["weights"]["seed"],
        image,
    )


def _flattened(stored: dict[str, np.ndarray], manifest: dict[str, Any]) -> Case:
    """A case of MOAT or MetaFormer; outputs are named as our maps are."""
    first = 0 if manifest["family"] == "moat" else 1  # MOAT's `stage1` is its stem

    def ours(name: str) -> str:
        stage = re.fullmatch(r"stage(\d)", name)
        if not stage:
            return name
        number = int(stage[1]) - 1 + first
        return f"stage_{number}" if number else "stem"

    relative = manifest["tolerance"]["rtol_of_absmax"]
    expected = {
        ours(name): Expected(
            stored[name], (), relative * spec["absmax"], flat_stride=spec["stride"]
        )
        for name, spec in manifest["outputs"].items()
        if name in stored
    }
    return Case(
        manifest["name"],
        manifest["config"],
        {n: tuple(shape) for n, shape in manifest["variables"].items()},
        expected,
        {**manifest, "weights": {}},  # in words there: nothing scaled
        manifest["weight_seed"],
        {k: v for k, v in manifest["input"].items() if k in ("shape", "seed", "low", "high")},
    )


def load_module_case(name: str) -> tuple[Case, dict[str, np.ndarray]]:
    """Reads one case of a part of a model, such as `upernet`; also returns its inputs by name."""
    path = FOLDER / "downstream" / f"{name}.json"
    manifest = json.loads(path.read_text())
    seed, tolerance = manifest["weight_seed"], manifest["tolerance"]
    with np.load(path.with_suffix(".npz")) as file:
        expected = {
            key: Expected(
                file[key],
                (),
                tolerance.get(key, tolerance)["rtol_of_absmax"] * spec["absmax"],
                flat_stride=spec["stride"],
            )
            for key, spec in manifest["outputs"].items()
        }
    shapes = {n: tuple(shape) for n, shape in manifest["variables"].items()}
    weights = {"scale": manifest.get("weight_gain", 1.0)}
    case = Case(
        name, manifest["config"], shapes, expected, manifest | {"weights": weights}, seed, {}
    )
    inputs = {}
    for key, spec in manifest["inputs"].items():
        shape = spec["shape"]
        if spec.get("formula", "").startswith("make_image"):
            inputs[key] = make_image(shape, seed=seed)
            continue
        scale = np.float32(np.sqrt(np.prod(shape) / max(shape)))
        inputs[key] = make_weight(f"input/{key}", shape, seed) * scale
    return case, inputs


def _moat_fields(c: dict[str, Any]) -> dict[str, Any]:
    windows = c["window_size"]
    return {
        "stem_widths": tuple(c["stem_size"]),
        "widths": tuple(c["hidden_size"]),
        "depths": tuple(c["num_blocks"]),
        "block_kinds": tuple(c["block_type"]),
        "num_classes": c["num_classes"] or 0,
        "window_size": windows and tuple(window and tuple(window) for window in windows),
        "bias_window_size": tuple(c["position_embedding_size"]),
        "relative_bias": c["relative_position_embedding_type"] is not None,
        "global_attention_at_end": c["global_attention_at_end_of_moat_stage"],
        "head_dim": c["head_size"],
        "pool_size": c["pool_size"],
    }


def _metaformer_fields(c: dict[str, Any], image_size: tuple[int, int]) -> dict[str, Any]:
    if "naming" in c:  # a timm name; the rest are our defaults
        return {}
    first = c["act"] == "gelu_exact"
    mixers = c.get("token_mixers") or ["pool"] * len(c["dims"])
    positions = enumerate(c.get("add_pos_embs") or (), start=1)
    return {
        "widths": tuple(c["dims"]),
        "depths": tuple(c["depths"]),
        "mixers": tuple("sep_conv" if mixer == "sepconv" else mixer for mixer in mixers),
        "num_classes": c.get("num_classes", 0),
        "norm": "layer" if "LayerNorm" in c["norm"] else "group",
        "norm_epsilon": 1e-5 if first else 1e-6,
        "use_bias": first,
        "activation": "gelu" if first else "star_relu",
        "layer_scale": 1e-5 if first else None,
        "scaled_residuals": tuple(s for s, scale in enumerate(c.get("res_scale", ()), 1) if scale),
        "downsample_norms": not first,
        "position_embeddings": tuple(stage for stage, size in positions if size),
        "image_size": image_size,
        "feature_norms": "out_norms" in c,
        "pool_first": not first,
        "mlp_head": c.get("head") == "mlp",
    }


def load_maxim_case(name: str) -> Case:
    """Reads one case of MAXIM, such as `micro_asym_64x64` or `S-2_128x192`."""
    folder = FOLDER / "maxim"
    manifest = json.loads((folder / "manifest.json").read_text())
    case = manifest["cases"][name]
    tree = json.loads((folder / case["shapes"]).read_text())
    with np.load(folder / case["file"]) as file:
        stored = {key: file[key] for key in file.files}
    return Case(
        name,
        case["config"],
        dict(_leaves(tree, "opt/target")),
        _restored(stored, case),
        {**case, "weights": {"scale": manifest["weights"]["kernel_gain"]}},
        case["weight_seed"],
        {"shape": case["input_shape"], "seed": case["input_seed"], "low": 0.0, "high": 1.0},
    )


def named_outputs(outputs: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """Names MAXIM's outputs: stages count from 1, scales from 0 for the finest."""
    return {
        f"stage_{t}/scale_{s}": output
        for t, scales in enumerate(outputs, start=1)
        for s, output in enumerate(scales)
    }


def _leaves(tree: dict[str, Any], path: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{path}/{key}")
        else:
            yield f"{path}/{key}", tuple(value)


def _restored(stored: dict[str, np.ndarray], case: dict[str, Any]) -> dict[str, Expected]:
    """Keys are `out/stage{t}/scale{k}/stride{s}`; stages count from 0, scales from the coarsest."""
    tolerance, scales = case["tolerance"], case["config"]["num_supervision_scales"]
    expected = {}
    for key, value in stored.items():
        stage, scale, stride = map(int, re.fullmatch(r"\D+(\d+)\D+(\d+)\D+(\d+)", key).groups())
        sampled = slice(None, None, stride)
        expected[f"stage_{stage + 1}/scale_{scales - 1 - scale}"] = Expected(
            value,
            (slice(None), sampled, sampled),
            tolerance["max_abs_over_std"] * float(value.std()),
            rms_limit=tolerance["rms_over_std"] * float(value.std()),
        )
    return expected


def _outputs(stored: dict[str, np.ndarray], manifest: dict[str, Any]) -> dict[str, Expected]:
    tolerance = manifest["tolerance"]
    relative = tolerance["endpoints_max_abs_diff_over_max_abs"]
    return {
        name: Expected(
            stored[name],
            tuple(slice(None, None, stride) for stride in spec["strides"]),
            tolerance["logits_atol"] if name == "logits" else relative * spec["max_abs"],
            spec.get("layout", "").startswith("NCHW"),
        )
        for name, spec in manifest["outputs"].items()
        if name in stored
    }


def _training(stored: dict[str, np.ndarray], manifest: dict[str, Any]) -> dict[str, Expected]:
    """Outputs share the limit of the logits; stored parts are written `[:, ::5, ::5, ::3]`."""
    tolerance, outputs = manifest["tolerance"], manifest["outputs"]

    def part(text: str) -> tuple[slice, ...]:
        if text == "full":
            return ()
        steps = [axis.strip().removeprefix("::") for axis in text.strip("[]").split(",")]
        return tuple(slice(None) if s == ":" else slice(None, None, int(s)) for s in steps)

    return {
        name: Expected(value, part(outputs[name]), tolerance["logits_atol"])
        if name in outputs
        else Expected(value, (), tolerance["moving_atol"])
        for name, value in stored.items()
    }


def _gradients(stored: dict[str, np.ndarray], manifest: dict[str, Any]) -> dict[str, Expected]:
    """Norms below 1e-6 are left out: those gradients are zero but for rounding."""
    norms = {
        f"norm of {name}": np.float32(norm)
        for name, norm in manifest["gradient_l2_norms"].items()
        if norm > 1e-6
    }
    rtol, atol = manifest["tolerance"]["rtol"], manifest["tolerance"]["atol"]
    return {
        name: Expected(value, (), atol + rtol * np.abs(value))
        for name, value in (stored | norms).items()
    }
