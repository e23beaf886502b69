"""The training loop: what a step does, what it leaves alone, and what it does about trouble."""

import copy
import json
import math

import pytest
import torch
from runs import ADVERSARIAL, lines, make_data, recipe, train
from small import fresh

from cosmotok import Tokenizer
from cosmotok.errors import CheckpointError, ConfigError, InputError
from cosmotok.network import HALVES, Autoencoder
from cosmotok.training.ema import ExponentialAverage
from cosmotok.training.engine import Engine
from cosmotok.training.guard import TrainingError
from cosmotok.training.optimizers import OptimizerOptions, make_optimizers
from cosmotok.training.run import make_accelerator, start_run, starting_tokenizer

RANDOM = ["loss.perceptual_weights_path=random", "loss.flow_weights_path=random"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


def engine(chosen, folder):
    torch.manual_seed(chosen.seed)
    made = Engine(chosen, starting_tokenizer(chosen, folder), folder, make_accelerator(chosen, folder, "cpu"))
    folder.mkdir(exist_ok=True)
    made.enter_stage()
    return made


def tensors(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def changed(before, network):
    return {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}


def encoder_names(network):
    return {name for name, _ in network.named_parameters() if name.split(".")[0] in HALVES["encoder"]}


# A run ----------------------------------------------------------------------------------------------------------


def test_training_lowers_the_loss_and_leaves_a_model_to_load(data, tmp_path):
    records = train(recipe(data, "ema_decay=0.5", stages=[{"steps": 30}]), tmp_path)
    losses = [record["loss"] for record in records]
    assert [record["step"] for record in records] == list(range(1, 31))
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    assert all(math.isfinite(r["psnr"]) and r["grad_norm"] > 0 and r["skipped"] == 0 for r in records)
    assert records[-1]["epoch"] == pytest.approx(30 / 3)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"recipe.yaml", "log.jsonl", "config.json", "model.safetensors", "checkpoints"}
    loaded = Tokenizer.from_pretrained(tmp_path)
    assert loaded.config.variant == tmp_path.name
    state = torch.load(tmp_path / "checkpoints" / "step-00000030" / "state.pt", weights_only=True)
    assert all(torch.equal(tensor, state["average"][name]) for name, tensor in loaded.network.state_dict().items())
    full = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert all(record["samples_per_second"] > 0 and 0 <= record["waiting"] <= 1 for record in full)


def test_lines_are_means_over_their_steps(data, tmp_path):
    each = train(recipe(data), tmp_path / "each")
    third = train(recipe(data, "log_every=3"), tmp_path / "third")
    assert [record["step"] for record in third] == [3, 6]
    for i, record in enumerate(third):
        for name in ("loss", "psnr", "grad_norm"):
            assert record[name] == pytest.approx(sum(r[name] for r in each[3 * i : 3 * i + 3]) / 3)


def test_the_same_seed_gives_the_same_run(data, tmp_path):
    first, second, other = (train(recipe(data, f"seed={s}"), tmp_path / n) for s, n in ((3, "a"), (3, "b"), (4, "c")))
    assert first == second
    assert first != other


def is_step(module, inputs):
    """Whether the network runs, and not only for the estimate of its memory."""
    return isinstance(module, Autoencoder) and inputs[0].device.type != "meta"


def test_stages_change_shapes_losses_and_rates(data, tmp_path):
    stages = [{"steps": 4}, {"steps": 4, "frames": 9, "crop": 24, "clips": 1, "rate": 0.5, "loss": {"l2": 1}}]
    chosen = recipe(data, "schedule.shape=constant", "schedule.warmup_steps=0", stages=stages)
    shapes = []
    hook = torch.nn.modules.module.register_module_forward_pre_hook(
        lambda module, inputs: shapes.append(tuple(inputs[0].shape)) if is_step(module, inputs) else None
    )
    records = train(chosen, tmp_path)
    hook.remove()
    early, late, photos = (2, 3, 5, 16, 16), (1, 3, 9, 24, 24), (2, 3, 1, 16, 16)
    assert shapes == [early, early, early, photos, late, late, late, (2, 3, 1, 24, 24)]
    assert [record["stage"] for record in records] == [0] * 4 + [1] * 4
    assert [set(record["terms"]) for record in records] == [{"charbonnier"}] * 4 + [{"charbonnier", "l2"}] * 4
    assert [record["lr"] for record in records] == [5e-3] * 4 + [2.5e-3] * 4
    assert all(sum(record["terms"].values()) == pytest.approx(record["loss"]) for record in records)


def test_a_time_limit_goes_through_all_stages(data, tmp_path):
    stages = [{"steps": 1000}, {"steps": 1000, "frames": 9}]
    records = train(recipe(data, "minutes=0.03", "save_every=1000", stages=stages), tmp_path)
    assert {record["stage"] for record in records} == {0, 1}
    assert len(records) < 2000
    assert records[-1]["lr"] < 0.6 * 5e-3  # steps may be slow here


def test_under_a_time_limit_losses_and_rates_begin_where_the_run_is(data, tmp_path):
    stages = [{"steps": 500_000}, {"steps": 500_000}]
    own = [*ADVERSARIAL, "loss.adversarial_start=600_000", "loss.l2={0: 0, 500_000: 1}"]
    own += ["minutes=0.04", "save_every=1000", "schedule.shape=constant", "schedule.warmup_steps=400_000"]
    records = train(recipe(data, *own, stages=stages), tmp_path)
    late = [record for record in records if record["stage"] == 1]
    assert len(records) > len(late) > 0
    assert ["l2" in record["terms"] for record in records] == [record["stage"] == 1 for record in records]
    assert "discriminator_2d" not in records[0]["terms"]
    assert {"adversarial_2d", "discriminator_2d"} <= set(late[-1]["terms"])
    assert records[0]["lr"] < late[-1]["lr"] == 5e-3


def test_validation_is_logged_with_pictures(data, tmp_path):
    options = [f"data.validation={data}", "validation.every=4", "validation.frames=5", "trackers=[tensorboard]"]
    train(recipe(data, *options), tmp_path)
    found = lines(tmp_path, "validation")
    assert [record["step"] for record in found] == [4, 6]
    assert all(record["psnr"] > 0 for record in found)
    assert (tmp_path / "samples" / "step-00000006.png").exists()
    assert any((tmp_path / "trackers").rglob("events*"))


# Steps ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("optimizer", "past"), [("adamw", 0), ("muon", 1)])
def test_accumulation_equals_a_big_batch(data, tmp_path, optimizer, past):
    runs = []
    for parts in (1, 2, 3):
        made = engine(
            recipe(data, f"optimizer.name={optimizer}", f"accumulate={parts}", stages=[{"clips": 3}]), tmp_path
        )
        batch = next(made.batches)
        figures = made.gradients(batch.pixels, past)
        runs.append((figures, [p.grad.clone() for p in made.network.parameters()]))
    for figures, gradients in runs[1:]:
        assert figures["loss"].item() == pytest.approx(runs[0][0]["loss"].item(), rel=1e-5)
        for gradient, whole in zip(gradients, runs[0][1], strict=True):
            torch.testing.assert_close(gradient, whole, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    "option", ["activation_checkpointing=true", pytest.param("compile=true", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("past", [0, 1])
def test_ways_to_compute_a_step_do_not_change_it(data, tmp_path, option, past):
    plain, other = engine(recipe(data), tmp_path), engine(recipe(data, option), tmp_path)
    batch = next(plain.batches)
    saved = []
    for made in (plain, other):
        made.figures = made.gradients(batch.pixels, past)
        saved.append([p.grad for p in made.network.parameters()])
    assert other.figures["loss"].item() == pytest.approx(plain.figures["loss"].item(), rel=1e-5)
    for gradient, whole in zip(*saved, strict=True):
        torch.testing.assert_close(gradient, whole, rtol=1e-3, atol=1e-5)


def test_activation_checkpointing_keeps_less(data, tmp_path):
    kept = []
    for option in ("false", "true"):
        made = engine(recipe(data, f"activation_checkpointing={option}", "model_changes.channels=64"), tmp_path)
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, s=sizes: s.append(x.numel()) or x, lambda x: x):
            made.network(torch.zeros(1, 3, 5, 16, 16))
        kept.append(sum(sizes))
    assert kept[1] < 0.6 * kept[0]


def test_bfloat16_keeps_weights_and_average_in_float32(data, tmp_path):
    records = train(recipe(data, "precision=bf16"), tmp_path)
    full = train(recipe(data), tmp_path / "full")
    assert records != full
    assert records[-1]["loss"] == pytest.approx(full[-1]["loss"], rel=0.2)
    state = torch.load(tmp_path / "checkpoints" / "step-00000006" / "state.pt", weights_only=True)
    assert {tensor.dtype for part in ("network", "average") for tensor in state[part].values()} == {torch.float32}


def test_gradients_are_clipped(data, tmp_path):
    made = engine(recipe(data, "max_grad_norm=1e-3", "optimizer.name=adamw"), tmp_path)
    made.train_step()
    clipped = torch.stack([p.grad.norm() for p in made.network.parameters()]).norm()
    assert clipped.item() == pytest.approx(1e-3, rel=1e-3)
    assert made.meter.mean("grad_norm") > 1e-2


def test_the_average_follows_quickly_at_first_then_slowly():
    weights = [torch.randn(3, 4), torch.randn(5)]
    average = ExponentialAverage(weights, 0.9)
    assert all(torch.equal(value, weight) for value, weight in zip(average.values, weights, strict=True))
    for step in (1, 2, 30, 5000):
        old = [value.clone() for value in average.values]
        for weight in weights:
            weight.normal_()
        average.update(step)
        kept = min(0.9, (1 + step) / (10 + step))
        for value, before, weight in zip(average.values, old, weights, strict=True):
            torch.testing.assert_close(value, kept * before + (1 - kept) * weight)


def test_a_half_precision_weight_has_a_float32_average():
    average = ExponentialAverage([torch.ones(2, dtype=torch.bfloat16)], 0.5)
    average.update(100)
    assert average.values[0].dtype == torch.float32


def test_every_weight_has_one_optimiser_of_the_right_kind():
    network = Tokenizer(recipe("x").config).network
    rates = OptimizerOptions("muon", 5e-3, vector_rate=1e-3, shortcut_rate=2e-5)
    muon, adam = make_optimizers(network, rates)
    (matrices,), (vectors, shortcuts) = muon.param_groups, adam.param_groups
    assert all(p.ndim > 1 for p in matrices["params"])
    assert all(p.ndim == 1 for p in vectors["params"])
    assert len(shortcuts["params"]) == 4
    groups = (matrices, vectors, shortcuts)
    assert [group["rate"] for group in groups] == [5e-3, 1e-3, 2e-5]
    assert [group["weight_decay"] for group in groups] == [0.01, 0, 0]
    (alone,) = make_optimizers(network, OptimizerOptions())
    assert {group["weight_decay"] for group in alone.param_groups} == {0.01}
    for optimizers in ([muon, adam], [alone]):
        seen = [id(p) for o in optimizers for group in o.param_groups for p in group["params"]]
        assert sorted(seen) == sorted(id(p) for p in network.parameters())


# Parts that stay as they are ------------------------------------------------------------------------------------


def test_the_decoder_alone_can_be_trained(data, tmp_path):
    train(recipe(data), tmp_path / "start")
    before = tensors(Tokenizer.from_pretrained(tmp_path / "start").network)
    chosen = recipe(data, f"start={tmp_path / 'start'}", "train=decoder")
    train(chosen, tmp_path / "run")
    network = Tokenizer.from_pretrained(tmp_path / "run").network
    assert changed(before, network) == set(before) - encoder_names(network)


def test_a_stage_may_freeze_the_encoder(data, tmp_path):
    made = engine(recipe(data, stages=[{"steps": 2}, {"steps": 2, "freeze_encoder": True}, {"steps": 2}]), tmp_path)
    moved = []
    for stage in range(3):
        made.stage = stage
        made.stage_begin = made.step
        made.enter_stage()
        before = tensors(made.network)
        made.train_step()
        moved.append(changed(before, made.network))
    names = set(made.network.state_dict())
    assert moved == [names, names - encoder_names(made.network), names]


# The start ------------------------------------------------------------------------------------------------------


def test_a_run_starts_from_a_model(data, tmp_path):
    train(recipe(data), tmp_path / "start")
    tokenizer = starting_tokenizer(recipe(data, f"start={tmp_path / 'start'}"), tmp_path / "run")
    assert not changed(tensors(Tokenizer.from_pretrained(tmp_path / "start").network), tokenizer.network)
    assert tokenizer.config.variant == "run"
    with pytest.raises(CheckpointError, match=r"start=.*does not fit.*channels is 8 there, 16 here"):
        starting_tokenizer(recipe(data, f"start={tmp_path / 'start'}", "model_changes.channels=16"), tmp_path)


def test_a_discrete_run_starts_from_a_continuous_model(data, tmp_path):
    train(recipe(data, "init_batches=4"), tmp_path / "start")
    own = [f"start={tmp_path / 'start'}", "init_batches=4"]
    chosen = recipe(data, *own, model="dv4x8x8-tiny")
    taken = starting_tokenizer(chosen, tmp_path / "run").network.encoder.state_dict()
    continuous = Tokenizer.from_pretrained(tmp_path / "start").network.encoder.state_dict()
    assert all(torch.equal(taken[name], continuous[name]) for name in taken)
    assert (
        train(chosen, tmp_path / "run")[0]["psnr"]
        > train(recipe(data, model="dv4x8x8-tiny"), tmp_path / "noise")[0]["psnr"]
    )
    with pytest.raises(CheckpointError, match="set init_batches"):
        starting_tokenizer(recipe(data, own[0], model="dv4x8x8-tiny"), tmp_path)


def test_fresh_shortcuts_start_from_the_linear_transform(data, tmp_path):
    noise, fitted = (train(recipe(data, f"init_batches={n}"), tmp_path / str(n)) for n in (0, 6))
    assert fitted[0]["psnr"] > noise[0]["psnr"] + 5


# The adversarial stage ------------------------------------------------------------------------------------------


def test_the_adversarial_stage_trains_both_sides(data, tmp_path):
    made = engine(recipe(data, "loss.l2=1", *ADVERSARIAL), tmp_path)
    seen = []
    for step in range(6):
        before, judges = tensors(made.network), tensors(made.adversary.loss)
        made.train_step()
        seen.append(bool(changed(judges, made.adversary.loss)))
        assert changed(before, made.network)
        names = set(made.meter.means("term."))
        assert ("adversarial_2d" in names) == ("discriminator_2d" in names) == (step >= 3)
    assert seen == [False] * 3 + [True] * 3


# Trouble --------------------------------------------------------------------------------------------------------


def test_a_step_that_is_not_finite_changes_nothing(data, tmp_path):
    made = engine(recipe(data, *ADVERSARIAL, "loss.adversarial_start=0"), tmp_path)
    made.train_step()
    good = copy.deepcopy(made.network.state_dict())
    with torch.no_grad():
        made.network.quant_conv.bias.fill_(math.inf)
    before = [tensors(made.network), tensors(made.tokenizer.network), tensors(made.adversary.loss)]
    made.train_step()
    assert (made.step, made.guard.skipped, made.guard.in_a_row) == (2, 1, 1)
    for old, module in zip(before, (made.network, made.tokenizer.network, made.adversary.loss), strict=True):
        assert not changed(old, module)
    made.network.load_state_dict(good)
    made.train_step()
    assert (made.guard.skipped, made.guard.in_a_row) == (1, 0)
    made.write_log()
    (record,) = lines(tmp_path)
    assert record["skipped"] == 1
    assert math.isfinite(record["loss"])


def test_after_too_many_such_steps_the_batch_is_saved_and_the_run_stops(data, tmp_path):
    made = engine(recipe(data, "skips_in_a_row=2"), tmp_path)
    with torch.no_grad():
        made.network.quant_conv.bias.fill_(math.nan)
    made.train_step()
    with pytest.raises(TrainingError, match=r"2 steps in a row.*loss nan.*not-finite-step-00000002-rank-0\.pt"):
        made.train_step()
    saved = torch.load(tmp_path / "not-finite-step-00000002-rank-0.pt", weights_only=True)
    assert saved["pixels"].dtype == torch.uint8
    assert saved["kind"] == "video"
    assert len(saved["keys"]) == len(saved["pixels"]) == 2


def test_a_recipe_without_a_loss_is_refused(data, tmp_path):
    with pytest.raises(ConfigError, match="no loss has a weight"):
        train(recipe(data, "loss.charbonnier={5: 1}"), tmp_path)


def test_half_precision_needs_a_gpu(data, tmp_path):
    with pytest.raises(ConfigError, match="fp16: needs a CUDA device"):
        train(recipe(data, "precision=fp16"), tmp_path)


def test_what_cannot_be_trained_on_is_said_before_anything_is_written(data, tmp_path):
    for options, error, message in (
        ([f"data.train={tmp_path / 'nothing'}"], InputError, "no such file or folder"),
        (["stages.0.clips=8"], InputError, r"videos found: 4, for batches of 8; .* set stages\.0\.clips=4 or less"),
        (["trackers=[nosuch]"], ConfigError, "Accelerate refuses"),
    ):
        with pytest.raises(error, match=message):
            train(recipe(data, *options), tmp_path / "run")
        assert not (tmp_path / "run" / "checkpoints").exists()
    with pytest.raises(InputError, match="expected auto, cpu or cuda"):
        start_run(recipe(data), tmp_path / "run", device="gpu")
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="is a file"):
        train(recipe(data), tmp_path / "file")


def test_half_a_model_cannot_be_trained(tmp_path, data):
    half = fresh("cv4x8x8")
    half.network.drop("encoder")
    half.save_pretrained(tmp_path / "half")
    with pytest.raises(CheckpointError, match="only the decoder"):
        starting_tokenizer(recipe(data, f"start={tmp_path / 'half'}"), tmp_path / "run")
