"""Recipes: the named ones, changes from files and assignments, and what is refused."""

import dataclasses
import json
import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from runs import make_data, recipe

from cosmotok import language, list_models
from cosmotok.config import bundled_models, find_model
from cosmotok.errors import ConfigError, InputError, UnknownModelError
from cosmotok.training import command
from cosmotok.training.memory import available_memory, check_memory, count_parameters, estimate_memory
from cosmotok.training.overrides import build, override, read_recipe, to_yaml
from cosmotok.training.recipe import Recipe
from cosmotok.training.recipes import find_recipe, list_recipes
from cosmotok.training.schedule import ScheduleOptions

TINY = find_recipe("cv4x8x8-tiny")


# The named ones -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list_recipes())
def test_every_model_has_a_recipe_that_survives_yaml(name, tmp_path):
    chosen = find_recipe(name)
    assert chosen.config == find_model(name).config
    (tmp_path / "recipe.yaml").write_text(to_yaml(chosen))
    assert read_recipe(tmp_path / "recipe.yaml") == chosen


def test_recipes_go_by_the_models_names():
    assert list_recipes() == [name.lower() for name in list_models()]
    assert find_recipe("DV8x16x16-720p") == find_recipe("dv8x16x16-720p")


def test_published_settings():
    chosen = find_recipe("cv8x8x8-720p")
    options = chosen.optimizer
    assert (options.name, options.learning_rate, options.betas) == ("adamw", 1e-4, (0.5, 0.999))
    assert options.weight_decay == 0.01
    assert (chosen.schedule.warmup_steps, chosen.schedule.shape) == (5000, "constant")
    assert (chosen.max_grad_norm, chosen.ema_decay, chosen.precision) == (1.0, 0.9999, "bf16")
    assert {(stage.frames, stage.crop) for stage in chosen.stages} == {(121, 256)}
    assert find_recipe("dv8x16x16-720p").stages[0].frames == 49
    first, second, third = (chosen.loss_of(i) for i in range(3))
    assert (first.l1, first.perceptual, first.gram, first.flow) == (1.0, 0.1, 0.0, 0.0)
    assert (second.perceptual, second.gram, second.flow) == (0.073, 0.062, 0.01)
    assert not second.is_adversarial
    assert third.is_adversarial
    assert find_recipe("ci8x8").loss_of(2).flow == 0
    assert find_recipe("ci8x8").data.image_every == 1


@pytest.mark.parametrize("name", [entry.name for entry in bundled_models()])
def test_small_models_start_at_the_klt_or_at_their_continuous_twin(name):
    chosen, config = find_recipe(name), find_model(name).config
    twin = "c" + name[1:]
    assert chosen.start == (twin if config.is_discrete and twin in list_models() else None)
    assert all(stage.crop % config.spatial_factor == 0 for stage in chosen.stages)
    assert {stage.frames for stage in chosen.stages} == ({17} if config.kind == "video" else {1})


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(UnknownModelError, match=r"unknown recipe 'cv4x8x8-tin'; did you mean cv4x8x8-tiny"):
        find_recipe("cv4x8x8-tin")


# Changes --------------------------------------------------------------------------------------------------------

GOOD = [
    ("seed=7", lambda r: r.seed == 7),
    ("stages.1.steps=1e3", lambda r: r.stages[1].steps == 1000),
    ("data.train=/some/where", lambda r: r.data.train == ["/some/where"]),
    ("data.train=[a, b]", lambda r: r.data.train == ["a", "b"]),
    ("optimizer.betas=[0.8, 0.95]", lambda r: r.optimizer.betas == (0.8, 0.95)),
    ("optimizer.vector_rate=null", lambda r: r.optimizer.vector_rate is None),
    ("loss.perceptual.500=0.1", lambda r: r.loss.perceptual == {500: 0.1}),
    ("loss.perceptual={0: 0.1, 500: .2}", lambda r: r.loss.perceptual == {0: 0.1, 500: 0.2}),
    ("stages.0.loss.l2=1", lambda r: r.loss_of(0).l2 == 1 and r.loss_of(1).l2 == 0),
    ("precision=no", lambda r: r.precision == "no"),
    ("precision=bf16", lambda r: r.precision == "bf16"),
    ("minutes=30", lambda r: r.minutes == 30.0),
    ("compile=true", lambda r: r.compile is True),
    ("model_changes.channels=16", lambda r: r.config.channels == 16),
    ("stages.2.clips=${stages.0.clips}", lambda r: r.stages[2].clips == r.stages[0].clips > 1),
    ("stages=[{steps: 1, frames: 5, crop: 64, clips: 1, images: 1}]", lambda r: r.steps == 1),
]


@pytest.mark.parametrize(("assignment", "holds"), GOOD, ids=[assignment for assignment, _ in GOOD])
def test_assignments(assignment, holds):
    changed = override(TINY, None, [assignment])
    assert holds(changed)
    assert override(changed, None, []) == changed


BAD = [
    ("stagez.0.steps=1", "stagez: unknown key; did you mean stages"),
    ("stages.0.stepz=2", r"stages\.0\.stepz: unknown key; did you mean steps\?"),
    ("loss.perceptul=1", r"loss\.perceptul: unknown key; did you mean perceptual"),
    ("stages.0.loss.gramm=1", r"stages\.0\.loss\.gramm: unknown key; did you mean gram\?"),
    ("stages.0.loss.discriminator_width=8", "all stages share"),
    ("model_changes.channel=3", r"model_changes\.channel: unknown key; did you mean channels"),
    ("data.trian=x", r"data\.trian: unknown key; did you mean train"),
    ("stages.7.steps=1", "expected a number from 0 to 2"),
    ("seed=a", "seed='a': expected a whole number, got str"),
    ("seed=1.5", "expected a whole number"),
    ("seed=true", "expected a whole number"),
    ("seed=-1", "seed=-1: expected a whole number of at least 0"),
    ("seed.x=1", "expected a whole number"),
    ("compile=1", "expected true or false"),
    ("ema_decay=1", "ema_decay=1.0: expected a number above 0 and below 1"),
    ("ema_decay=.nan", "ema_decay=nan"),
    ("minutes=0", "minutes=0.0: expected a number above 0"),
    ("train=decodr", "expected all or decoder; did you mean decoder"),
    ("train=decoder", "train=decoder: expected start"),
    ("optimizer=adamw", "optimizer='adamw': expected keys and values"),
    ("optimizer.name=sgd", "expected adamw or muon"),
    ("optimizer.betas=[1]", "a list of 2 values"),
    ("optimizer.betas=[1, 0.5]", "below 1"),
    ("optimizer.learning_rate=0", "above 0"),
    ("schedule.decay_from=1", "below 1"),
    ("data.train=[1]", "quote it"),
    ("steps", "expected key=value"),
    ("=3", "expected key=value"),
    ("seed=[1", "not valid YAML"),
    ("ema_decay=${nope}", "nope"),
    ("stages=[]", "at least one stage"),
    ("stages=[{steps: 1}]", r"stages\.0\.frames: is missing"),
    ("stages.0.crop=100", r"stages\.0: frames=17, crop=100 do not fit.*multiple of 4 and crop a multiple of 8"),
    ("stages.0.frames=8", "frames = 1 \\+ a multiple of 4"),
    ("stages.1.clips=0", r"stages\.1\.clips=0: expected a whole number of at least 1"),
    ("model=nothing", "unknown model"),
    ("model_changes.channels=wide", "channels='wide'"),
    ("model_changes.linear_shortcut=false", "no linear shortcuts to fit"),
]


@pytest.mark.parametrize(("assignment", "message"), BAD, ids=[assignment for assignment, _ in BAD])
def test_what_makes_no_sense_is_refused_in_one_line(assignment, message):
    with pytest.raises((ConfigError, UnknownModelError), match=message) as raised:
        override(TINY, None, [assignment])
    assert "\n" not in str(raised.value)


@given(
    seed=st.integers(0, 10**9),
    rate=st.floats(1e-8, 10),
    steps=st.lists(st.integers(1, 10**7), min_size=1, max_size=4),
    schedule=st.dictionaries(st.integers(0, 10**6), st.floats(0, 100), min_size=1, max_size=4),
    names=st.lists(st.text(min_size=1).filter(lambda text: "${" not in text and text.isprintable()), max_size=3),
)
def test_any_sound_values_come_through_assignments_and_yaml(seed, rate, steps, schedule, names):
    stages = [{"steps": n, "frames": 5, "crop": 8, "clips": 1, "images": 1} for n in steps]
    own = [f"seed={seed}", f"optimizer.learning_rate={rate!r}", f"stages={json.dumps(stages)}"]
    own += [f"loss.gram.{step}={weight!r}" for step, weight in schedule.items()]
    changed = override(TINY, None, own)
    changed = dataclasses.replace(changed, data=dataclasses.replace(changed.data, train=names))
    assert (changed.seed, changed.optimizer.learning_rate) == (seed, rate)
    assert [stage.steps for stage in changed.stages] == steps
    assert changed.loss.gram == schedule
    from omegaconf import OmegaConf

    assert build(Recipe, OmegaConf.to_container(OmegaConf.create(to_yaml(changed)))) == changed


def test_a_file_changes_some_fields_and_assignments_come_after(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("seed: 3\noptimizer:\n  learning_rate: 1e-3\nloss: {perceptual: {0: 0.1}}\n")
    changed = override(TINY, file, ["seed=4"])
    assert (changed.seed, changed.optimizer.learning_rate) == (4, 1e-3)
    assert changed.optimizer.betas == TINY.optimizer.betas
    assert changed.loss.perceptual == {0: 0.1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sed: 3", "sed: unknown key; did you mean seed"),
        ("- 1", "got a list"),
        ("a: [", "not valid YAML"),
        (None, "cannot be read"),
    ],
)
def test_bad_files(tmp_path, text, message):
    file = tmp_path / "mine.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        override(TINY, file)


def test_a_device_is_no_recipe(tmp_path):
    (tmp_path / "mine.yaml").symlink_to("/dev/null")
    with pytest.raises(ConfigError, match="pipe, socket or device"):
        override(TINY, tmp_path / "mine.yaml")


def test_stages_follow_each_other():
    chosen = override(TINY, None, ["stages.0.steps=10", "stages.1.steps=5", "stages.2.steps=1"])
    assert [chosen.stage_at(p) for p in (0, 9.9, 10, 14.5, 15, 16, 99)] == [0, 0, 1, 1, 2, 2, 2]


# Schedules ------------------------------------------------------------------------------------------------------


def test_schedules_equal_their_formulas():
    linear = ScheduleOptions(shape="linear", warmup_steps=4, decay_from=0.5, final=0.1)
    assert [linear.factor(step, 0) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]
    assert linear.factor(9, 0.75) == pytest.approx(0.1 + 0.9 * 0.5)
    assert linear.factor(9, 1) == pytest.approx(0.1)
    cosine = ScheduleOptions(shape="cosine", warmup_steps=0)
    assert [cosine.factor(9, s) for s in (0, 1 / 3, 0.5, 1)] == pytest.approx([1, 0.75, 0.5, 0], abs=1e-12)
    assert ScheduleOptions(warmup_steps=0).factor(10**9, 1) == 1


@given(
    shape=st.sampled_from(["constant", "linear", "cosine"]),
    decay_from=st.floats(0, 0.99),
    final=st.floats(0, 1),
    shares=st.lists(st.floats(0, 1), min_size=2, max_size=6),
)
def test_after_the_rise_rates_only_fall(shape, decay_from, final, shares):
    schedule = ScheduleOptions(shape=shape, warmup_steps=10, decay_from=decay_from, final=final)
    factors = [schedule.factor(10, share) for share in sorted(shares)]
    assert all(a >= b - 1e-12 for a, b in pairwise(factors))
    assert all(final - 1e-12 <= factor <= 1 for factor in factors)
    assert all(math.isclose(schedule.factor(4, s), schedule.factor(10, s) / 2, abs_tol=1e-12) for s in shares)


# Memory and the dry run -----------------------------------------------------------------------------------------


def test_memory_goes_by_what_the_recipe_asks_for():
    one = override(TINY, None, ["precision=no", "stages=[{steps: 1, frames: 5, crop: 64, clips: 4, images: 4}]"])
    base = estimate_memory(one)
    weights = 4 * count_parameters(TINY.config)
    assert (base.weights, base.average, base.gradients) == (weights, weights, weights)
    assert weights < base.optimizer < 2 * weights  # Muon has one moment, AdamW two
    adam = estimate_memory(override(one, None, ["optimizer.name=adamw"]))
    assert adam.optimizer == 2 * weights
    decoder = estimate_memory(override(one, None, ["start=x", "train=decoder"]))
    assert decoder.gradients < base.gradients
    assert decoder.activations < base.activations
    for less in (["activation_checkpointing=true"], ["precision=bf16"], ["stages.0.crop=32"]):
        assert estimate_memory(override(one, None, less)).activations < 0.7 * base.activations
    long = estimate_memory(override(one, None, ["stages.0.past=97"]))
    assert long.activations == base.activations  # nothing of the past is kept
    assert base.workspace < long.workspace
    parts = estimate_memory(override(one, None, ["accumulate=2"])).activations
    assert parts == estimate_memory(one, processes=2).activations
    assert base.activations == pytest.approx(2 * parts, rel=0.01)


def test_a_recipe_for_more_memory_than_there_is_is_refused():
    check_memory(TINY, torch.device("cpu"))
    huge = override(TINY, None, ["stages.2.clips=1000000"])
    with pytest.raises(ConfigError, match=r"reduce stages\.2\.crop.*activation_checkpointing=true.*raise accumulate"):
        check_memory(huge, torch.device("cpu"))
    assert available_memory(torch.device("cpu")) > 1e8


def test_a_dry_run_says_what_would_happen(tmp_path, capsys):
    data = make_data(tmp_path / "data")
    assignments = [f"data.train={data}", "stages=[{steps: 9, frames: 5, crop: 16, clips: 2, images: 2}]"]
    command.dry_run("cv4x8x8-tiny", assignments=assignments, device="cpu")
    printed = capsys.readouterr().out
    assert f"parameters: {count_parameters(TINY.config):,}" in printed
    assert "steps per epoch: 3 in stage 0" in printed
    (tmp_path / "printed.yaml").write_text(printed)  # all of it is a recipe
    assert read_recipe(tmp_path / "printed.yaml") == command.resolve("cv4x8x8-tiny", assignments=assignments)
    command.dry_run("dv8x16x16-720p", device="cpu", as_json=True)
    facts = json.loads(capsys.readouterr().out)
    assert facts["steps_per_epoch"] is None
    assert facts["parameters"] > 100e6
    assert facts["memory"]["total"] > facts["memory"]["activations"] > 0


def test_checking_the_data(tmp_path, capsys):
    data = make_data(tmp_path / "data", videos=2, images=4)
    assert command.check_data("cv4x8x8-tiny", assignments=[f"data.train={data}"], as_json=True)
    assert json.loads(capsys.readouterr().out)["train"]["videos"] == 2
    (data / "bad.png").write_bytes(b"no image")
    assert not command.check_data("cv4x8x8-tiny", assignments=[f"data.train={data}"])
    assert "bad.png" in capsys.readouterr().out


def test_checking_the_data_of_a_recipe_refuses_too_little_as_training_does(tmp_path, capsys):
    data = make_data(tmp_path / "data", videos=1, images=4)
    assert command.check_data(None, assignments=[f"data.train={data}"])
    with pytest.raises(InputError, match=r"videos found: 1, for batches of 2; .*stages\.0\.clips=1"):
        command.check_data("cv4x8x8-tiny", assignments=[f"data.train={data}"])
    assert "1 videos, 4 images" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("variable", "value", "verb"),
    [
        *(("WORLD_SIZE", value, command.dry_run) for value in ("two", "0", "-1", "1.5", "")),
        ("WORLD_SIZE", "two", command.check_data),
        ("RANK", "zero", command.train),
        ("LOCAL_WORLD_SIZE", "two", command.train),
    ],
)
def test_a_number_of_processes_that_is_none_is_refused(tmp_path, monkeypatch, variable, value, verb):
    data = make_data(tmp_path / "data", videos=2, images=4)
    monkeypatch.setenv(variable, value)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=rf"{variable}={value}: expected a whole number from [01] .*unset it"):
        verb("cv4x8x8-tiny", assignments=[f"data.train={data}"])


def test_a_dry_run_counts_the_processes_that_are_launched(monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    command.dry_run("cv4x8x8-tiny", device="cpu", as_json=True)
    assert json.loads(capsys.readouterr().out)["processes"] == 2


def test_a_dry_run_of_a_time_says_the_time_and_speaks_portuguese(tmp_path, capsys):
    data = make_data(tmp_path / "data")
    command.dry_run("cv4x8x8-tiny", assignments=[f"data.train={data}", "minutes=1.5"], device="cpu")
    assert "time: 1.5 min, or 40,000 steps if those are done first" in capsys.readouterr().out
    language.speak({"LANG": "pt_BR.UTF-8"})
    try:
        command.dry_run("cv4x8x8-tiny", assignments=[f"data.train={data}", "minutes=1.5"], device="cpu")
    finally:
        language.speak({})
    printed = capsys.readouterr().out
    for words in ("parâmetros: 1.409.392", "tempo: 1,5 min, ou 40.000 passos", "ativações 0,", "gradientes 0,01 GB"):
        assert words in printed


def test_without_a_name_the_known_ones_are_listed():
    with pytest.raises(ConfigError, match=r"--recipe.*cv4x8x8-tiny"):
        command.resolve(None)


@pytest.mark.slow
def test_the_estimate_is_near_what_a_run_takes(tmp_path):
    from runs import measured_peak

    data = make_data(tmp_path / "data", size=128)
    stages = [{"steps": 2, "frames": 17, "crop": 128, "clips": 4, "images": 4}]
    for number, more in enumerate([[], ["activation_checkpointing=true"], ["stages.0.steps=6", "stages.0.past=97"]]):
        chosen = recipe(data, "model_changes={}", *more, stages=stages)
        measured = measured_peak(chosen, tmp_path / str(number))
        assert 0.6 < estimate_memory(chosen).total / measured < 1.6
