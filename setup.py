"""Packages and dependencies. Lower bounds are the versions the test suite runs with."""

from pathlib import Path

from setuptools import find_packages, setup

REQUIRED = [
    "absl-py>=2.5",
    "array_record>=0.8.6",
    "cloudpickle>=3.1",
    "clu>=0.0.12",
    "etils[epath]>=1.15",
    "flax>=0.12.8",
    "grain>=0.2.18",
    "importlib_resources>=7.1",  # tfds needs it for user-written builders and doesn't say so
    "jax>=0.10.2",
    "ml_collections>=1.1",
    "numpy>=2.4",
    "opencv-python-headless>=5.0",  # 16-bit colour images
    "optax>=0.2.8",
    "orbax-checkpoint>=0.12.8",
    "pillow>=13.0",
    "PyYAML>=6.0",  # what lists the classes of data in YOLO's layout
    "rich>=15.0",
    "safetensors>=0.8",
    "scikit-learn>=1.9",  # the digits
    "scipy>=1.17",  # MATLAB files
    "tensorboard>=2.21",  # clu's writers import it
    "tensorflow-cpu>=2.21",  # clu's writers, and reading official checkpoints
    "tensorflow-datasets>=4.9.10",
]
# Reading .pth with the weights-only loader. Bounded above: newer ones are untested.
TORCH = ["torch>=2.13,<2.14"]
PHOTOS = ["scikit-image>=0.26", "PyWavelets>=1.9"]  # its bundled photos, its wavelet denoising
VIDEO = ["av>=18.1"]
DETECTION = ["pycocotools>=2.0.11"]  # outlines of objects, average precision as COCO has it
DEMO = ["werkzeug>=3.1"]  # the page of launch.demo; tensorboard brings it too
NOTEBOOKS = ["nbclient>=0.11", "ipykernel>=7.4"]
TEST = ["pytest>=9.2", "pytest-xdist>=3.8", "ruff>=0.17.6", *NOTEBOOKS]

setup(
    name="multi-axis-jax",
    version="0.1.0",
    description="Multi-axis vision models in JAX: exact, trainable, fast",
    long_description=(Path(__file__).parent / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=find_packages(
        include=[f"{p}*" for p in ("common", "configs", "launch", "maxvit_jax", "maxim_jax")]
    ),
    package_data={"common.data": ["*.json"], "common.demo": ["page.*"]},
    install_requires=REQUIRED,
    extras_require={
        "torch": TORCH,
        "photos": PHOTOS,
        "video": VIDEO,
        "detection": DETECTION,
        "demo": DEMO,
        "test": TORCH + PHOTOS + VIDEO + DETECTION + DEMO + TEST,
        "cuda": ["jax[cuda13]>=0.10.2"],
        "tpu": ["jax[tpu]>=0.10.2"],
    },
)
