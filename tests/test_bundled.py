"""The bundled models on real photos and clips: better than the best linear transform of the same latents."""

from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image

from cosmotok import Tokenizer
from cosmotok.config import bundled_models, find_model
from cosmotok.evaluation.find import find_contestants
from cosmotok.evaluation.options import Options
from cosmotok.evaluation.run import compare
from cosmotok.families.klt import klt_name

# dB above the transform, whose components are not quantised: six numbers, where a discrete model has 16 bits.
MARGIN = {"dv8x16x16-tiny": 0.2}
SHARED = Path(__file__).parents[2] / "shared" / "data"
BUNDLED = [entry.name for entry in bundled_models()]


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two photos to measure, and two others that the transform is fitted to."""
    folders = []
    for names in (("astronaut", "chelsea"), ("coffee", "rocket")):
        folders.append(tmp_path_factory.mktemp("photos"))
        for name in names:
            Image.fromarray(getattr(skimage.data, name)()[:288, :384]).save(folders[-1] / f"{name}.png")
    return folders


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Every fourth clip of the validation set to measure, and every tenth of the training set for the transform."""
    folders = []
    for source, step in (("val", 4), ("train", 10)):
        folders.append(tmp_path_factory.mktemp("clips"))
        for path in sorted((SHARED / source / "videos").iterdir())[::step]:
            (folders[-1] / path.name).symlink_to(path)
    return folders


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_model_beats_the_linear_transform_of_its_latents(photos, name):
    assert gain(name, "image", *photos) > MARGIN.get(name, 0.9)


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real clips at hand")
@pytest.mark.parametrize("name", [entry.name for entry in bundled_models() if entry.config.kind == "video"])
def test_a_video_model_beats_the_linear_transform_of_its_latents(clips, name):
    assert gain(name, "video", *clips) > MARGIN.get(name, 0.9)


def gain(name, kind, measured, others):
    """dB above the transform, fitted to `others`."""
    contestants = find_contestants([name, klt_name(find_model(name).config.spec, kind)], fit=others, frames=17)
    found = compare(contestants, measured, Options(jobs=1, frames=17))
    assert found.is_complete
    totals = [model.images if kind == "image" else model.videos for model in found.models]
    own, floor = (of_kind.figures["psnr"].mean for of_kind in totals)
    return own - floor


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_model_says_what_it_is(name):
    tokenizer = Tokenizer.from_pretrained(name)
    assert tokenizer.config == find_model(name).config
    assert all(np.isfinite(weight.float().numpy()).all() for weight in tokenizer.network.state_dict().values())


@pytest.mark.parametrize("name", BUNDLED)
def test_integers_lose_little(int8_at_hand, photos, name):
    found = compare(find_contestants([name, f"{name}@int8"]), photos[0], Options(jobs=1))
    floats, integers = (model.images.figures["psnr"].mean for model in found.models)
    assert integers > floats - 0.15
