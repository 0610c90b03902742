"""Anchors against stored ones of detectron2."""

import numpy as np
import pytest

from common.errors import UserError
from common.ops.anchors import level_anchors, octave_sizes, pyramid_anchors
from tests.golden.arrays import load_arrays

STRIDES = {"frcnn": (4, 8, 16, 32, 64), "retina": (8, 16, 32, 64, 128)}
FAMILIES = {  # size in cells, octaves, offset
    "frcnn_offset0": (8, 1, 0.0),
    "frcnn_offset05": (8, 1, 0.5),
    "retina_offset0": (4, 3, 0.0),
    "maxvit_offset05": (3, 3, 0.5),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_anchors_are_the_stored_ones(family):
    manifest, arrays = load_arrays("anchors")
    height, width = manifest["image"]
    size, octaves, offset = FAMILIES[family]
    strides = STRIDES["frcnn" if octaves == 1 else "retina"]
    sizes = octave_sizes(strides, size, octaves)
    # 320 / 128 is 2.5 cells: maps are ragged where strides don't divide the image.
    map_sizes = [(-(-height // stride), -(-width // stride)) for stride in strides]
    levels = pyramid_anchors(map_sizes, strides, sizes, offset=offset)
    for stride, anchors in zip(strides, levels, strict=True):
        count = int(arrays[f"{family}/stride{stride}_count"])
        assert len(anchors) == count
        part = anchors[:: max(1, count // 60)]
        np.testing.assert_allclose(part, arrays[f"{family}/stride{stride}"], atol=1e-3)


def test_meanings_of_ratios_mirror_each_other():
    wide = level_anchors((1, 2), 8, [16], [0.25], offset=0.5, ratio_of="height_width")
    np.testing.assert_allclose(wide, [[-12, 0, 20, 8], [-4, 0, 28, 8]])
    tall = level_anchors((1, 2), 8, [16], [0.25], offset=0.5, ratio_of="width_height")
    np.testing.assert_allclose(tall, [[0, -12, 8, 20], [8, -12, 16, 20]])
    with pytest.raises(UserError, match="ratio_of='width': did you mean 'width_height'"):
        level_anchors((1, 2), 8, [16], ratio_of="width")


def test_levels_that_differ_in_number_are_counted():
    with pytest.raises(UserError, match="1 map sizes, 2 strides, 2 anchor sizes"):
        pyramid_anchors([(4, 4)], (8, 16), [[8], [16]])
