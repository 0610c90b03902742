"""What the developers of this project run: benchmarks against peers, generated tables, kills."""
