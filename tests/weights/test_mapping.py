"""The mapping engine on a small made-up family."""

import numpy as np
import pytest

from common.errors import UserError
from common.layers.relative_bias import resize_table
from common.weights import layouts
from common.weights.mapping import (
    OURS,
    Table,
    Template,
    detect,
    export_arrays,
    flatten,
    import_arrays,
    unflatten,
)
from common.weights.readers import WeightFile

NORM = [("scale", "gamma"), ("mean", "moving_mean")]
TABLE = Table(
    "their names",
    "/",
    [
        (
            "stage_{s}_block_{b}",
            "net/block_{s-1:02}_{b:02}",
            [
                ("norm", "batch_norm", NORM),
                ("attention/qkv/kernel", "attention/{q,k,v}/weight", layouts.STACKED_HEADS),
                ("attention/relative_bias/table", "attention/bias_table", layouts.BIAS_TABLE),
            ],
        ),
        ("head/logits", "net/head", [("kernel", "w", layouts.TORCH_DENSE), ("bias", "b")]),
    ],
    respell=[(r"^head/", "net/head/")],
)
SHAPES = {
    "params/stage_1_block_0/norm/scale": (4,),
    "batch_stats/stage_1_block_0/norm/mean": (4,),
    "params/stage_3_block_12/attention/qkv/kernel": (8, 3, 2, 4),
    "params/stage_3_block_12/attention/relative_bias/table": (2, 5, 5),
    "params/head/logits/kernel": (4, 10),
    "params/head/logits/bias": (10,),
}


def make(shapes=SHAPES):
    rng = np.random.RandomState(0)
    return {name: rng.randn(*shape).astype(np.float32) for name, shape in shapes.items()}


def weight_file(arrays):
    return WeightFile("file", "npz", arrays)


def problem(arrays, shapes=SHAPES, **kwargs):
    with pytest.raises(UserError) as info:
        import_arrays(weight_file(arrays), TABLE, shapes, **kwargs)
    assert "\n" not in str(info.value)
    return str(info.value)


def test_template_reads_what_it_writes():
    template = Template("block_{s-1:02}_{b:02}/{rest*}/kernel")
    values = {"s": 3, "b": 14, "rest": "mbconv/se"}
    name = template.write(values)
    assert name == "block_02_14/mbconv/se/kernel"
    assert template.read(name) == values
    assert template.read("block_2_14/mbconv/se/kernel") is None  # two digits are asked for
    assert template.read("block_02_14/mbconv/se/bias") is None
    assert Template("a.b").read("axb") is None


def test_both_directions_are_exact_inverses():
    ours = make()
    theirs = export_arrays(TABLE, ours)
    assert set(theirs) == {
        "net/block_00_00/batch_norm/gamma",
        "net/block_00_00/batch_norm/moving_mean",
        "net/block_02_12/attention/q/weight",
        "net/block_02_12/attention/k/weight",
        "net/block_02_12/attention/v/weight",
        "net/block_02_12/attention/bias_table",
        "net/head/w",
        "net/head/b",
    }
    k = theirs["net/block_02_12/attention/k/weight"]
    np.testing.assert_array_equal(
        k, ours["params/stage_3_block_12/attention/qkv/kernel"][:, 1], strict=True
    )
    back, report = import_arrays(weight_file(theirs), TABLE, SHAPES)
    assert list(back) == list(ours)
    for name in ours:
        np.testing.assert_array_equal(back[name], ours[name], strict=True)
    assert (report.used, report.resized, report.fresh, report.left) == (8, {}, (), ())


@pytest.mark.parametrize(
    ("layout", "ours", "theirs"),
    [
        (layouts.FLATTENED, (3, 2, 4), (24,)),
        (layouts.TF_POINTWISE, (8, 16), (1, 1, 8, 16)),
        (layouts.TF_DEPTHWISE, (3, 3, 1, 8), (3, 3, 8, 1)),
        (layouts.TORCH_CONV, (3, 5, 8, 16), (16, 8, 3, 5)),
        (layouts.TORCH_CONV, (3, 3, 1, 8), (8, 1, 3, 3)),
        (layouts.TORCH_UP_CONV, (2, 2, 8, 16), (8, 16, 2, 2)),
        (layouts.TORCH_DENSE, (8, 3, 2, 4), (24, 8)),
        (layouts.TORCH_DENSE_FROM_HEADS, (2, 4, 8), (8, 8)),
        (layouts.TORCH_POINTWISE, (8, 16), (16, 8, 1, 1)),
    ],
)
def test_layouts_invert(layout, ours, theirs):
    array = np.random.RandomState(0).randn(*ours).astype(np.float32)
    foreign = layout.to_theirs(array)
    assert [a.shape for a in foreign] == [theirs]
    np.testing.assert_array_equal(layout.to_ours(foreign, ours), array, strict=True)


def test_other_spelling_is_the_same_array():
    theirs = export_arrays(TABLE, make())
    theirs["head/b"] = theirs.pop("net/head/b")
    back, _ = import_arrays(weight_file(theirs), TABLE, SHAPES)
    np.testing.assert_array_equal(back["params/head/logits/bias"], theirs["head/b"])
    theirs["net/head/b"] = theirs["head/b"]
    assert "1 there in two spellings (net/head/b)" in problem(theirs)


def test_every_kind_of_problem_is_named():
    theirs = export_arrays(TABLE, make())
    del theirs["net/block_02_12/attention/k/weight"]
    theirs["net/block_00_00/batch_norm/gamma"] = np.zeros(5, np.float32)
    theirs["net/block_03_00/batch_norm/gamma"] = np.zeros(4, np.float32)
    theirs["extra"] = np.zeros(4, np.float32)
    message = problem(theirs, hint="; do this")
    assert message == (
        "file (their names) does not fit the model:"
        " 1 missing (net/block_02_12/attention/k/weight);"
        " 1 mis-shaped (net/block_00_00/batch_norm/gamma [5], not [4]);"
        " 1 not of this model (net/block_03_00/batch_norm/gamma);"
        " 1 unexpected (extra); do this"
    )


def test_long_lists_are_counted():
    message = problem({"extra": np.zeros(1, np.float32)})
    assert "8 missing (" in message and ", 5 more)" in message


def test_not_finite_is_refused_where_it_is_used():
    theirs = export_arrays(TABLE, make())
    theirs["net/head/b"][3] = np.nan
    assert "array net/head/b holds NaN" in problem(theirs)
    import_arrays(weight_file(theirs), TABLE, SHAPES, skip=("head/logits",))


def test_skipped_modules_stay_fresh_and_leave_their_arrays():
    theirs = export_arrays(TABLE, make())
    shapes = {**SHAPES, "params/head/logits/bias": (3,), "params/head/logits/kernel": (4, 3)}
    assert "mis-shaped" in problem(theirs, shapes)
    back, report = import_arrays(weight_file(theirs), TABLE, shapes, skip=("head/logits",))
    assert set(report.fresh) == {"params/head/logits/bias", "params/head/logits/kernel"}
    assert report.left == ("net/head/b", "net/head/w")
    assert set(back) == set(SHAPES) - set(report.fresh)
    headless = {n: s for n, s in SHAPES.items() if "head" not in n}
    assert "2 not of this model" in problem(theirs, headless)
    back, report = import_arrays(weight_file(theirs), TABLE, headless, skip=("head/logits",))
    assert report.fresh == () and len(report.left) == 2


def test_idle_arrays_are_left():
    table = Table("their names", "/", TABLE.rows, idle=[r"net/block_99_\d+/.*", "net/head/b"])
    theirs = export_arrays(table, make())
    idle = {"net/block_99_00/batch_norm/gamma": np.full(1, np.nan)}
    back, report = import_arrays(weight_file(theirs | idle), table, SHAPES)
    assert report.left == tuple(idle)
    assert set(back) == set(SHAPES)  # what the model computes with is used, idle or not


def test_bias_tables_are_resized_when_only_their_sides_differ():
    name = "params/stage_3_block_12/attention/relative_bias/table"
    ours = make()
    theirs = export_arrays(TABLE, ours)
    back, report = import_arrays(weight_file(theirs), TABLE, {**SHAPES, name: (2, 9, 9)})
    assert report.resized == {name: ((2, 5, 5), (2, 9, 9))}
    np.testing.assert_array_equal(back[name], resize_table(ours[name], (5, 5)))
    assert "mis-shaped" in problem(theirs, {**SHAPES, name: (3, 9, 9)})


def test_own_names_are_a_table_as_well():
    ours = make()
    stored = {name.partition("/")[2]: a for name, a in ours.items()}
    table = "params/stage_3_block_12/attention/relative_bias/table"
    back, report = import_arrays(weight_file(stored), OURS, {**SHAPES, table: (2, 9, 9)})
    assert list(report.resized) == [table]
    np.testing.assert_array_equal(
        back["params/head/logits/kernel"], ours["params/head/logits/kernel"]
    )


def test_detection_wants_half_of_the_names():
    theirs = export_arrays(TABLE, make())
    other = Table("other names", ".", [("head/logits/kernel", "fc.weight")])
    assert detect(weight_file(theirs), [other, TABLE]) is TABLE
    assert detect(weight_file({"fc.weight": 0}), [other, TABLE]) is other
    assert detect(weight_file({"fc.weight": 0, "a": 0, "b": 0}), [other, TABLE]) is None
    whole = Table("with a decoder", ".", other.rows, idle=["[ab]"])
    assert detect(weight_file({"fc.weight": 0, "a": 0, "b": 0}), [whole, TABLE]) is whole
    assert detect(weight_file({"a": 0, "b": 0}), [whole, TABLE]) is None


def test_flatten_inverts():
    nested = {"params": {"a": {"b": 1}}, "batch_stats": {"a": {"m": 2}}}
    assert flatten(nested) == {"params/a/b": 1, "batch_stats/a/m": 2}
    assert unflatten(flatten(nested)) == nested
