"""The peer of launch.benchmark: the same model of timm, repeated as often as lines on stdin say.

Run by `launch/peer.py`, in an environment with PyTorch and timm and nothing of this project.
"""

import argparse
import contextlib
import sys
import time

with contextlib.suppress(ImportError):
    import tvshim  # noqa: F401  some environments need torchvision's operators switched off
import timm
import torch


def main() -> None:
    """Prints `ready` and the seconds of the first repetition, then for every line those of as many
    as it says, one after the other.

    The first one compiles, where it is to.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", help="as timm calls it")
    parser.add_argument("--size", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--mode")
    parser.add_argument("--dtype")
    parser.add_argument("--warmup", type=int)
    parser.add_argument("--peer_mode", choices=("eager", "channels_last", "compile"))
    args = parser.parse_args()

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = timm.create_model(args.model, drop_path_rate=0.2).to(device)
    images = torch.randn(args.batch, 3, args.size, args.size, device=device)
    labels = torch.randint(1000, (args.batch,), device=device)
    if args.peer_mode != "eager":
        model, images = (x.to(memory_format=torch.channels_last) for x in (model, images))
    half = args.dtype == "bfloat16"
    if half and args.mode == "infer":  # weights too
        model, images = model.bfloat16(), images.bfloat16()
    torch.backends.cudnn.benchmark = True
    model.train(args.mode == "train")
    forward = torch.compile(model) if args.peer_mode == "compile" else model
    mixed = torch.autocast(device, torch.bfloat16, enabled=half)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=0.05)

    def infer() -> None:
        with torch.inference_mode():
            forward(images)

    def train() -> None:
        optimizer.zero_grad(set_to_none=True)
        with mixed:
            loss = torch.nn.functional.cross_entropy(forward(images).float(), labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    def timed(repetitions: int) -> float:
        start = time.perf_counter()
        for _ in range(repetitions):
            infer() if args.mode == "infer" else train()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    first, *_ = [timed(1) for _ in range(args.warmup)]
    print("ready", first, flush=True)
    for line in sys.stdin:
        print(timed(int(line)), flush=True)


if __name__ == "__main__":
    main()
