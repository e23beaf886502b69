"""The Haar transform: lossless, with the published bands and scale, the same in chunks as at once."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cosmotok.network import HaarTransform, InverseHaarTransform, StreamState

CASES = [(2, True), (4, True), (2, False), (4, False)]
shapes = st.tuples(*(st.integers(1, 3) for _ in range(5)))
each_case = pytest.mark.parametrize(("patch", "temporal"), CASES)


def integers(patch, temporal, shape, seed=0):
    """Whole numbers of a byte's size: all sums of the transform are exact in float32."""
    b, t, h, w, c = shape
    frames = 1 + (t - 1) * patch if temporal else t
    noise = np.random.default_rng(seed).integers(-128, 128, (b, frames, h * patch, w * patch, c))
    return torch.from_numpy(noise.astype(np.float32))


def direct_level(x, temporal):
    """One level by definition: every band is the mean of a cell's values, each with the band's signs."""
    # (letter of the band, first varying slowest): time, height, width for videos; width, height for images
    bands = product((0, 1), repeat=3 if temporal else 2)
    levels = []
    for band in bands:
        t_high, h_high, w_high = band if temporal else (0, *band[::-1])
        total = 0
        corners = list(product((0, 1) if temporal else (0,), (0, 1), (0, 1)))
        for t, h, w in corners:
            sign = (-1) ** (t * t_high + h * h_high + w * w_high)
            part = x[:, t :: 2 if temporal else 1, h::2, w::2]
            total = total + sign * part
        levels.append(total / len(corners))
    return np.concatenate(levels, axis=-1)


def direct(x, patch, temporal):
    x = x.double().numpy()
    if temporal:
        x = np.concatenate([x[:, :1]] * (patch - 1) + [x], axis=1)
    for _ in range({2: 1, 4: 2}[patch]):
        x = direct_level(x, temporal)
    return torch.from_numpy(x)


@each_case
@given(shape=shapes)
def test_whole_numbers_come_back_exactly(patch, temporal, shape):
    x = integers(patch, temporal, shape)
    bands = HaarTransform(patch, temporal)(x)
    assert torch.equal(InverseHaarTransform(patch, temporal)(bands), x)


@each_case
@given(shape=shapes)
def test_floats_come_back(patch, temporal, shape):
    x = torch.sin(integers(patch, temporal, shape))
    bands = HaarTransform(patch, temporal)(x)
    torch.testing.assert_close(InverseHaarTransform(patch, temporal)(bands), x, atol=2e-6, rtol=0)


@each_case
@given(shape=shapes)
def test_equals_the_definition(patch, temporal, shape):
    x = integers(patch, temporal, shape)
    bands = HaarTransform(patch, temporal)(x)
    b, t, h, w, c = shape
    assert bands.shape == (b, t, h, w, c * patch ** (3 if temporal else 2))
    assert torch.equal(bands.double(), direct(x, patch, temporal))


def test_low_band_of_a_video_is_the_mean_of_eight():
    x = torch.arange(3 * 2 * 2, dtype=torch.float32).reshape(1, 3, 2, 2, 1)
    bands = HaarTransform(2, temporal=True)(x)
    assert bands[0, 1, 0, 0, 0] == x[:, 1:].mean()


@pytest.mark.parametrize("band", range(8))
def test_bands_of_a_video_are_ordered_time_height_width(band):
    t_high, h_high, w_high = band >> 2 & 1, band >> 1 & 1, band & 1
    x = torch.zeros(1, 3, 2, 2, 1)
    for t, h, w in product((0, 1), repeat=3):
        x[0, 1 + t, h, w] = (-1) ** (t * t_high + h * h_high + w * w_high)
    bands = HaarTransform(2, temporal=True)(x)[0, 1, 0, 0]
    assert bands.tolist() == [float(i == band) for i in range(8)]


@pytest.mark.parametrize("band", range(4))
def test_bands_of_an_image_are_ordered_width_height(band):
    w_high, h_high = band >> 1, band & 1
    x = torch.zeros(1, 1, 2, 2, 1)
    for h, w in product((0, 1), repeat=2):
        x[0, 0, h, w] = (-1) ** (h * h_high + w * w_high)
    bands = HaarTransform(2, temporal=False)(x)[0, 0, 0, 0]
    assert bands.tolist() == [float(i == band) for i in range(4)]


@pytest.mark.parametrize("patch", [2, 4])
def test_the_first_frame_fills_a_group_by_itself(patch):
    x = integers(patch, True, (1, 3, 2, 2, 3))
    running = StreamState()
    running.started = True
    group = x[:, :1].expand(-1, patch, -1, -1, -1)
    transform = HaarTransform(patch, temporal=True)
    assert torch.equal(transform(x)[:, :1], transform(group, running))
    assert torch.equal(transform(x)[:, :1], transform(x[:, :1]))


@each_case
@given(groups=st.lists(st.integers(1, 3), min_size=1, max_size=4))
def test_chunks_equal_the_whole(patch, temporal, groups):
    forward, back = HaarTransform(patch, temporal), InverseHaarTransform(patch, temporal)
    x = integers(patch, temporal, (1, sum(groups), 2, 1, 3))
    whole = forward(x)
    state, back_state = StreamState(), StreamState()
    for bands in whole.split(groups, dim=1):
        start = not state.started
        frames = bands.shape[1] * (patch if temporal else 1)
        chunk, x = x.tensor_split([frames - (patch - 1 if start and temporal else 0)], dim=1)
        assert torch.equal(forward(chunk, state), bands)
        assert torch.equal(back(bands, back_state), chunk)
        state.started = back_state.started = True
    assert x.shape[1] == 0
