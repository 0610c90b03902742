"""A tfds builder to prepare in tests; tfds wants builder classes in an importable package."""

import numpy as np
import tensorflow_datasets as tfds


class TinyShapes(tfds.core.GeneratorBasedBuilder):
    """Ten 1-channel PNGs of three classes; image i is filled with the value 20 * i."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(None, None, 1)),
                "label": tfds.features.ClassLabel(names=["circle", "square", "star"]),
                "file_name": tfds.features.Text(),
            }
        )
        return self.dataset_info_from_configs(features=features)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(10), "test": self._generate_examples(4)}

    def _generate_examples(self, count):
        for i in range(count):
            image = np.full((6, 5, 1), 20 * i, np.uint8)
            yield i, {"image": image, "label": i % 3, "file_name": f"shape_{i}.png"}


class Coco(tfds.core.GeneratorBasedBuilder):
    """Three images of 20x40 pixels with COCO's 80 classes and features of the same names."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        objects = {
            "id": np.int64,
            "area": np.int64,
            "bbox": tfds.features.BBoxFeature(),
            "label": tfds.features.ClassLabel(num_classes=80),
            "is_crowd": np.bool_,
        }
        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(encoding_format="png"),
                "image/filename": tfds.features.Text(),
                "image/id": np.int64,
                "objects": tfds.features.Sequence(objects),
            }
        )
        return self.dataset_info_from_configs(features=features)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        box = tfds.features.BBox(ymin=0.25, xmin=0.5, ymax=0.75, xmax=1.0)
        flat = tfds.features.BBox(ymin=0.5, xmin=0.5, ymax=0.5, xmax=1.0)
        for i in range(3):
            rows = [
                {"id": 900 + i, "area": 150, "bbox": box, "label": 79 * (i > 0), "is_crowd": i > 1},
                {"id": 990, "area": 0, "bbox": flat, "label": 3, "is_crowd": False},
            ]
            yield (
                i,
                {
                    "image": np.zeros((20, 40, 3), np.uint8),
                    "image/filename": f"{i:012}.jpg",
                    "image/id": 1000 + i,
                    "objects": rows if i else [],
                },
            )
