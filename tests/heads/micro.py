"""Small segmentation models of every family."""

from maxvit_jax import segmenters

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
