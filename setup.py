"""Packages and dependencies. Lower bounds are the versions the test suite runs with."""

import runpy
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
PACKAGES = ("common", "configs", "launch", "maxim_jax", "maxvit_jax")
REQUIRED = [
    "absl-py>=2.5",
    "array_record>=0.8.6",
    "cloudpickle>=3.1",
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
    "tensorboard>=2.21",  # its event files
    "tensorflow-datasets>=4.9.10",
]
# Checkpoints of official code, preparing data sets. On Linux the build for CPUs, which is smaller.
TENSORFLOW = [
    "tensorflow-cpu>=2.21; sys_platform == 'linux' and platform_machine == 'x86_64'",
    "tensorflow>=2.21; sys_platform != 'linux' or platform_machine != 'x86_64'",
]
TORCH = ["torch>=2.13"]  # .pth, by the weights-only loader
PHOTOS = ["scikit-image>=0.26", "PyWavelets>=1.9"]  # its bundled photos, its wavelet denoising
VIDEO = ["av>=18.1"]
DETECTION = ["pycocotools>=2.0.11"]  # outlines of objects, average precision as COCO has it
TEST = ["pytest>=9.2", "pytest-xdist>=3.8", "ruff>=0.17.6"]

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
    package_data={"common.data": ["*.json"]} | {name: ["py.typed"] for name in PACKAGES},
    entry_points={"console_scripts": ["multi-axis = launch.cli:main"]},
    install_requires=REQUIRED,
    extras_require={
        "tensorflow": TENSORFLOW,
        "torch": TORCH,
        "photos": PHOTOS,
        "video": VIDEO,
        "detection": DETECTION,
        "test": TENSORFLOW + TORCH + PHOTOS + VIDEO + DETECTION + TEST,
        "cuda": ["jax[cuda13]>=0.10.2"],
        "tpu": ["jax[tpu]>=0.10.2"],
    },
)
