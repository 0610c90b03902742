"""Programs as files that other runtimes read: StableHLO, ONNX, TensorFlow's SavedModel."""
