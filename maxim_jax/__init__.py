"""Image restoration with multi-axis gated MLPs (MAXIM)."""
