"""Arithmetic of detection on boxes, one image at a time; the batch is mapped over outside."""
