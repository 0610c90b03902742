"""The table of published MAXIM checkpoints."""

import maxim_jax
from maxim_jax.checkpoints import CHECKPOINTS, checkpoint_markdown, checkpoint_table
from maxim_jax.protocols import PROTOCOLS

RECIPES = {  # by the folder in the bucket
    *("Denoising/SIDD", "Deblurring/GoPro", "Deblurring/REDS"),
    *("Deblurring/RealBlur_R", "Deblurring/RealBlur_J", "Deraining/Rain13k"),
    *("Deraining/Raindrop", "Dehazing/SOTS-Indoor", "Dehazing/SOTS-Outdoor"),
    *("Enhancement/LOL", "Enhancement/FiveK"),
}


def test_thirteen_rows_of_eleven_files():
    assert len(CHECKPOINTS) == 13
    assert {c.folder for c in CHECKPOINTS} == RECIPES
    assert len({c.data_set for c in CHECKPOINTS}) == 13
    for c in CHECKPOINTS:
        assert c.path == f"{c.folder}/checkpoint.npz"
        assert c.folder.lower().startswith(f"{c.task}/")
        assert c.model == ("maxim_s3" if c.task in ("denoising", "deblurring") else "maxim_s2")
        assert c.model in maxim_jax.list_models()
        assert c.data_set in {*PROTOCOLS, "dnd"}


def test_both_forms_say_the_same():
    text, markdown = checkpoint_table().splitlines(), checkpoint_markdown().splitlines()
    assert text[0].startswith("task") and text[-1].endswith("/gresearch/maxim/ckpt")
    assert text[1].split() == [
        *("denoising", "sidd", "maxim_s3.denoising_sidd", "Denoising/SIDD/checkpoint.npz"),
        *("39.96", "0.960"),
    ]
    assert len({line.rindex(" ") for line in text[1:-1]}) == 1  # aligned
    assert len(text) - 2 == len(markdown) - 2 == 13
    for line, row in zip(text[1:-1], markdown[2:], strict=True):
        assert all(cell in row for cell in line.split())
    assert "(https://storage.googleapis.com/gresearch/maxim/ckpt/Enhancement/LOL/" in markdown[-2]
