"""The peers of launch.tools.benchmark_input_peers: loaders of timm and torchvision, one thread.

Run by it, in an environment with PyTorch, torchvision and timm and nothing of this project.
"""

import argparse
import contextlib
import sys
import time
from pathlib import Path

with contextlib.suppress(ImportError):
    import tvshim  # noqa: F401  some environments need torchvision's operators switched off
import torch
from timm.data import create_transform
from timm.data.dataset import ImageDataset
from timm.data.loader import fast_collate
from torchvision import io
from torchvision.transforms import v2

BICUBIC = v2.InterpolationMode.BICUBIC


def main() -> None:
    """Prints `ready`, then for every line the seconds and processor seconds of some batches."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pipeline", choices=("timm", "torchvision"))
    parser.add_argument("--photos", type=Path, help="folder of the folder `train`")
    parser.add_argument("--size", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--batches", type=int, help="of a repetition")
    parser.add_argument("--randaugment", help="as timm calls it; empty: none")
    args = parser.parse_args()

    torch.set_num_threads(1)
    made = {"timm": timm_batches, "torchvision": torchvision_batches}
    batches = made[args.pipeline](args)

    def timed() -> tuple[float, float]:
        start, busy = time.perf_counter(), time.process_time()
        for _ in range(args.batches):
            next(batches)
        return time.perf_counter() - start, time.process_time() - busy

    timed()
    print("ready", flush=True)
    for _ in sys.stdin:
        print(*timed(), flush=True)


def timm_batches(args: argparse.Namespace):
    """timm's data set, transforms and collation, as its prefetcher takes them: uint8."""
    transform = create_transform(
        args.size,
        is_training=True,
        use_prefetcher=True,
        color_jitter=None,
        auto_augment=args.randaugment or None,
        interpolation="bicubic",
    )
    data = ImageDataset(str(args.photos / "train"), transform=transform)
    return _endless(data, args.batch, fast_collate)


def torchvision_batches(args: argparse.Namespace):
    """torchvision's decoder and its transforms of tensors: uint8."""
    transforms = [
        v2.RandomResizedCrop(args.size, interpolation=BICUBIC),
        v2.RandomHorizontalFlip(),
    ]
    if args.randaugment:
        transforms.append(v2.RandAugment(num_ops=2, magnitude=9))
    return _endless(Photos(args.photos, v2.Compose(transforms)), args.batch, None)


class Photos(torch.utils.data.Dataset):
    """JPEG files, decoded by torchvision."""

    def __init__(self, root: Path, transform: v2.Transform):
        self._paths, self._transform = sorted(map(str, root.glob("train/*/*.jpg"))), transform

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int):
        image = io.decode_jpeg(io.read_file(self._paths[index]), mode=io.ImageReadMode.RGB)
        return self._transform(image), 0


def _endless(data: torch.utils.data.Dataset, batch: int, collate):
    sampler = torch.utils.data.RandomSampler(data, replacement=True, num_samples=1 << 30)
    loader = torch.utils.data.DataLoader(data, batch, sampler=sampler, collate_fn=collate)
    return iter(loader)


if __name__ == "__main__":
    main()
