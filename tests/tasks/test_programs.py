"""Every job and family as files, run by their own runtimes: what the model itself gives."""

import functools
import zipfile

import jax
import numpy as np
import onnxruntime
import pytest
from jax import export
from jax import numpy as jnp
from onnx import load

import maxim_jax
import maxvit_jax
from common.errors import UserError
from common.export import onnx, onnx_sizes, saved_model, stablehlo
from common.program import Input, Program
from configs import aewin_digits, maxim_photos, maxvit_digits, metaformer_digits, moat_digits
from maxim_jax.inference import restorer_program
from maxvit_jax import detectors, gans, programs, segmenters
from maxvit_jax.tasks.quality import QualityTask
from tests.golden.weights import make_variables
from tests.heads import micro
from tests.launch.rotation import RotationTask
from tests.launch.rotation import get_config as rotation
from tests.tasks import gans as small_gans
from tests.tasks import patches

NORMALIZATION = {"mean": (127.5,) * 3, "std": (60.0,) * 3}


def saved(package, model, folder, **info):
    variables = make_variables(model, package.example_images(model))
    package.save_pretrained(folder, model, variables, **info)
    return str(folder)


def fields_of(recipe):
    fields = recipe.get_config().model.to_dict()
    return {name: value for name, value in fields.items() if value is not None}


def classifier(recipe, folder):
    fields = fields_of(recipe)
    model = maxvit_jax.create_model(**fields)
    info = {"preprocessing": {"image_size": 32, **NORMALIZATION}}
    return programs.classifier(fields["name"], saved(maxvit_jax, model, folder, **info), None)


def segmenter(folder):
    path = saved(segmenters, micro.create(), folder, preprocessing=NORMALIZATION)
    return programs.segmenter("poolformer_s12+semantic_fpn", path, None)


def detector(head, folder):
    info = {"preprocessing": NORMALIZATION | {"image_size": 64}}
    path = saved(detectors, micro.detector(head=head), folder, **info)
    return programs.detector(f"poolformer_s12+{head}", path, None)


def generator(folder):
    model = gans.create_model("hit_gan_32", **small_gans.FIELDS, generator_only=True)
    return programs.generator("hit_gan_32", saved(gans, model, folder))


def restorer(folder):
    model = maxim_jax.create_model(**fields_of(maxim_photos))
    variables = make_variables(model, maxim_jax.example_images(model))
    return restorer_program(model, variables)


def quality(folder):
    task = patches.make_task()
    variables = make_variables(task.model, jnp.zeros((1, patches.SIDE, patches.SIDE, 3)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(QualityTask, "of_run", lambda path, dtype: (task, variables))
        return QualityTask.program("maxvit_tiny", "run", None)


CASES = {
    "maxvit": functools.partial(classifier, maxvit_digits),
    "moat": functools.partial(classifier, moat_digits),
    "metaformer": functools.partial(classifier, metaformer_digits),
    "aewin": functools.partial(classifier, aewin_digits),
    "quality": quality,
    "segmentation": segmenter,
    "retinanet": functools.partial(detector, "retinanet"),
    "mask_rcnn": functools.partial(detector, "mask_rcnn"),
    "restoration": restorer,
    "generation": generator,
}
QUICK = {"generation"}
# Boxes that differ by rounding move masks: so do XLA's own levels of optimisation (docs/export.md).
ROUNDING = dict.fromkeys((("mask_rcnn", "masks"), ("mask_rcnn", "scores")), 1e-3)


def in_onnxruntime(path, program, inputs):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return dict(zip(program.outputs, session.run(list(program.outputs), inputs), strict=True))


def in_jax(path, program, inputs):
    del program
    with zipfile.ZipFile(path) as file:
        return export.deserialize(bytearray(file.read("model.stablehlo"))).call(inputs)


def in_tensorflow(path, program, inputs):
    import tensorflow as tf

    del program
    found = tf.saved_model.load(str(path)).signatures["serving_default"](
        **{name: tf.constant(array) for name, array in inputs.items()}
    )
    return {name: array.numpy() for name, array in found.items()}


FORMATS = {
    "onnx": (onnx, in_onnxruntime),
    "stablehlo": (stablehlo, in_jax),
    "savedmodel": (saved_model, in_tensorflow),
}


def example(program):
    """Two images, wider than high where sides are open."""
    open_sides = {"b": 2, "h": 1, "w": 2}
    rng, inputs = np.random.default_rng(0), {}
    for name, given in program.inputs.items():
        shape = [eval(str(size), {}, open_sides) for size in given.shape]
        largest = 255 if "0..255" in given.meaning else 1
        inputs[name] = rng.uniform(0, largest, shape).astype(given.dtype)
    if "size" in inputs:
        height, width = inputs["image"].shape[1:3]
        inputs["size"] = np.array([[height, width], [height - 5, width - 9]], np.int32)
    return inputs


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in CASES]
)
def test_files_give_what_the_model_gives(name, tmp_path):
    program = CASES[name](tmp_path / "weights")
    inputs = example(program)
    expected = jax.device_get(jax.jit(program)(inputs))
    assert expected.keys() == program.outputs.keys()
    for to, (writer, run) in FORMATS.items():
        path = tmp_path / f"model{writer.SUFFIX}"
        if to == "savedmodel" and "boxes" in program.outputs:
            with pytest.raises(UserError, match="TensorFlow can't run JAX's top_k"):
                writer.write(path, program)
            continue
        writer.write(path, program)
        found = run(path, program, inputs)
        assert found.keys() == expected.keys()
        for key, want in expected.items():
            got = np.asarray(found[key])
            assert (got.dtype, got.shape) == (want.dtype, want.shape), (to, key)
            assert np.std(want.astype(float)) > 0
            if want.dtype == np.uint8:  # a value between two may go either way
                far = np.abs(got.astype(int) - want) > (name == "generation")
                assert far.mean() < 1e-3, (to, key)
            else:
                scale = max(1.0, np.abs(want).max())
                bound = ROUNDING.get((name, key), 1e-4) * scale
                np.testing.assert_allclose(got, want, rtol=0, atol=bound, err_msg=to)


def test_a_job_that_says_nothing_is_exported_as_it_predicts(monkeypatch):
    task = RotationTask(rotation())
    variables = make_variables(task.model, jnp.zeros((1, 8, 8, 3)))
    monkeypatch.setattr(RotationTask, "of_run", lambda path, dtype: (task, variables))
    program = RotationTask.program("maxvit_tiny", "run", None)
    assert program.inputs == {"image": Input(("b", 8, 8, 3), "uint8")}
    assert str(jax.eval_shape(program, program.abstract_inputs())["angle"].shape) == "(b,)"
    with pytest.raises(UserError, match="--size does not apply: rotation"):
        RotationTask.program("maxvit_tiny", "run", (8, 8))


def test_what_onnx_lacks_is_named(tmp_path):
    program = Program(
        run=lambda variables, inputs: {"y": jnp.sort(inputs["x"])},
        variables={},
        inputs={"x": Input(("b", 3), "float32")},
        outputs={"y": ""},
        info={},
    )
    with pytest.raises(UserError, match="ONNX has no counterpart here of JAX's sort"):
        onnx.write(tmp_path / "sorted.onnx", program)


def test_loops(tmp_path):
    def run(variables, inputs):
        rows = jnp.arange(6.0).reshape(2, 3)
        total, sums = jax.lax.scan(lambda x, row: (x + row, x.sum(1)), inputs["x"], rows)
        return {"total": total, "sums": sums}

    outputs, x = {"total": "", "sums": ""}, np.eye(4, 3, dtype="f")
    program = Program(
        run=run, variables={}, inputs={"x": Input(("b", 3), "float32")}, outputs=outputs, info={}
    )
    onnx.write(tmp_path / "model.onnx", program)
    found = in_onnxruntime(tmp_path / "model.onnx", program, {"x": x})
    np.testing.assert_array_equal(found["total"], x + np.array([3, 5, 7]))
    np.testing.assert_array_equal(found["sums"], [x.sum(1), x.sum(1) + 3])
    (loop,) = (n for n in load(tmp_path / "model.onnx").graph.node if n.op_type == "Loop")
    body = next(attribute.g for attribute in loop.attribute if attribute.name == "body")
    state = [value.type.tensor_type for value in (*body.input, *body.output)]
    assert all(given.HasField("shape") for given in state)  # OpenVINO asks for axes
    assert {len(given.shape.dim) for given in state} == {0, 1, 2}


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_transposed_convolutions(padding, tmp_path):
    rng = np.random.default_rng(0)
    kernel, x = (rng.normal(size=size).astype("f") for size in ((3, 4, 5, 2), (2, 4, 6, 5)))

    def run(variables, inputs):
        return {"y": jax.lax.conv_transpose(inputs["x"], variables["kernel"], (2, 3), padding)}

    inputs = {"x": Input(("b", "h", "w", 5), "float32")}
    program = Program(
        run=run, variables={"kernel": kernel}, inputs=inputs, outputs={"y": ""}, info={}
    )
    onnx.write(tmp_path / "model.onnx", program)
    found = in_onnxruntime(tmp_path / "model.onnx", program, {"x": x})
    np.testing.assert_allclose(found["y"], jax.jit(program)({"x": x})["y"], rtol=1e-5, atol=1e-5)


# An open size, at a few values: what it is computed to be in the graph.
SIZES = {"b": lambda b: b, "b*b": lambda b: b * b, "-(-b//4)": lambda b: -(-b // 4)}
SIZES |= {"b%3": lambda b: b % 3, "7 - b//2": lambda b: 7 - b // 2}
SIZES |= {"max": lambda b: jax.core.max_dim(3 * b - 4, 6), "min": lambda b: jax.core.min_dim(b, 4)}


@pytest.mark.parametrize("text", SIZES)
def test_open_sizes_are_computed(text, tmp_path):
    def run(variables, inputs):
        return {"size": jnp.array(SIZES[text](inputs["x"].shape[0])) + inputs["x"][:1]}

    x = Input(("b",), "int32")
    program = Program(run=run, variables={}, inputs={"x": x}, outputs={"size": ""}, info={})
    onnx.write(tmp_path / "size.onnx", program)
    session = onnxruntime.InferenceSession(tmp_path / "size.onnx")
    for b in (1, 5, 12):
        (found,) = session.run(None, {"x": np.zeros(b, np.int32)})
        assert found == SIZES[text](b)


@pytest.mark.parametrize("text", ["print(b, b)", "b.real + 1", "c", "mod(b, 2, 3)", "b / 2"])
def test_nothing_but_sizes_is_computed(text):
    with pytest.raises(ValueError, match="in the size"):
        onnx_sizes.computed(text, {"b": "b"}, str, lambda *names: "made")
