"""Necks and heads for dense tasks, on the maps of any backbone."""
