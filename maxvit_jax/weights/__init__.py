"""One mapping table per foreign source."""
