"""A language model on discrete video tokens, with Hugging Face transformers; continues clips.

python examples/autoregressive.py --output language_output

A clip of 17 frames of 64 x 64 pixels is 5 latent frames of 8 x 8 indices of `dv4x8x8-tiny`. As a sentence:

    BEGIN, the indices of latent frame 0, FRAME, those of latent frame 1, FRAME, ... , END

Latent frames come in order of time, the indices of each row by row and in a row from left to right. A sentence is one
clip and never goes on into the next. The vocabulary is the three special tokens and those of the tokenizer's codes that
occur in the data; with much data, take all of them. The clips come from three short videos that
ship with gradio: expect little of the continuation of a held-out one. With --data, a folder of your clips.
"""

from __future__ import annotations

import torch
from common import Losses, arguments, write_clip
from demo import media_of
from torch import Tensor
from torch.utils.data import DataLoader, Subset
from transformers import GPT2Config, GPT2LMHeadModel

from cosmotok import Tokenizer
from cosmotok.dataset import TokenDataset, collate
from cosmotok.dataset.options import Options
from cosmotok.dataset.run import tokenize
from cosmotok.dataset.shaping import Shaping

MODEL, SIDE, FRAMES = "dv4x8x8-tiny", 64, 17
CLIPS = ("a.mp4", "b.mp4", "world.mp4")
BATCH, HELD_OUT, GIVEN = 4, 8, 2
"""Clips of a step; every how manieth clip is held out; latent frames that a continuation begins from."""
BEGIN, FRAME, END, SPECIAL = 0, 1, 2, 3
"""The special tokens, and how many there are: codes follow."""


class Sentences:
    """From indices of a data set to sentences and back."""

    def __init__(self, dataset: TokenDataset) -> None:
        self.codes = torch.unique(torch.cat([row["tokens"].flatten() for row in dataset]))
        self.grid = tuple(dataset[0]["tokens"].shape)

    @property
    def vocabulary(self) -> int:
        return SPECIAL + len(self.codes)

    @property
    def length(self) -> int:
        frames, rows, columns = self.grid
        return frames * (1 + rows * columns) + 1

    def words(self, tokens: Tensor) -> Tensor:
        """Indices (B, T', H', W') as sentences (B, length)."""
        words = (SPECIAL + torch.searchsorted(self.codes, tokens)).flatten(2)  # (B, T', H' * W')
        before = torch.full_like(words[:, :, :1], FRAME)
        before[:, 0] = BEGIN
        sentences = torch.cat([before, words], dim=2).flatten(1)
        return torch.nn.functional.pad(sentences, (0, 1), value=END)

    def tokens(self, sentences: Tensor) -> Tensor:
        """The way back."""
        frames, rows, columns = self.grid
        words = sentences[:, :-1].unflatten(1, (frames, -1))[:, :, 1:]
        return self.codes[words - SPECIAL].unflatten(2, (rows, columns))


def loss_of(model: GPT2LMHeadModel, sentences: Tensor) -> Tensor:
    """Mean nats per token; transformers shifts the labels."""
    return model(sentences, labels=sentences).loss


def train(model: GPT2LMHeadModel, loader: DataLoader, sentences: Sentences, steps: int) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    losses = Losses(steps)
    while len(losses.values) < steps:
        for batch in loader:
            if len(losses.values) == steps:
                break
            loss = loss_of(model, sentences.words(batch["tokens"]))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            losses.add(loss)


@torch.inference_mode()
def carry_on(model: GPT2LMHeadModel, sentence: Tensor, given: int, temperature: float = 0.7) -> Tensor:
    """The sentence (1, length) with all codes after the first `given` words drawn anew; special tokens stay."""
    made, past, fresh = sentence[:, :given], None, sentence[:, :given]
    while made.shape[1] < sentence.shape[1]:
        answer = model(fresh, past_key_values=past)
        past, fresh = answer.past_key_values, sentence[:, made.shape[1], None]
        if int(fresh) >= SPECIAL:  # where special tokens stand is known
            chances = (answer.logits[:, -1, SPECIAL:] / temperature).softmax(dim=-1)
            fresh = SPECIAL + torch.multinomial(chances, 1)
        made = torch.cat([made, fresh], dim=1)
    return made


def main() -> None:
    chosen = arguments(__doc__.splitlines()[0], 600, "folder of clips (default: those of gradio)")
    sources = [chosen.data] if chosen.data else [media_of("gradio", f"media_assets/videos/{name}") for name in CLIPS]
    tokens = chosen.output / "tokens"
    shaping = Shaping(size=(SIDE, SIDE), segment=FRAMES, min_frames=FRAMES)
    tokenize([str(source) for source in sources], str(tokens), MODEL, options=Options(shaping=shaping, batch=8))

    dataset = TokenDataset(tokens)
    sentences = Sentences(dataset)
    held = range(HELD_OUT - 1, len(dataset), HELD_OUT)
    rest = [number for number in range(len(dataset)) if number not in held]
    print(f"{len(dataset)} clips of {sentences.length} words, vocabulary of {sentences.vocabulary}")
    if not held:
        raise SystemExit(f"--data: expected at least {HELD_OUT} clips of {FRAMES} frames, got {len(dataset)}")
    loader = DataLoader(Subset(dataset, rest), batch_size=BATCH, shuffle=True, collate_fn=collate)
    config = GPT2Config(
        vocab_size=sentences.vocabulary,
        n_positions=sentences.length,
        n_embd=128,
        n_layer=3,
        n_head=4,
        bos_token_id=BEGIN,
        eos_token_id=END,
    )
    model = GPT2LMHeadModel(config)
    train(model, loader, sentences, chosen.steps)

    model.eval()
    with torch.inference_mode():
        losses = [loss_of(model, sentences.words(dataset[number]["tokens"][None])) for number in held]
    print(f"held-out clips: loss {torch.stack(losses).mean():.4f}")
    tokenizer = Tokenizer.from_pretrained(MODEL)
    dataset.check(tokenizer)
    _, rows, columns = sentences.grid
    for name, number in (("trained", rest[len(rest) // 2]), ("held-out", held[-1])):
        row = dataset[number]
        sentence = sentences.words(row["tokens"][None])
        made = sentences.tokens(carry_on(model, sentence, GIVEN * (1 + rows * columns)))
        videos = [tokenizer.decode(each, size=row["size"])[0] for each in (row["tokens"][None], made)]
        write_clip(chosen.output / f"{name}.mp4", videos, row["frame_rate"] / 3)


if __name__ == "__main__":
    main()
