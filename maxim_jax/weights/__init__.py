"""Names of MAXIM's weights in other frameworks."""
