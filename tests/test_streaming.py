"""However frames arrive, the tokens are the same to the bit; memory is bounded where asked; misuse is refused."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small import FEW_KINDS, KINDS, VIDEO_KINDS, clip, pixels, small, time_axis, tokens_for

from cosmotok.errors import InputError
from cosmotok.streaming import StreamDecoder, StreamEncoder

pytestmark = pytest.mark.usefixtures("every_kernel")
few_examples = settings(max_examples=8)


def pushes(longest):
    """Lengths of the pushes of one stream; some may be 0."""
    return st.lists(st.integers(0, longest), min_size=1, max_size=6).filter(any)


def encode_in(tokenizer, video, lengths, **options):
    encoder = tokenizer.stream_encoder(**options)
    parts = [encoder.push(part) for part in video.split(lengths, dim=2)]
    return torch.cat([*parts, encoder.flush()], dim=time_axis(tokenizer))


def decode_in(tokenizer, tokens, lengths, **options):
    decoder = tokenizer.stream_decoder(**options)
    parts = [decoder.push(part) for part in tokens.split(lengths, dim=time_axis(tokenizer))]
    return torch.cat([*parts, decoder.flush()], dim=2)


@pytest.mark.parametrize("kind", KINDS)
@few_examples
@given(lengths=pushes(6), source=st.sampled_from([clip, pixels]))
def test_any_partition_of_a_clip_gives_the_same_tokens(kind, lengths, source):
    tokenizer, video = small(kind), source(sum(lengths), 16, 9)
    tokens = encode_in(tokenizer, video, lengths)
    assert torch.equal(tokens, tokenizer.encode(video))
    assert tokens.shape[time_axis(tokenizer)] == tokenizer.config.grid(*video.shape[2:])[0]


@pytest.mark.parametrize("kind", KINDS)
@few_examples
@given(lengths=pushes(3))
def test_any_partition_of_tokens_gives_the_same_pixels(kind, lengths):
    tokenizer = small(kind)
    tokens = tokens_for(tokenizer, sum(lengths), 2, 1)
    assert torch.equal(decode_in(tokenizer, tokens, lengths), tokenizer.decode(tokens))


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_steps_equal_the_network_at_once(kind):
    tokenizer, network = small(kind), small(kind).network
    video = clip(1 + 4 * tokenizer.config.temporal_factor, 32, 32)
    tokens, z = tokenizer.encode(video), network.encode(video)
    if network.quantizer is None:
        assert_near(tokens, z)
    else:
        assert torch.equal(tokens, network.quantizer.indices(z.movedim(1, -1)))
        z = network.quantizer.indices_to_codes(tokens).movedim(-1, 1)
    assert_near(tokenizer.decode(tokens), network.decode(z))


def assert_near(actual, expected):
    assert actual.shape == expected.shape
    # steps of other lengths sum in another order; Winograd's sums round by some 1e-6 per layer
    assert (actual - expected).abs().max() < 2e-5 * max(1, expected.abs().max())


@pytest.mark.parametrize("kind", VIDEO_KINDS)
def test_tokens_come_as_soon_as_the_schedule_allows(kind):
    tokenizer, config = small(kind), small(kind).config
    encoder, axis = tokenizer.stream_encoder(), time_axis(tokenizer)
    video = clip(1 + 2 * config.chunk * config.temporal_factor)
    ready = [encoder.push(frame).shape[axis] for frame in video.split(1, dim=2)]
    step = [0] * (config.chunk * config.temporal_factor - 1) + [config.chunk]
    assert ready == [1, *step, *step]
    assert encoder.flush().shape[axis] == 0


@pytest.mark.parametrize("kind", FEW_KINDS)
def test_a_push_without_frames_gives_no_tokens(kind):
    tokenizer = small(kind)
    encoder, decoder = tokenizer.stream_encoder(), tokenizer.stream_decoder()
    tokens = encoder.push(clip(0, 20, 9))
    assert tokens.shape == tokenizer.encode(clip(1, 20, 9)).narrow(time_axis(tokenizer), 0, 0).shape
    frames = decoder.push(tokens)
    assert frames.shape == (1, 3, 0, 24, 16)
    assert tokens.dtype == tokenizer.encode(clip(1)).dtype


@pytest.mark.parametrize("kind", FEW_KINDS)
def test_streams_do_not_disturb_each_other(kind):
    tokenizer = small(kind)
    videos = [clip(9 + i, 16, 8, seed=i) for i in range(3)]
    expected = [tokenizer.encode(video) for video in videos]
    encoders = [tokenizer.stream_encoder() for _ in videos]
    parts = [[] for _ in videos]
    for t in range(12):
        for i, video in enumerate(videos):
            if t < video.shape[2]:
                parts[i].append(encoders[i].push(video[:, :, t : t + 1]))
    for i, encoder in enumerate(encoders):
        tokens = torch.cat([*parts[i], encoder.flush()], dim=time_axis(tokenizer))
        assert torch.equal(tokens, expected[i])


@pytest.mark.parametrize("kind", FEW_KINDS)
def test_threads_share_a_tokenizer(kind):
    tokenizer = small(kind)
    videos = [clip(9 + i, seed=i) for i in range(4)]

    def work(video):
        tokens = encode_in(tokenizer, video, 1)
        return tokens, decode_in(tokenizer, tokens, 1)

    expected = [work(video) for video in videos]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(2):
            for (tokens, frames), (same_tokens, same_frames) in zip(expected, pool.map(work, videos), strict=True):
                assert torch.equal(tokens, same_tokens)
                assert torch.equal(frames, same_frames)


@pytest.mark.parametrize("kind", FEW_KINDS)
def test_pushed_memory_may_be_used_again(kind):
    tokenizer = small(kind)
    video, tokens = clip(7), tokens_for(tokenizer, 5)
    encoder, decoder = tokenizer.stream_encoder(), tokenizer.stream_decoder()
    axis = time_axis(tokenizer)
    buffer, parts = torch.empty_like(video[:, :, :1]), []
    for frame in video.split(1, dim=2):
        parts.append(encoder.push(buffer.copy_(frame)))
    assert torch.equal(torch.cat([*parts, encoder.flush()], dim=axis), tokenizer.encode(video))
    buffer, parts = torch.empty_like(tokens.narrow(axis, 0, 1)), []
    for step in tokens.split(1, dim=axis):
        parts.append(decoder.push(buffer.copy_(step)))
    assert torch.equal(torch.cat([*parts, decoder.flush()], dim=2), tokenizer.decode(tokens))


def sizes_of_state(stream, parts):
    sizes = []
    for part in parts:
        stream.push(part)
        sizes.append(stream.state.nbytes)
    return sizes


@pytest.mark.parametrize("kind", ["cv4x8x8", "cv8x8x8", "dv4x8x8"])
def test_a_bounded_context_takes_constant_memory(kind):
    tokenizer, config = small(kind), small(kind).config
    video = clip(1 + 16 * config.chunk * config.temporal_factor, 8, 8).split(config.temporal_factor, dim=2)
    tokens = tokens_for(tokenizer, 30, 1, 1).split(1, dim=time_axis(tokenizer))
    for make, parts in ((tokenizer.stream_encoder, video), (tokenizer.stream_decoder, tokens)):
        unbounded = sizes_of_state(make(), parts)
        settled = len(parts) // 2
        for context in (1, 3):
            bounded = sizes_of_state(make(attention_context=context), parts)
            assert min(bounded) > 0
            assert set(bounded[settled:]) == {bounded[-1]}
            assert bounded[-1] < unbounded[-1]
        assert unbounded[0] < unbounded[settled] < unbounded[-1]


@pytest.mark.parametrize("kind", VIDEO_KINDS)
def test_a_state_keeps_no_chunk_alive(kind):
    tokenizer, config = small(kind), small(kind).config
    encoder, decoder = tokenizer.stream_encoder(), tokenizer.stream_decoder()
    encoder.push(clip(1 + config.chunk * config.temporal_factor))
    decoder.push(tokens_for(tokenizer, 1 + config.chunk))
    for state in (encoder.state, decoder.state):
        kept = [*state.frames.values(), *(cache.buffer for cache in state.caches.values())]
        assert sum(tensor.untyped_storage().nbytes() for tensor in kept) == state.nbytes


@pytest.mark.parametrize("kind", VIDEO_KINDS)
def test_a_context_as_long_as_the_clip_is_exact(kind):
    tokenizer, config = small(kind), small(kind).config
    video, tokens = clip(1 + 4 * config.temporal_factor, 32, 32), tokens_for(tokenizer, 5)
    exact = tokenizer.encode(video)
    assert torch.equal(encode_in(tokenizer, video, 5, attention_context=5), exact)
    assert not torch.equal(encode_in(tokenizer, video, 5, attention_context=1), exact)
    exact = tokenizer.decode(tokens)
    assert torch.equal(decode_in(tokenizer, tokens, 2, attention_context=5), exact)
    assert not torch.equal(decode_in(tokenizer, tokens, 2, attention_context=1), exact)


def test_a_bounded_stream_does_not_depend_on_the_pushes():
    tokenizer, video = small("cv4x8x8"), clip(30)
    expected = encode_in(tokenizer, video, 30, attention_context=2)
    assert torch.equal(encode_in(tokenizer, video, [1, 0, 7, 13, 9], attention_context=2), expected)


@pytest.mark.parametrize("kind", FEW_KINDS)
def test_decoder_crops_to_the_size_it_is_given(kind):
    tokenizer, tokens = small(kind), tokens_for(small(kind), 4)
    expected = tokenizer.decode(tokens)[..., :11, :13]
    assert torch.equal(decode_in(tokenizer, tokens, 1, size=(11, 13)), expected)


def refused(call, *words):
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("kind", FEW_KINDS)
def test_misuse_of_a_stream_is_refused(kind):
    tokenizer = small(kind)
    tokens = tokens_for(tokenizer, 1)
    for make, part, wider in (
        (tokenizer.stream_encoder, clip(1), clip(1, 16, 24)),
        (tokenizer.stream_decoder, tokens, tokens_for(tokenizer, 1, 2, 3)),
    ):
        refused(make().flush, "flush", "pushed")
        stream = make()
        stream.push(part)
        refused(lambda s=stream, w=wider: s.push(w), "push", "expected")
        refused(lambda s=stream, p=part: s.push(torch.cat((p, p))), "push", "expected")
        stream.flush()
        refused(stream.flush, "ended")
        refused(lambda s=stream, p=part: s.push(p), "flush")
        for context in (0, -1):
            refused(lambda m=make, c=context: m(attention_context=c), "attention_context", "at least 1")


@pytest.mark.parametrize("kind", FEW_KINDS)
@pytest.mark.parametrize("waiting", [0, 1, 5])
def test_flush_takes_the_last_frames_and_forgets_the_stream(kind, waiting, every_kernel):
    tokenizer, video = small(kind), clip(22)
    encoder, pushed = tokenizer.stream_encoder(), tokenizer.stream_encoder()
    parts = [encoder.push(video[:, :, :waiting]), encoder.flush(video[:, :, waiting:])]
    expected = [pushed.push(video), pushed.flush()]
    tokens = torch.cat(expected, dim=1 if tokenizer.config.is_discrete else 2)
    assert torch.equal(torch.cat(parts, dim=1 if tokenizer.config.is_discrete else 2), tokens)
    assert encoder.state.nbytes == 0

    decoder, pushed = tokenizer.stream_decoder(), tokenizer.stream_decoder()
    assert torch.equal(decoder.flush(tokens), torch.cat([pushed.push(tokens), pushed.flush()], dim=2))
    assert decoder.state.nbytes == 0


@pytest.mark.parametrize("size", [(9, 16, 16), (16,), (0, 16), (16, -1), (17, 16), (16, 8)])
def test_a_size_that_does_not_fit_the_tokens_is_refused(size):
    tokenizer = small("cv4x8x8")
    refused(lambda: tokenizer.stream_decoder(size=size).push(tokens_for(tokenizer, 1)), "size", "expected")


def test_an_encoder_of_no_frames_cannot_be_flushed():
    encoder = small("cv4x8x8").stream_encoder()
    encoder.push(clip(0))
    refused(encoder.flush, "no frames")


def test_the_dtype_must_not_change_within_a_stream():
    # uint8 and [-1, 1] floats of one group cannot be told apart once they are joined
    encoder = small("cv4x8x8").stream_encoder()
    encoder.push(pixels(3))
    refused(lambda: encoder.push(clip(3)), "uint8", "expected")


def test_a_bad_push_leaves_the_stream_as_it_was():
    tokenizer, video = small("cv4x8x8"), clip(9)
    encoder = tokenizer.stream_encoder()
    parts = [encoder.push(video[:, :, :3])]
    refused(lambda: encoder.push(video[:, :, 3:] * 9), "[-1, 1]")
    refused(lambda: encoder.push(video[:, :, 3:, 1:]), "size")
    parts += [encoder.push(video[:, :, 3:]), encoder.flush()]
    assert torch.equal(torch.cat(parts, dim=2), tokenizer.encode(video))


class Sick:
    """The steps of `tokenizer`, of which number `turn` does something else first."""

    def __init__(self, tokenizer, turn, instead):
        self.tokenizer, self.turn, self.instead = tokenizer, turn, instead

    def __getattr__(self, name):
        return getattr(self.tokenizer, name)

    def encode_step(self, frames, state):
        self.turn -= 1
        if self.turn == 0:
            self.instead()
        return self.tokenizer.encode_step(frames, state)

    def decode_step(self, tokens, state):
        self.turn -= 1
        if self.turn == 0:
            self.instead()
        return self.tokenizer.decode_step(tokens, state)


def out_of_memory():
    raise MemoryError


@pytest.mark.parametrize("turn", [1, 2])
def test_a_stream_whose_step_failed_goes_no_further(turn):
    tokenizer, video = small("cv4x8x8"), clip(40)
    tokens = tokens_for(tokenizer, 9)
    for make, data in ((StreamEncoder, video), (StreamDecoder, tokens)):
        for fails in ("push", "flush"):
            stream = make(Sick(tokenizer, turn, out_of_memory))
            with pytest.raises(MemoryError):
                getattr(stream, fails)(data)
            refused(lambda s=stream, d=data: s.push(d), "did not finish", "start a new stream")
            refused(stream.flush, "did not finish", "start a new stream")
    decoder = tokenizer.stream_decoder()
    next(decoder.drain(tokens))  # and then it is dropped
    refused(decoder.flush, "start a new stream")


def test_two_threads_on_one_stream_are_refused():
    tokenizer, video = small("cv4x8x8"), clip(20)
    begun, go_on = Event(), Event()

    def wait():
        begun.set()
        assert go_on.wait(60)

    encoder = StreamEncoder(Sick(tokenizer, 2, wait))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(encoder.push, video)
        assert begun.wait(60)
        refused(lambda: encoder.push(video), "another thread")
        refused(encoder.flush, "another thread")
        go_on.set()
        parts = [first.result(), encoder.flush()]
    assert torch.equal(torch.cat(parts, dim=2), tokenizer.encode(video))
