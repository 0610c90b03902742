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
