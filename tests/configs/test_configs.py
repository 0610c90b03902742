"""Every recipe holds together, builds, and can be asked for in its words."""

import re

import pytest

import maxvit_jax
from common.errors import UserError
from common.train.sections import parse_trainer_sections
from tests.configs.recipes import (
    CHOICES,
    DETECTION,
    EVALUATION,
    FILES,
    GENERATION,
    QUALITY,
    RECIPES,
    RESTORATION,
    SEGMENTATION,
    VARIANTS,
    build_step,
    get,
    make_task,
    module,
    shortened,
)


def test_there_is_a_file_for_every_recipe():
    expected = {"maxvit_folder", "finetune", *CHOICES}
    expected |= {f"{family}_digits" for family in maxvit_jax.FAMILIES}
    expected |= {"metaformer_ablation_digits"}
    expected |= {f"maxvit_{v}" for v in VARIANTS} | {f"maxvit_{v}_finetune" for v in VARIANTS}
    expected |= {f"maxvit_{v}_21k" for v in ("base", "large", "xlarge")}
    expected |= {"maxim_folder", "maxim_photos", *RESTORATION}
    expected |= {"segment_folder", *SEGMENTATION, "detect_folder", *DETECTION, *EVALUATION}
    expected |= QUALITY
    expected |= {"gan_folder", *GENERATION}
    assert set(FILES) == expected


# Published recipes of one variant have one step.
SAME_STEP = RESTORATION.keys() - {"maxim_s3_sidd", "maxim_s2_lol"}
# One block of each kind is the same at every width, and in recipes that differ in numbers alone.
SAME_CODE = {"moat_21k", "caformer_finetune", "convformer_finetune"}
SAME_CODE |= {"finetune"}  # a group of the optimizer for every block, see test_finetune.py
SAME_CODE |= {"aewin_coco", "caformer_coco", "detect_coins", "detect_folder", "gan_folder"}
SAME_CODE |= {"segment_coins", *EVALUATION}
SAME_CODE |= {*(f"maxvit_{v}_ava" for v in VARIANTS[:3]), "quality_csv"}
# Their parts are in tests/models/test_every_detector.py and tests/heads, the wholes below.
SAME_CODE |= {"maxvit_coco", "moat_coco", "maxvit_coco_labels"}
SAME_CODE |= {"hit_imagenet128", "maxvit_gan_imagenet128"}  # see tests/models/test_hit_gan.py
SAME_CODE |= {f"maxvit_{v}{kind}" for v in VARIANTS[1:] for kind in ("", "_finetune", "_21k")}


@pytest.mark.parametrize("name", [name for name in FILES if name not in SAME_CODE | SAME_STEP])
def test_builds_with_one_block(name):
    """Of each kind: further ones repeat the first, see below. Recipes whose step is another's are
    compared by their sections."""
    config = get(name)
    if not {"depths", "backbone_fields"} & set(config.model):
        for field in ("depth", "high_res_stages", "num_supervision_scales"):
            config.model[field] = 1
    build_step(shortened(config))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "arg"), [r for r in RECIPES if r[0] not in SAME_STEP])
def test_builds(name, arg):
    """At its size, with two blocks of each kind: further ones repeat the second. The depths of
    registered models are traced in tests/models/test_every_model.py."""
    config = get(name, arg)
    by_block = any("block" in group["pattern"] for group in config.optimizer.groups)
    build_step(config if by_block else shortened(config, blocks=2))


@pytest.mark.parametrize("name", sorted(SAME_STEP))
def test_step_is_that_of_another_recipe(name):
    config, other = get(name), get("maxim_s3_sidd" if "_s3_" in name else "maxim_s2_lol")
    for section in ("model", "task", "optimizer"):
        assert config[section] == other[section]
    assert config.data.crop_size == other.data.crop_size


@pytest.mark.parametrize("name", [name for name in FILES if name not in EVALUATION])
def test_smoke_is_short(name):
    if name.endswith("_folder") or name in ("quality_csv", "finetune"):
        assert get(name, "steps=3").train.num_steps == 3
        return
    config = get(name, "smoke=true")
    assert config.train.num_steps <= 20 and config.data.num_workers == 0
    assert config.eval.every_steps >= config.train.num_steps


@pytest.mark.parametrize(
    ("name", "arg", "message"),
    [
        ("maxvit_tiny", "smok=true", "config argument 'smok': did you mean 'smoke'?"),
        ("maxvit_tiny", "size=384", "config argument 'size': choose from smoke"),
        ("maxvit_tiny_finetune", "size=big", "expected size=<int>"),
        ("maxvit_tiny_finetune", "size=400", "size=400: must be a multiple of 32"),
        ("maxvit_base_21k", "smoke", "expected smoke=<bool>"),
        ("maxvit_folder", "variant=maxvit_tinny", "did you mean 'maxvit_tiny'"),
        ("caformer", "variant=caformer_s16", "config argument variant=caformer_s16: did you mean"),
        ("poolformer", "variant=caformer_s18", "did you mean 'poolformer_s12'"),
        ("metaformer_baselines", "variant=randformer", "did you mean 'randformer_s"),
        ("convformer_finetune", "size=big", "expected size=<int>"),
        ("moat", "variant=moat_5", "did you mean 'moat_"),
        ("moat_finetune", "variant=tiny_moat_0", "did you mean 'moat_"),
        ("aewin", "smok=true", "config argument 'smok': did you mean 'smoke'?"),
        ("maxim_folder", "variant=maxim_s4", "unknown model 'maxim_s4'"),
        ("maxim_s2_lol", "smok=true", "config argument 'smok': did you mean 'smoke'?"),
        ("evaluate", "size=0", "size=0: must be a multiple of 32"),
        ("finetune", "mode=prob", "config argument mode=prob: did you mean 'probe'?"),
        ("finetune", "size=256x", "size=256x: a side in pixels such as 224, or height x width"),
        ("finetune", "layer_decay=0", "layer_decay=0.0: use (0, 1]"),
        ("evaluate", "sise=384", "config argument 'sise': did you mean 'size'?"),
        ("maxvit_digits", "smoke=yes", "expected smoke=<bool>"),
        ("segment_folder", "head=upernets", "head=upernets: did you mean 'upernet'?"),
        (
            "segment_folder",
            "backbone=poolformer",
            "backbone=poolformer: did you mean 'poolformer_s",
        ),
        ("moat_ade20k", "variant=moat_5", "did you mean 'moat_"),
        ("gan_folder", "model=hit_gan_63", "model=hit_gan_63: did you mean 'hit_gan_"),
    ],
)
def test_wrong_arguments(name, arg, message):
    with pytest.raises(UserError, match=re.escape(message)):
        get(name, arg)


@pytest.mark.parametrize("name", FILES)
def test_every_field_of_every_section_is_there(name):
    """Else the command line could not override it, and config.json would not tell the story."""
    config = get(name)
    task = make_task(get(name))
    sections = parse_trainer_sections(config.to_dict())
    sections |= {"data": task.data, "task": task.task_config, "init": task.init_config}
    for section, parsed in sections.items():
        assert set(config[section]) == set(vars(parsed)), section
    fields = set(type(task.model).__dataclass_fields__) - {"parent"}
    assert set(config.model) == fields  # "name" is the variant's


@pytest.mark.parametrize("name", [name for name in FILES if name not in EVALUATION])
def test_docstring_says_how_to_run_the_file(name):
    text = module(name).__doc__
    commands = re.findall(r"python -m launch\.train ((?:.*\\\n)*.*)", text)
    assert commands
    for command in commands:
        assert f"--config=configs/{name}.py" in command and "--workdir=" in command
        for field in re.findall(r"--config\.([\w.]+)=", text):
            section, key = field.split(".")
            assert key in get(name)[section]
    if "Published" in text:
        assert "Recipe:" in text and "Hardware:" in text
    named = {*RESTORATION, *CHOICES, *SEGMENTATION, *DETECTION, *GENERATION}
    if "Published" in text and name not in named:
        letter = {"tiny": "T", "small": "S", "base": "B", "large": "L", "xlarge": "XL"}
        assert text.startswith(f"MaxViT-{letter[name.split('_')[1]]} ")
