"""Eight simulated devices for every test; compiled quickly, and kept between runs."""

import gc
import os
import pathlib

import jax

# Most of a test's time is XLA's: it compiles three times faster without its best code. Goldens are
# held to their limits by the best: `golden.cases.full_jit`. Processes that tests start inherit it.
QUICK = (
    "--xla_backend_optimization_level=0",
    "--xla_llvm_disable_expensive_passes=true",
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_cpu_parallel_codegen_split_count=1",  # parts for other cores, which run tests
)

os.environ["XLA_FLAGS"] = " ".join([*QUICK, os.environ.get("XLA_FLAGS", "")])
jax.config.update("jax_num_cpu_devices", 8)
jax.config.update(
    "jax_compilation_cache_dir", str(pathlib.Path(__file__).parent.parent / ".jax_cache")
)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)

# Tracing makes many objects and hardly any cycles; what imports made is there to stay.
gc.set_threshold(50_000, 20, 100)
gc.freeze()
