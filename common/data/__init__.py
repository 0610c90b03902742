"""From files to batches: sources, decoding, preprocessing, augmentation, pipeline."""
