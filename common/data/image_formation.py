"""How light becomes a photo, as far as degradations need it: sRGB, blur kernels, weather."""

import cv2
import numpy as np

_STEPS_PER_PIXEL = 4  # of a motion path: fine enough that kernels are smooth
_RAIN_LAYERS = ((0.35, 1, 0.5, 0.5), (0.65, 1, 0.75, 0.3), (1.0, 2, 1.0, 0.2))
_SOFT_HORIZON = 0.08  # of the height: a sharp one would show as a line in the haze
_SUBPIXEL_BITS = 4  # of cv2's drawing coordinates


def to_linear(image: np.ndarray) -> np.ndarray:
    """Turns sRGB values into light in 0..1 (IEC 61966-2-1); clips first."""
    image = np.clip(image, 0, 1)
    return np.where(image <= 0.04045, image / 12.92, ((image + 0.055) / 1.055) ** 2.4)


def to_srgb(light: np.ndarray) -> np.ndarray:
    """Turns light into sRGB values in 0..1; clips first, as a sensor and a file do."""
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def motion_kernel(length: float, angle: float, bend: float, rng: np.random.Generator) -> np.ndarray:
    """Returns what a point becomes when the camera moves evenly along a curve.

    Args:
      length: of the curve in pixels.
      angle: its mean direction in degrees, from the right downwards.
      bend: standard deviation of the direction along it, in degrees.
      rng: draws the curve's shape.

    Returns:
      float32 `[side, side]`, side odd, sum 1, centre of mass in the middle.
    """
    count = int(np.ceil(length * _STEPS_PER_PIXEL)) + 1
    turns, phase = rng.uniform(0.3, 1.0), rng.uniform(0, 2 * np.pi)
    wave = np.sin(2 * np.pi * turns * np.linspace(0, 1, count) + phase)
    direction = np.deg2rad(angle + bend * (wave - wave.mean()) / (wave.std() + 1e-6))
    step = length / max(count - 1, 1)
    points = np.cumsum(step * np.stack([np.sin(direction), np.cos(direction)], axis=-1), axis=0)
    points -= points.mean(axis=0)
    reach = int(np.ceil(np.abs(points).max())) + 1
    kernel = np.zeros((2 * reach + 1,) * 2)
    corner = np.floor(points).astype(int)
    share = points - corner
    for dy in (0, 1):
        for dx in (0, 1):
            weight = np.abs(1 - dy - share[:, 0]) * np.abs(1 - dx - share[:, 1])
            np.add.at(kernel, (corner[:, 0] + dy + reach, corner[:, 1] + dx + reach), weight)
    return (kernel / kernel.sum()).astype(np.float32)


def disc_kernel(radius: float) -> np.ndarray:
    """Returns a disc with soft edges: float32 `[side, side]`, side odd, sum 1.

    Args:
      radius: in pixels; up to 0.5 it is a single pixel.
    """
    reach = int(np.ceil(radius))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = np.clip(radius + 0.5 - np.hypot(y, x), 0, 1)
    disc[reach, reach] = 1
    return (disc / disc.sum()).astype(np.float32)


def blur(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Spreads the light of an image in 0..1 by a kernel; mirrored at the borders."""
    light = to_linear(image).astype(np.float32)
    # The kernel turned round: OpenCV correlates.
    return to_srgb(cv2.filter2D(light, -1, kernel[::-1, ::-1], borderType=cv2.BORDER_REFLECT_101))


def rain_layer(
    height: int,
    width: int,
    density: float,
    length: float,
    angle: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draws streaks of rain in three distances.

    Args:
      height: of the picture in pixels.
      width: of the picture in pixels.
      density: area of the streaks, overlaps counted twice, as a share of the picture.
      length: of the closest streaks in pixels.
      angle: of the wind in degrees from the vertical.
      rng: draws places and sizes.

    Returns:
      Opacity, float32 `[height, width]` in 0..1.
    """
    rain = np.zeros((height, width), np.float32)
    for scale, thickness, opacity, share in _RAIN_LAYERS:  # far to near
        reach = max(length * scale, 1)
        area = (height + reach) * (width + reach)
        count = rng.poisson(share * density * area / (reach * thickness))
        start = rng.uniform(-reach, (width + reach, height + reach), (count, 2))
        tilt = np.deg2rad(angle + rng.normal(0, 2, count))
        fall = reach * rng.uniform(0.6, 1, count)
        end = start + np.stack([fall * np.sin(tilt), fall * np.cos(tilt)], axis=-1)
        lines = np.rint(np.stack([start, end], axis=1) * 2**_SUBPIXEL_BITS).astype(np.int32)
        layer = np.zeros((height, width), np.uint8)
        brightness = np.linspace(120, 255, 4)
        for part, value in zip(np.array_split(lines, 4), brightness, strict=True):
            cv2.polylines(
                layer, list(part), False, float(value), thickness, cv2.LINE_AA, _SUBPIXEL_BITS
            )
        soft = cv2.GaussianBlur(layer.astype(np.float32) / 255, (0, 0), 0.4 + 0.5 * scale)
        rain = np.maximum(rain, opacity * soft)
    return rain


def depth_map(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Makes up the depth of an outdoor scene: level ground up to a horizon, hills, sky.

    Args:
      height: of the picture in pixels.
      width: of the picture in pixels.
      rng: draws horizon and hills.

    Returns:
      float32 `[height, width]`, from 0 (closest) to 1.
    """
    y = np.linspace(0, 1, height)[:, None]
    horizon, camera_height = rng.uniform(0.15, 0.45), rng.uniform(0.1, 0.3)
    below = _SOFT_HORIZON * np.logaddexp(0, (y - horizon) / _SOFT_HORIZON)
    ground = camera_height / (below + camera_height)
    hills = cv2.resize(rng.uniform(-1, 1, (4, 5)), (width, height), interpolation=cv2.INTER_CUBIC)
    depth = ground + 0.1 * hills
    depth -= depth.min()
    return (depth / max(depth.max(), 1e-6)).astype(np.float32)


def add_haze(image: np.ndarray, depth: np.ndarray, beta: float, airlight: float) -> np.ndarray:
    """Mixes light of the scene with light that the air scatters, the more the farther away.

    Args:
      image: sRGB, `[height, width, 3]` in 0..1.
      depth: `[height, width]`, 0 or more.
      beta: scattering per unit of depth.
      airlight: light of an infinitely thick haze, in 0..1.

    Returns:
      sRGB of the same shape.
    """
    seen = np.exp(-beta * depth)[..., None]
    return to_srgb(to_linear(image) * seen + airlight * (1 - seen))


def count_photons(light: np.ndarray, photons: float, rng: np.random.Generator) -> np.ndarray:
    """Returns light as counted: Poisson with mean `photons` at 1, divided by it; float32."""
    return (rng.poisson(light * photons) / photons).astype(np.float32)
