"""Denoises a run's evaluation photos by classical methods, measured as `launch.evaluate` does.

    python -m launch.tools.classical_denoising --workdir=runs/photos

Needs scikit-image. The methods are told the noise's standard deviation, as a network that was
trained on one knows it.
"""

import tempfile

import numpy as np
from absl import flags

from common.config import require
from common.data.degradations import GaussianNoise, parse_degradations
from common.errors import UserError
from common.train.run_directory import read_config
from launch.main import run_main
from launch.tasks import make_task
from maxim_jax.evaluation import evaluate_pairs
from maxim_jax.protocols import get_protocol

_WORKDIR = flags.DEFINE_string("workdir", None, "Run that denoises Gaussian noise.")


def main(argv: list[str]) -> None:
    """Prints the mean PSNR and SSIM of every method."""
    del argv
    task = make_task(read_config(_WORKDIR.value))
    degradations = getattr(task.data, "degradations", ())
    steps = parse_degradations(degradations).steps
    known = len(steps) == 1 and isinstance(steps[0], GaussianNoise) and np.isscalar(steps[0].sigma)
    require(known, f"{_WORKDIR.value}: not a run on Gaussian noise of one standard deviation")
    sigma = steps[0].sigma / 255
    try:
        from skimage.restoration import denoise_nl_means, denoise_wavelet
    except ImportError as error:
        install = "pip install 'multi-axis-jax[photos]'"
        raise UserError(f"this needs scikit-image: {install}") from error

    def non_local_means(image: np.ndarray) -> np.ndarray:
        # The settings of scikit-image's own example.
        options = {"h": 0.6 * sigma, "sigma": sigma, "patch_size": 5, "patch_distance": 6}
        return denoise_nl_means(image, fast_mode=False, channel_axis=-1, **options)

    def wavelets(image: np.ndarray) -> np.ndarray:
        options = {"method": "BayesShrink", "mode": "soft", "rescale_sigma": True}
        return denoise_wavelet(image, sigma=sigma, convert2ycbcr=True, channel_axis=-1, **options)

    for method in (non_local_means, wavelets):
        with tempfile.TemporaryDirectory() as folder:
            data, protocol = task.whole_eval_data(), get_protocol("rgb")
            mean = evaluate_pairs(method, data, protocol, folder)["mean"]
        print(f"{method.__name__}: psnr {mean['psnr']:.2f}, ssim {mean['ssim']:.4f}")


if __name__ == "__main__":
    flags.mark_flags_as_required(["workdir"])
    run_main(main)
