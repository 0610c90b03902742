"""GANs whose generators mix pixels by multi-axis attention: HiT-GAN (Zhao et al., NeurIPS 2021,
https://arxiv.org/abs/2106.07631) and MaxViT-GAN (MaxViT, https://arxiv.org/abs/2204.01697, section
4.4).

Numerics of HiT follow google-research/hit-gan. Of MaxViT-GAN nothing was released: its blocks take
the places of HiT's self-attention, and all else is HiT's.
"""

from functools import partial

from flax import linen as nn
from jax import Array
from jax import numpy as jnp
from jax.typing import DTypeLike

from common.config import require
from common.errors import did_you_mean, nearest_valid
from common.kernels.gelu import exact_gelu
from common.layers.attention import MultiAxisAttention
from common.layers.mbconv import MBConv
from common.layers.mlp import Dense
from common.layers.multi_query_attention import MultiQueryAttention
from common.layers.norm import batch_norm
from common.layers.resize import nearest
from maxvit_jax.models.maxvit import HEAD_DIM
from maxvit_jax.models.stylegan2_discriminator import SMALLEST_MAP, Discriminator

SEED_SIZE = 8  # side of the map that a latent becomes
TOKENS = 16  # of the latent embedding that every stage attends to
MIXERS = ("hit", "maxvit")

hit_init = nn.initializers.truncated_normal(0.02)


class PositionEmbedding(nn.Module):
    """Adds a learned value to every position and channel."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Maps `[batch, *positions, channels]` to the same shape."""
        return x + self.param("table", hit_init, (1, *x.shape[1:]), jnp.float32).astype(x.dtype)


class ResidualMLP(nn.Module):
    """`x + MLP(BN(x))`: all that a stage of high resolution is made of.

    Attributes:
      norm_momentum: of the moving statistics of batch normalisation.
      dtype: compute type.
    """

    norm_momentum: float = 0.99
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Maps `[..., channels]` to the same shape."""
        channels = x.shape[-1]
        dense = partial(Dense, dtype=self.dtype, kernel_init=hit_init)
        norm = batch_norm(train=train, momentum=self.norm_momentum, dtype=self.dtype, name="norm")
        return x + dense(channels, name="shrink")(
            exact_gelu(dense(4 * channels, name="expand")(norm(x)))
        )


class HiTBlock(nn.Module):
    """`x + attention(BN(x))`, then `x + MLP(BN(x))` (section 3.1).

    Attributes:
      heads: of the queries.
      block_size: side of the blocks of multi-axis self-attention; None: attends to a sequence.
      norm_momentum: of the moving statistics of batch normalisation.
      dtype: compute type.
    """

    heads: int
    block_size: int | None = None
    norm_momentum: float = 0.99
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool, sequence: Array | None = None) -> Array:
        """Maps `[batch, height, width, channels]` to the same shape."""
        norm = partial(batch_norm, train=train, momentum=self.norm_momentum, dtype=self.dtype)
        block = None if self.block_size is None else (self.block_size,) * 2
        attention = MultiQueryAttention(
            self.heads, block, kernel_init=hit_init, dtype=self.dtype, name="attention"
        )
        x = x + attention(norm(name="attention_norm")(x), sequence)
        return ResidualMLP(self.norm_momentum, self.dtype, name="mlp")(x, train)


class GlobalToLocalBlock(nn.Module):
    """A MaxViT block turned round for generation: grid attention, block attention, MBConv.

    Attributes:
      window_size: side of windows and grids.
      norm_momentum: of the moving statistics of batch normalisation.
      dtype: compute type.
    """

    window_size: int
    norm_momentum: float = 0.99
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Maps `[batch, height, width, channels]` to the same shape."""
        window = (self.window_size,) * 2
        for kind, name in (("grid", "grid"), ("block", "window")):
            attention = MultiAxisAttention(kind, window, HEAD_DIM, dtype=self.dtype, name=name)
            x = attention(x, train=train)
        mbconv = MBConv(
            x.shape[-1], norm_momentum=self.norm_momentum, dtype=self.dtype, name="mbconv"
        )
        return mbconv(x, train=train)


class Generator(nn.Module):
    """Latents to images: a seed map grows in stages, each of which attends to the latent again.

    Attributes:
      widths: channels per stage; the first is of 8x8, each next one twice as long.
      depths: blocks per stage, beside the cross-attention.
      heads: of cross-attention, and of HiT's self-attention.
      block_sizes: side of blocks (of windows and grids) per stage; 0: MLPs alone, and an image that
        is added to those of other such stages.
      mixer: one of `MIXERS`: the blocks of stages with attention.
      out_channels: of the images.
      norm_momentum: of the moving statistics of batch normalisation.
      dtype: compute type; parameters, statistics and images are float32.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    block_sizes: tuple[int, ...]
    mixer: str = "hit"
    out_channels: int = 3
    norm_momentum: float = 0.99
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, latents: Array, train: bool) -> Array:
        """Makes images.

        Args:
          latents: `[batch, latent_dim]`, drawn from N(0, 1).
          train: batch normalisation uses the batch's own statistics and updates the moving ones.

        Returns:
          float32 `[batch, side, side, channels]`, about -1..1 and not clipped.
        """
        dense = partial(Dense, dtype=self.dtype, kernel_init=hit_init)
        norm = partial(batch_norm, train=train, momentum=self.norm_momentum, dtype=self.dtype)
        shared = {"norm_momentum": self.norm_momentum, "dtype": self.dtype}
        width = self.widths[0]
        x = dense(SEED_SIZE**2 * width, name="seed")(latents.astype(self.dtype))
        x = x.reshape(-1, SEED_SIZE, SEED_SIZE, width)
        tokens = dense(TOKENS * width, name="tokens")(latents.astype(self.dtype))
        tokens = PositionEmbedding(name="token_positions")(tokens.reshape(-1, TOKENS, width))
        tokens = norm(name="token_norm")(tokens)
        image = None
        stages = zip(self.widths, self.depths, self.heads, self.block_sizes, strict=True)
        for stage, (width, depth, heads, block_size) in enumerate(stages, 1):
            name = f"stage_{stage}"
            if stage > 1:
                x = _pixel_shuffle(x)
                if x.shape[-1] != width:
                    x = dense(width, name=f"{name}_project")(x)
            x = PositionEmbedding(name=f"{name}_positions")(x)
            x = HiTBlock(heads, **shared, name=f"{name}_cross")(x, train, tokens)
            for index in range(depth):
                block = self._block(heads, block_size, **shared, name=f"{name}_block_{index}")
                x = block(x, train)
            if not block_size:
                rgb = norm(name=f"{name}_rgb_norm")(x)
                rgb = dense(self.out_channels, name=f"{name}_rgb")(rgb).astype(jnp.float32)
                image = rgb if image is None else nearest(image, *rgb.shape[1:3]) + rgb
        return image

    def _block(self, heads: int, size: int, **fields) -> nn.Module:
        if not size:
            return ResidualMLP(**fields)
        if self.mixer == "maxvit":
            return GlobalToLocalBlock(size, **fields)
        return HiTBlock(heads, size, **fields)


class GAN(nn.Module):
    """A generator and the discriminator that it is trained against.

    Attributes:
      widths, depths, heads, block_sizes, mixer: of the generator, see `Generator`.
      discriminator_widths: channels by map, that of the image first, the last of 4x4.
      minibatch_stddev: the discriminator sees how much images of a batch differ.
      latent_dim: length of a latent.
      in_channels: channels of the images.
      generator_only: without the discriminator, which nobody needs after training.
      norm_momentum: of the moving statistics of the generator's batch normalisation.
      dtype: compute type; parameters, statistics, images and logits are float32.
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    block_sizes: tuple[int, ...]
    discriminator_widths: tuple[int, ...]
    mixer: str = "hit"
    minibatch_stddev: bool = False
    latent_dim: int = 256
    in_channels: int = 3
    generator_only: bool = False
    norm_momentum: float = 0.99
    dtype: DTypeLike = jnp.float32

    @property
    def image_size(self) -> int:
        """Side of the images in pixels."""
        return SEED_SIZE * 2 ** (len(self.widths) - 1)

    def setup(self):
        """Names parts `generator` and `discriminator`."""
        self.check()
        self.generator = Generator(
            self.widths,
            self.depths,
            self.heads,
            self.block_sizes,
            self.mixer,
            self.in_channels,
            self.norm_momentum,
            self.dtype,
        )
        if not self.generator_only:
            self.discriminator = Discriminator(
                self.discriminator_widths, self.minibatch_stddev, self.dtype
            )

    def __call__(self, latents: Array, train: bool = False) -> Array:
        """Makes images; see `Generator`. All that there is takes part, so that `init` makes it."""
        images = self.generator(latents, train)
        if self.is_initializing() and not self.generator_only:
            self.discriminator(images)
        return images

    def judge(self, images: Array) -> Array:
        """Returns how real images look, float32 `[batch]`; see `Discriminator`."""
        return self.discriminator(images)

    def check(self) -> None:
        """Raises UserError where the fields make no model."""
        fields = ("depths", "heads", "block_sizes")
        for name in fields:
            count, stages = len(getattr(self, name)), len(self.widths)
            require(count == stages, f"{name}: {count} for {stages} stages of widths")
        for name in ("widths", "depths", "heads", "discriminator_widths"):
            values = getattr(self, name)
            require(min(values, default=0) > 0, f"{name}={values}: positive ones are needed")
        for name in ("latent_dim", "in_channels"):
            require(getattr(self, name) > 0, f"{name}={getattr(self, name)} must be positive")
        momentum = self.norm_momentum
        require(0 <= momentum <= 1, f"norm_momentum={momentum}: use [0, 1]")
        hint = did_you_mean(self.mixer, MIXERS)
        require(self.mixer in MIXERS, f"mixer={self.mixer!r}: {hint}")
        require(
            self.block_sizes[-1] == 0,
            f"block_sizes={self.block_sizes}: the last stage makes the image, and has 0",
        )
        for stage, (width, heads, size) in enumerate(
            zip(self.widths, self.heads, self.block_sizes, strict=True)
        ):
            where, side = f"stage {stage + 1}", SEED_SIZE * 2**stage
            require(
                width % heads == 0,
                f"{where}: {width} channels don't divide by {heads} heads;"
                f" {nearest_valid(width, heads)}",
            )
            require(
                stage == len(self.widths) - 1 or width % 4 == 0,
                f"{where}: a width of {width} can't become 2x2 pixels; {nearest_valid(width, 4)}",
            )
            if size:
                fits = size > 0 and side % size == 0
                require(fits, f"{where}: blocks of {size} don't divide a map of {side}x{side}")
                even = self.mixer == "maxvit" or heads % 2 == 0
                require(even, f"{where}: {heads} heads have no halves")
                whole = self.mixer == "hit" or width % HEAD_DIM == 0
                hint = nearest_valid(width, HEAD_DIM)
                require(whole, f"{where}: {width} is not a multiple of {HEAD_DIM} channels; {hint}")
        maps = len(self.widths) + (SEED_SIZE // SMALLEST_MAP - 1)
        found = len(self.discriminator_widths)
        require(
            found == maps,
            f"discriminator_widths: {found}, but images of {self.image_size} pixels have {maps}"
            f" maps down to {SMALLEST_MAP}x{SMALLEST_MAP}",
        )


def _pixel_shuffle(x: Array) -> Array:
    """`[batch, height, width, 4 c]` to `[batch, 2 height, 2 width, c]`; rows come first."""
    batch, height, width, channels = x.shape
    x = x.reshape(batch, height, width, 2, 2, channels // 4).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(batch, 2 * height, 2 * width, channels // 4)


def _discriminator_widths(size: int) -> tuple[int, ...]:
    by_map = {256: 64, 128: 128, 64: 256, 32: 512, 16: 512, 8: 512, 4: 512}
    return tuple(width for side, width in by_map.items() if side <= size)


def _row(size: int, mixer: str, *, depths: tuple[int, ...], **fields: tuple[int, ...]) -> dict:
    return {
        **{"mixer": mixer, "depths": depths, **fields},
        "discriminator_widths": _discriminator_widths(size),
    }


# HiT's table 5 has 128 and 256 pixels; those below are cut off their beginning [ours]. Where it has
# two blocks of self-attention, MaxViT-GAN has one block, which attends twice. Its widths are not
# published: these make 18.6 M parameters at 128 pixels, as the paper says.
VARIANTS = {
    "hit_gan_32": _row(
        32, "hit", widths=(512, 512, 256), depths=(2,) * 3, heads=(16, 8, 4), block_sizes=(4, 4, 0)
    ),
    "hit_gan_64": _row(
        64,
        "hit",
        widths=(512, 512, 256, 128),
        depths=(2,) * 4,
        heads=(16, 8, 4, 4),
        block_sizes=(4, 4, 8, 0),
    ),
    "hit_gan_128": _row(
        128,
        "hit",
        widths=(512, 512, 256, 128, 128),
        depths=(2,) * 5,
        heads=(16, 8, 4, 4, 4),
        block_sizes=(4, 4, 8, 8, 0),
    ),
    "hit_gan_256": _row(
        256,
        "hit",
        widths=(512, 512, 256, 128, 64, 64),
        depths=(2, 2, 2, 2, 1, 1),
        heads=(16, 8, 4, 4, 4, 4),
        block_sizes=(4, 4, 8, 8, 0, 0),
    ),
    "maxvit_gan_32": _row(
        32,
        "maxvit",
        widths=(256, 256, 256),
        depths=(1, 1, 2),
        heads=(8, 8, 8),
        block_sizes=(4, 4, 0),
    ),
    "maxvit_gan_64": _row(
        64,
        "maxvit",
        widths=(256, 256, 256, 128),
        depths=(1, 1, 1, 2),
        heads=(8, 8, 8, 4),
        block_sizes=(4, 4, 8, 0),
    ),
    "maxvit_gan_128": _row(
        128,
        "maxvit",
        widths=(256, 256, 256, 128, 128),
        depths=(1, 1, 1, 1, 2),
        heads=(8, 8, 8, 4, 4),
        block_sizes=(4, 4, 8, 8, 0),
    ),
    "maxvit_gan_256": _row(
        256,
        "maxvit",
        widths=(256, 256, 256, 128, 64, 64),
        depths=(1, 1, 1, 1, 1, 1),
        heads=(8, 8, 8, 4, 4, 4),
        block_sizes=(4, 4, 8, 8, 0, 0),
    ),
}
