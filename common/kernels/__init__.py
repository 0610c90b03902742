"""Fast paths per platform, each beside its plain reference."""
