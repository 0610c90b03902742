"""Small segmentation models and detectors of every family."""

from maxvit_jax import detectors, segmenters

WIDTHS = {"widths": (8, 16, 16, 32), "depths": (1, 1, 1, 1), "drop_path_rate": 0.1}
BACKBONES = {
    "maxvit_tiny": WIDTHS | {"stem_widths": (4, 8), "widths": (32,) * 4, "window_size": 3},
    "tiny_moat_0": {"stem_widths": (4, 4), "head_dim": 8} | WIDTHS,
    "aewin_tiny": {"heads": (4,) * 4} | WIDTHS,
    "poolformer_s12": WIDTHS,
    "caformer_s18": {"head_dim": 8} | WIDTHS,
}
HEADS = {
    "semantic_fpn": {"channels": 8, "fpn_channels": 8},
    "upernet": {"channels": 8},
    "deeplabv3plus": {"channels": 8, "decoder_channels": 8, "low_level_channels": 4},
    "fpn_concat": {"channels": 8},
}


def create(backbone="poolformer_s12", head="semantic_fpn", **fields):
    """A model of about ten thousand parameters."""
    inner = BACKBONES[backbone] | fields.pop("backbone_fields", {})
    fields = {"num_classes": 4, "backbone_fields": inner, "head_fields": HEADS[head]} | fields
    return segmenters.create_model(f"{backbone}+{head}", **fields)


DETECTORS = {
    "retinanet": {"channels": 8, "depth": 1},
    "mask_rcnn": {"channels": 8, "box_channels": 8, "proposals": 100, "samples": 64},
    "cascade_mask_rcnn": {"channels": 8, "box_channels": 8, "proposals": 100, "samples": 64},
}
# As the released models of Model Garden are built.
MODEL_GARDEN = {
    "retinanet": {},
    "mask_rcnn": {"finest_stride": 8, "extra_levels": 2, "anchor_size": 3.0},
    "cascade_mask_rcnn": {
        **{"finest_stride": 8, "extra_levels": 2, "anchor_size": 3.0},
        **{"iou_thresholds": (0.6, 0.7), "stage_weights": (0.5, 0.5)},
    },
}


def detector(backbone="poolformer_s12", head="retinanet", convention="mm", **fields):
    """A detector of about ten thousand parameters."""
    inner = BACKBONES[backbone] | fields.pop("backbone_fields", {})
    garden = MODEL_GARDEN[head] if convention == "mg" else {}
    fields = {"num_classes": 4, "backbone_fields": inner, **DETECTORS[head], **garden} | fields
    return detectors.create_model(f"{backbone}+{head}", convention=convention, **fields)
