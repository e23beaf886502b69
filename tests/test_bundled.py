"""The bundled models on real photos: better than the best linear transform of the same latents."""

import numpy as np
import pytest
import skimage.data
from PIL import Image

from cosmotok import Tokenizer
from cosmotok.baselines import klt_name
from cosmotok.config import bundled_models, find_model
from cosmotok.errors import InputError
from cosmotok.evaluation.find import find_contestants
from cosmotok.evaluation.run import compare
from cosmotok.kernels.int8 import require_int8

# dB above the transform, whose components are not quantised: six numbers, where a discrete model has 16 bits.
MARGIN = {"dv8x16x16-tiny": -1.5}
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


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_model_beats_the_linear_transform_of_its_latents(photos, name):
    measured, others = photos
    linear = klt_name(find_model(name).config, "image")
    found = compare(find_contestants([name, linear], fit=others), measured, jobs=1)
    assert found.is_complete
    own, floor = (model.images.figures["psnr"].mean for model in found.models)
    assert own > floor + MARGIN.get(name, 0.5)


@pytest.mark.parametrize("name", BUNDLED)
def test_a_bundled_model_says_what_it_is(name):
    tokenizer = Tokenizer.from_pretrained(name)
    assert tokenizer.config == find_model(name).config
    assert all(np.isfinite(weight.float().numpy()).all() for weight in tokenizer.network.state_dict().values())


@pytest.mark.parametrize("name", BUNDLED)
def test_integers_lose_little(photos, name):
    try:
        require_int8()
    except InputError as error:
        pytest.skip(str(error))
    found = compare(find_contestants([name, f"{name}@int8"]), photos[0], jobs=1)
    floats, integers = (model.images.figures["psnr"].mean for model in found.models)
    assert integers > floats - 0.15
