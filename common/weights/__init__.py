"""Foreign and own weight files: readers, name mapping, reports."""
