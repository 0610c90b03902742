"""Packages and dependencies. Lower bounds are what works: `.ci/run lowest` tries them."""

import runpy
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
PACKAGES = ("common", "configs", "launch", "maxim_jax", "maxvit_jax")
REQUIRED = [
    "absl-py>=2.1",
    "array_record>=0.8.1",
    "cloudpickle>=3.0",
    "clu>=0.0.12",
    "etils[epath]>=1.12",
    "flax>=0.12.0",
    "grain>=0.2.15",
    "huggingface_hub>=0.30",
    "importlib_resources>=6.4",  # tfds needs it for user-written builders and doesn't say so
    "jax>=0.8.0",
    "ml_collections>=1.1",
    "numpy>=2.0",
    "opencv-python-headless>=4.11",  # 16-bit colour images
    "optax>=0.2.8",
    "orbax-checkpoint>=0.11.33",
    "pillow>=12.0",
    "pyarrow>=17.0",  # embeddings as Parquet
    "PyYAML>=6.0",  # what lists the classes of data in YOLO's layout
    "rich>=13.7",
    "safetensors>=0.4.5",
    "scikit-learn>=1.5",  # the digits
    "scipy>=1.14",  # MATLAB files
    "tensorboard>=2.18",  # its event files
    "tensorflow-datasets>=4.9.10",
    "tifffile>=2025.3.30",  # TIFF files of more than 8 bits
]
# Checkpoints of official code, preparing data sets. On x86 Linux the build for CPUs.
TENSORFLOW = [
    "tensorflow-cpu>=2.21; sys_platform == 'linux' and platform_machine == 'x86_64'",
    "tensorflow>=2.21; sys_platform != 'linux' or platform_machine != 'x86_64'",
]
TORCH = ["torch>=2.13"]  # .pth, by the weights-only loader
# Bundled photos, its wavelet denoising; what compresses TIFF files beyond deflate and LZW.
PHOTOS = ["scikit-image>=0.24", "PyWavelets>=1.9", "imagecodecs>=2025.3.30"]
VIDEO = ["av>=18.1"]
ONNX = ["onnx>=1.23", "onnxruntime>=1.32"]
DETECTION = ["pycocotools>=2.0.8"]  # outlines of objects, average precision as COCO has it
DEMO = ["werkzeug>=3.1"]  # the page of launch.demo; tensorboard brings it too
TPU = ["jax[tpu]>=0.8.0"]  # libtpu; launch.plan --topology compiles with it where no TPU is
DOCS = ["mkdocs>=1.6", "mkdocs-material>=9.8", "mkdocs-jupyter>=0.26", "mkdocstrings[python]>=1.0"]
NOTEBOOKS = ["nbclient>=0.10", "ipykernel>=6.29"]
TEST = ["pytest>=8.3", "pytest-xdist>=3.8", "ruff>=0.17.6", *NOTEBOOKS]

setup(
    name="multi-axis-jax",
    version=runpy.run_path(str(ROOT / "common" / "version.py"))["__version__"],
    description="Multi-axis vision models in JAX: exact, trainable, fast",
    long_description=(ROOT / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: MacOS",
        "Operating System :: POSIX :: Linux",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in range(11, 15)),
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
    python_requires=">=3.11",
    packages=find_packages(include=[f"{name}*" for name in PACKAGES]),
    package_data={name: ["py.typed"] for name in PACKAGES}
    | {"common.data": ["*.json"], "common.demo": ["page.*"], "maxvit_jax": ["*.txt*", "py.typed"]},
    entry_points={"console_scripts": ["multi-axis = launch.cli:main"]},
    install_requires=REQUIRED,
    extras_require={
        "tensorflow": TENSORFLOW,
        "torch": TORCH,
        "photos": PHOTOS,
        "video": VIDEO,
        "detection": DETECTION,
        "onnx": ONNX,
        "demo": DEMO,
        "docs": DOCS,
        "test": TENSORFLOW + TORCH + PHOTOS + VIDEO + DETECTION + ONNX + DEMO + TEST,
        "cuda": ["jax[cuda13]>=0.8.0"],
        "tpu": TPU,
        "tpu-plan": TPU,
    },
)
