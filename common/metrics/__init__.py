"""Host-side evaluation metrics."""
