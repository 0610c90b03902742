"""What MaxViT, MAXIM and their relatives share: layers, data, training, weights and metrics."""
