"""`configs/quality_csv.py` with a model of a few thousand parameters."""

from configs import quality_csv


def get_config(arg=""):
    config = quality_csv.get_config(arg)
    config.model.update({"stem_widths": (4, 8), "widths": (32,), "depths": (1,), "window_size": 2})
    config.data.batch_size = 4
    return config
