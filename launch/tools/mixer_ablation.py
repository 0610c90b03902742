"""Compares token mixers: one small MetaFormer per mixer and seed, trained on handwritten digits.

    python -m launch.tools.mixer_ablation --workdir=runs/mixers --seeds=0,1,2

The claim of MetaFormer (Yu et al., CVPR 2022) in miniature: what mixes the tokens matters less than
the architecture around it. `accuracy.csv` and `accuracy.png` in the work directory are written
after every run; the same command continues where it stopped.
"""

import csv

import numpy as np
from absl import flags
from etils import epath

from common.config import require
from common.errors import UserError, did_you_mean
from common.pictures import dot_plot, save_png
from common.train import train
from configs import metaformer_ablation_digits as recipe
from launch.main import compilation_cache, run_main
from launch.tasks import make_task

_WORKDIR = flags.DEFINE_string("workdir", None, "Where the runs and the comparison go.")
_MIXERS = flags.DEFINE_list("mixers", list(recipe.MIXERS), "Token mixers to compare.")
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "One run per mixer and seed.")
_SMOKE = flags.DEFINE_bool("smoke", False, "A few steps each.")


def main(argv: list[str]) -> None:
    """Trains what is not trained yet, and draws the comparison."""
    del argv
    for mixer in _MIXERS.value:
        if mixer not in recipe.MIXERS:
            raise UserError(
                f"--mixers: unknown mixer {mixer!r}, {did_you_mean(mixer, recipe.MIXERS)}"
            )
    require(bool(_SEEDS.value), "--seeds is empty: name at least one, such as 0")
    numbers = all(seed.isdecimal() for seed in _SEEDS.value)
    require(numbers, f"--seeds={','.join(_SEEDS.value)}: expected integers, 0 or more")
    compilation_cache()
    folder = epath.Path(_WORKDIR.value)
    folder.mkdir(parents=True, exist_ok=True)
    accuracy = {mixer: [] for mixer in _MIXERS.value}
    for seed in _SEEDS.value:
        for mixer in _MIXERS.value:
            print(f"{mixer}, seed {seed}", flush=True)
            config = recipe.get_config(f"mixer={mixer}" + (",smoke=true" if _SMOKE.value else ""))
            config.seed = int(seed)
            results = train(make_task(config), config, str(folder / f"{mixer}_{seed}"))
            accuracy[mixer].append(100 * results["eval/accuracy_top1"])
            _write(folder, accuracy)
    for mixer, values in sorted(accuracy.items(), key=lambda item: -np.mean(item[1])):
        print(f"{mixer}: {np.mean(values):.2f} % ({', '.join(f'{v:.2f}' for v in values)})")
    print(f"the comparison is in {folder / 'accuracy.png'}")


def _write(folder: epath.Path, accuracy: dict[str, list[float]]) -> None:
    """Writes the table and the picture of what is known so far."""
    temporary = folder / ".accuracy.csv.tmp"
    with temporary.open("w") as file:
        rows = csv.writer(file)
        rows.writerow(["mixer", *(f"seed {seed}" for seed in _SEEDS.value)])
        rows.writerows([mixer, *values] for mixer, values in accuracy.items())
    temporary.replace(folder / "accuracy.csv")
    title = "digits, test accuracy in % (circles: seeds, bar: mean)"
    save_png(folder / "accuracy.png", dot_plot(accuracy, title=title))


if __name__ == "__main__":
    flags.mark_flags_as_required(["workdir"])
    run_main(main)
