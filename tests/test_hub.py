"""Fetching from the Hub and publishing to it, with its real client against a stand-in of the server."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import Client, HubError, HubServer, Repo
from hypothesis import given
from hypothesis import strategies as st
from small import clip, fresh

from cosmotok import Tokenizer
from cosmotok.checkpoint import hub
from cosmotok.config import find_model, list_models
from cosmotok.errors import InputError

NATIVE = {"config.json": b'{"config_version": 1}', "model.safetensors": b"our weights"}
PORT = {"config.json": b'{"_class_name": "AutoencoderKLCosmos"}', "diffusion_pytorch_model.safetensors": b"weights"}
NVIDIA = {"config.json": b"{}", "encoder.jit": b"encoder", "decoder.jit": b"decoder", "autoencoder.jit": b"both"}
NVIDIA |= {"model.pt": b"training", "mean_std.pt": b"statistics", "README.md": b"card", ".gitattributes": b""}
PIPELINE = {"model_index.json": b"{}", "transformer/config.json": b"{}", "transformer/model.safetensors": b"large"}
PIPELINE |= {f"vae/{name}": data for name, data in PORT.items()}
VARIANTS = {
    "0.1-Tokenizer": [
        "CI8x8",
        "CI16x16",
        "DI8x8",
        "DI16x16",
        "CV4x8x8",
        "CV8x8x8",
        "CV8x16x16",
        "DV4x8x8",
        "DV8x8x8",
        "DV8x16x16",
    ],
    "1.0-Tokenizer": ["CV8x8x8", "DV8x16x16"],
    "Tokenize1": [
        *("CI8x8-360p", "CI16x16-360p", "DI8x8-360p", "DI16x16-360p"),
        *("CV4x8x8-360p", "DV4x8x8-360p", "CV8x8x8-720p", "DV8x16x16-720p"),
    ],
}
REPOSITORIES = [f"nvidia/Cosmos-{family}-{variant}" for family, variants in VARIANTS.items() for variant in variants]


@pytest.fixture(scope="module")
def running() -> Iterator[HubServer]:
    server = HubServer()
    yield server
    server.stop()


@pytest.fixture
def server(running: HubServer) -> HubServer:
    running.reset()
    return running


@pytest.fixture(scope="module")
def online(running: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    client = Client(running.address, tmp_path_factory.mktemp("home"))
    yield client
    client.close()


@pytest.fixture(scope="module")
def offline(running: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    client = Client(running.address, tmp_path_factory.mktemp("home"), HF_HUB_OFFLINE="1")
    yield client
    client.close()


def put(server: HubServer, name: str, files: dict[str, bytes], **facts: object) -> Repo:
    server.repos[name] = Repo(**facts)  # type: ignore[arg-type]
    server.repos[name].commit(files)
    return server.repos[name]


def refusal(client: Client, repo: str, function: str = "fetch", *args: object, **options: object) -> HubError:
    """The error of a call that must fail, after checks that hold for all of them."""
    with pytest.raises(HubError) as caught:
        client(function, *args, repo, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 500
    assert caught.value.kind in ("CheckpointError", "UnknownModelError"), text
    return caught.value


# Names ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", REPOSITORIES)
def test_published_ids_are_repositories_of_their_own(name: str) -> None:
    assert hub.hub_id(name) == name
    suffix = "-720p" if "1.0" in name else ""
    assert find_model(name).name == name.rpartition("Tokenizer-" if "Tokenizer-" in name else "Tokenize1-")[2] + suffix


@pytest.mark.parametrize("variant", VARIANTS["0.1-Tokenizer"] + VARIANTS["Tokenize1"])
def test_short_names(variant: str) -> None:
    family = "Tokenize1" if variant.endswith("p") else "0.1-Tokenizer"
    assert hub.hub_id(variant) == hub.hub_id(variant.lower()) == f"nvidia/Cosmos-{family}-{variant}"


def test_every_known_model_is_bundled_or_on_the_hub() -> None:
    for name in list_models():
        assert (hub.hub_id(name) is None) == find_model(name).bundled


def test_other_ids_stay() -> None:
    for name in ("somebody/CV8x8x8", "nvidia/Cosmos-Tokenizer-CV8x8x8"):
        assert hub.hub_id(name) == name
    assert hub.hub_id("NVIDIA/cosmos-tokenize1-cv8x8x8-720P") == "nvidia/Cosmos-Tokenize1-CV8x8x8-720p"
    assert hub.hub_id("no-such-model") is None


# Which files ----------------------------------------------------------------------------------------------------------


def shards(number: int, of: int) -> set[str]:
    names = {f"diffusion_pytorch_model-{i:05}-of-{of:05}.safetensors" for i in range(1, number + 1)}
    return names | {"diffusion_pytorch_model.safetensors.index.json"}


@given(st.sets(st.sampled_from(sorted({*NATIVE, *PORT, *NVIDIA, *PIPELINE, "iter_2.pt", "iter_10.pt", *shards(2, 2)}))))
def test_choice_is_there_and_sufficient(names: set[str]) -> None:
    choice = hub.choose(names)
    loadable = [set(NATIVE), set(PORT), {"config.json", *shards(2, 2)}, {n for n in PIPELINE if n.startswith("vae/")}]
    loadable += [{"encoder.jit"}, {"decoder.jit"}, {"autoencoder.jit"}, {"model.pt"}, {"iter_2.pt"}, {"iter_10.pt"}]
    if choice is None:
        assert not any(names >= files for files in loadable)
        return
    chosen = {*choice.weights, choice.config} - {None}
    assert chosen <= names
    assert choice.whole == (choice.weights not in (("encoder.jit",), ("decoder.jit",)))
    assert any(chosen >= files for files in loadable)
    assert hub.choose(chosen) == choice  # what was fetched is what is found in the cache


def test_preference() -> None:
    everything = {*NATIVE, *PORT, *NVIDIA, *PIPELINE}
    assert hub.choose(everything).weights == ("model.safetensors",)
    everything -= {"model.safetensors"}
    assert hub.choose(everything).weights == ("diffusion_pytorch_model.safetensors",)
    everything -= set(PORT) - {"config.json"}
    assert hub.choose(everything).weights == ("vae/diffusion_pytorch_model.safetensors",)
    everything -= set(PIPELINE)
    assert hub.choose(everything).weights == ("encoder.jit", "decoder.jit")
    assert hub.choose(everything, {"decoder"}).weights == ("decoder.jit",)
    everything -= {"encoder.jit"}
    assert hub.choose(everything).weights == ("autoencoder.jit",)
    everything -= {"autoencoder.jit"}
    assert hub.choose(everything).weights == ("model.pt",)
    everything -= {"model.pt"}
    assert hub.choose({*everything, "iter_9.pt", "iter_000010.pt"}).weights == ("iter_000010.pt",)
    assert hub.choose(everything).weights == ("decoder.jit",)
    assert hub.choose(everything, {"encoder"}) is None  # mean_std.pt is no model


def test_shards_are_all_or_nothing() -> None:
    assert hub.choose({"config.json", *shards(3, 3)}).weights[:3] == tuple(sorted(shards(3, 3)))[:3]
    assert hub.choose({"config.json", *shards(2, 3)}) is None


# Fetching -------------------------------------------------------------------------------------------------------------

LAYOUTS = {
    "native": (NATIVE | {"README.md": b"card", "optimizer.pt": b"useless"}, set(NATIVE)),
    "diffusers": (PORT | {"diffusion_pytorch_model.fp16.safetensors": b"useless"}, set(PORT)),
    "diffusers-fp16": (
        {"vae/config.json": PORT["config.json"], "vae/diffusion_pytorch_model.fp16.safetensors": b"half"},
        {"vae/config.json", "vae/diffusion_pytorch_model.fp16.safetensors"},
    ),
    "pipeline": (PIPELINE, {f"vae/{name}" for name in PORT}),
    "nvidia": (NVIDIA, {"config.json", "encoder.jit", "decoder.jit"}),
    "nvidia-with-vae": (NVIDIA | PIPELINE, {f"vae/{name}" for name in PORT}),
    "sharded": (
        {"config.json": PORT["config.json"]} | {name: name.encode() for name in shards(2, 2)},
        {"config.json"} | shards(2, 2),
    ),
    "training": ({"iter_000001.pt": b"1", "iter_000002.pt": b"2"}, {"iter_000002.pt"}),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_fetches_the_model_and_nothing_else(server: HubServer, online: Client, tmp_path: Path, layout: str) -> None:
    files, needed = LAYOUTS[layout]
    put(server, "some/model", files)
    folder = online.fetch("some/model", cache_dir=tmp_path)
    assert {name: (folder / name).read_bytes() for name in hub.files_in(folder)} == {n: files[n] for n in needed}
    assert sorted(server.downloaded()) == sorted(needed)
    server.log.clear()
    assert online.fetch("some/model", cache_dir=tmp_path) == folder
    assert server.downloaded() == []
    assert len(server.log) == 1  # whether the branch has moved
    assert online.notices == []


def test_one_half(server: HubServer, online: Client, offline: Client, tmp_path: Path) -> None:
    put(server, "some/model", NVIDIA)
    folder = online.fetch("some/model", cache_dir=tmp_path, halves=["encoder"])
    assert server.downloaded() == ["config.json", "encoder.jit"]
    assert offline.fetch("some/model", cache_dir=tmp_path, halves=["encoder"]) == folder
    assert offline.fetch("some/model", cache_dir=tmp_path) == folder  # all there is
    assert online.fetch("some/model", cache_dir=tmp_path, revision=folder.name) == folder
    assert server.downloaded() == ["config.json", "encoder.jit", "decoder.jit"]
    with pytest.raises(InputError, match="expected 'encoder', 'decoder' or both"):
        hub.fetch("some/model", halves={"middle"})


def test_usual_cache(server: HubServer, running: HubServer, tmp_path: Path) -> None:
    put(server, "me/secret", NATIVE, private=True, readers={"reader"})
    client = Client(running.address, tmp_path, HF_TOKEN="hf_reader")
    folder = client.fetch("me/secret")
    client.close()
    assert folder.is_relative_to(tmp_path / "hub" / "models--me--secret")


def test_revisions(server: HubServer, online: Client, offline: Client, tmp_path: Path) -> None:
    repo = put(server, "some/model", NATIVE)
    first = repo.refs["v1.0"] = repo.refs["main"]
    second = repo.refs["try/it"] = repo.commit({"model.safetensors": b"better"})
    branch = repo.commit({"model.safetensors": b"other"}, "try/it")
    for revision, sha in {"v1.0": first, None: second, "main": second, first: first, "try/it": branch}.items():
        folder = online.fetch("some/model", cache_dir=tmp_path, revision=revision)
        assert folder.name == sha
        assert (folder / "model.safetensors").read_bytes() == repo.commits[sha]["model.safetensors"]
        assert offline.fetch("some/model", cache_dir=tmp_path, revision=revision) == folder
    error = refusal(online, "some/model", cache_dir=tmp_path, revision="v3")
    assert error.kind == "UnknownModelError"
    assert "has no revision 'v3'" in str(error)
    server.log.clear()
    assert online.fetch("some/model", cache_dir=tmp_path, revision=first).name == first
    assert server.log == []  # a commit never changes


def test_new_commit_replaces_the_old(server: HubServer, online: Client, offline: Client, tmp_path: Path) -> None:
    repo = put(server, "some/model", NATIVE)
    old = online.fetch("some/model", cache_dir=tmp_path)
    repo.commit({"model.safetensors": b"better"})
    server.withheld.add("model.safetensors")
    assert online.fetch("some/model", cache_dir=tmp_path) == old  # the download breaks off
    assert "Using what the cache holds" in online.notices[0]
    assert offline.fetch("some/model", cache_dir=tmp_path) == old
    server.withheld.clear()
    new = online.fetch("some/model", cache_dir=tmp_path)
    assert (new / "model.safetensors").read_bytes() == b"better"
    assert offline.fetch("some/model", cache_dir=tmp_path) == new


def test_half_a_download_is_completed(server: HubServer, online: Client, offline: Client, tmp_path: Path) -> None:
    put(server, "some/model", NVIDIA)
    server.withheld.add("decoder.jit")
    assert "404" in str(refusal(online, "some/model", cache_dir=tmp_path))
    assert "offline mode" in str(refusal(offline, "some/model", cache_dir=tmp_path))
    server.withheld.clear()
    server.log.clear()
    online.fetch("some/model", cache_dir=tmp_path)
    assert server.downloaded() == ["decoder.jit"]


def test_a_download_cut_off_before_the_calibration(
    server: HubServer, online: Client, offline: Client, tmp_path: Path
) -> None:
    commit = list(put(server, "some/model", NATIVE | {"int8.json": b"{}"}).commits)[-1]
    server.withheld.add("int8.json")
    refusal(online, "some/model", revision=commit, cache_dir=tmp_path)
    assert "offline mode" in str(refusal(offline, "some/model", revision=commit, cache_dir=tmp_path))
    server.withheld.clear()
    folder = online.fetch("some/model", revision=commit, cache_dir=tmp_path)
    assert {path.name for path in folder.iterdir()} == {*NATIVE, "int8.json"}


def test_the_config_of_our_own_models_comes_alone(server: HubServer, online: Client, tmp_path: Path) -> None:
    put(server, "some/model", NATIVE)
    folder = online.fetch("some/model", cache_dir=tmp_path, config_only=True)
    assert {path.name for path in folder.iterdir()} == {"config.json"}
    assert {path.name for path in online.fetch("some/model", cache_dir=tmp_path).iterdir()} == set(NATIVE)


def test_private(server: HubServer, online: Client, tmp_path: Path) -> None:
    put(server, "me/secret", NATIVE, private=True, readers={"reader"})
    for options in ({}, {"token": False}):
        error = refusal(online, "me/secret", cache_dir=tmp_path, **options)
        assert error.kind == "UnknownModelError"
        assert "token=" in str(error)
    assert "refuses the token" in str(refusal(online, "me/secret", cache_dir=tmp_path, token="hf_wrong"))
    assert "no token is stored" in str(refusal(online, "me/secret", cache_dir=tmp_path, token=True))
    assert (online.fetch("me/secret", cache_dir=tmp_path, token="hf_reader") / "model.safetensors").exists()


def test_gated(server: HubServer, online: Client, tmp_path: Path) -> None:
    put(server, "nvidia/model", NVIDIA, gated=True, readers={"reader"})
    for options in ({}, {"token": "hf_me"}):
        error = refusal(online, "nvidia/model", cache_dir=tmp_path, **options)
        assert "is gated; accept its licence at" in str(error)
        assert f"{server.address}/nvidia/model" in str(error)
    assert online.fetch("nvidia/model", cache_dir=tmp_path, token="hf_reader").is_dir()


@pytest.mark.parametrize("repo", ["some/missing", "nvidia/Cosmos-Tokenize1-CV8x8x8-720"])
def test_missing(server: HubServer, online: Client, tmp_path: Path, repo: str) -> None:
    error = refusal(online, repo, cache_dir=tmp_path)
    assert error.kind == "UnknownModelError"
    assert "check the spelling" in str(error)
    assert list(tmp_path.rglob("*.*")) == []


@pytest.mark.parametrize("repo", ["a/b/c", "some one/model", "a/..b", "-/-", "a/" + "b" * 100])
def test_not_an_id(server: HubServer, online: Client, tmp_path: Path, repo: str) -> None:
    assert "expected owner/name" in str(refusal(online, repo, cache_dir=tmp_path))
    assert server.log == []


def test_renamed(server: HubServer, online: Client, offline: Client, tmp_path: Path) -> None:
    """The Hub redirects old names, such as those of NVIDIA's first release."""
    put(server, "nvidia/Cosmos-0.1-Tokenizer-CV8x8x8", NVIDIA)
    server.renamed["nvidia/Cosmos-Tokenizer-CV8x8x8"] = "nvidia/Cosmos-0.1-Tokenizer-CV8x8x8"
    folder = online.fetch("nvidia/Cosmos-Tokenizer-CV8x8x8", cache_dir=tmp_path)
    assert (folder / "encoder.jit").read_bytes() == b"encoder"
    assert offline.fetch("nvidia/Cosmos-Tokenizer-CV8x8x8", cache_dir=tmp_path) == folder


OTHERS = {
    "a bert": {"config.json": b'{"model_type": "bert"}', "model.safetensors": b"large"},
    "a AutoencoderKLWan": PIPELINE | {"vae/config.json": b'{"_class_name": "AutoencoderKLWan"}'},
    "not JSON": NATIVE | {"config.json": b"{"},
    "not of a tokenizer": NATIVE | {"config.json": b"3"},
}


@pytest.mark.parametrize("what", OTHERS)
def test_other_models_are_refused_before_their_weights(
    server: HubServer, online: Client, tmp_path: Path, what: str
) -> None:
    put(server, "some/other", OTHERS[what])
    assert what in str(refusal(online, "some/other", cache_dir=tmp_path))
    assert [name.rpartition("/")[2] for name in server.downloaded()] == ["config.json"]


def test_no_model(server: HubServer, online: Client, tmp_path: Path) -> None:
    put(server, "some/data", {f"{i}.txt": b"" for i in range(8)})
    error = str(refusal(online, "some/data", cache_dir=tmp_path))
    assert "found 0.txt, 1.txt, 2.txt, 3.txt, 4.txt and 3 more" in error
    put(server, "some/nothing", {})
    assert "found nothing" in str(refusal(online, "some/nothing", cache_dir=tmp_path))
    put(server, "some/world-model", {"model.pt": b"SIZE 14000000000", "config.json": b"{}"})
    assert "model.pt has 14 GB" in str(refusal(online, "some/world-model", cache_dir=tmp_path))
    assert server.downloaded() == []


# Without the Hub ------------------------------------------------------------------------------------------------------


def test_offline(server: HubServer, online: Client, offline: Client, tmp_path: Path) -> None:
    put(server, "some/model", NATIVE)
    error = refusal(offline, "some/model", cache_dir=tmp_path)
    assert "offline mode" in str(error)
    assert str(tmp_path) in str(error)
    folder = online.fetch("some/model", cache_dir=tmp_path)
    server.log.clear()
    assert offline.fetch("some/model", cache_dir=tmp_path) == folder
    assert offline.notices == []
    assert online.fetch("some/model", cache_dir=tmp_path, offline=True) == folder
    assert server.log == []
    assert "v2" in str(refusal(offline, "some/model", cache_dir=tmp_path, revision="v2"))
    (folder / "model.safetensors").resolve().unlink()  # the weights are gone, a dangling link stays
    refusal(offline, "some/model", cache_dir=tmp_path)


def test_hub_unreachable(server: HubServer, online: Client, tmp_path: Path) -> None:
    put(server, "some/model", NATIVE)
    folder = online.fetch("some/model", cache_dir=tmp_path)
    server.stop()
    try:
        assert online.fetch("some/model", cache_dir=tmp_path) == folder
        assert len(online.notices) == 1
        assert "\n" not in online.notices[0]
        assert online.fetch("some/model", cache_dir=tmp_path, revision=folder.name) == folder
        assert online.notices == []
        error = refusal(online, "some/other", cache_dir=tmp_path)
        assert f"cannot be fetched from {server.address}" in str(error)
        assert "refused" in str(error)
    finally:
        server.start()


def test_hub_out_of_order(server: HubServer, online: Client, tmp_path: Path) -> None:
    put(server, "some/model", NATIVE)
    folder = online.fetch("some/model", cache_dir=tmp_path)
    server.broken = 503
    assert online.fetch("some/model", cache_dir=tmp_path) == folder
    assert "the Hub answers 503" in online.notices[0]
    assert "the Hub answers 503" in str(refusal(online, "some/other", cache_dir=tmp_path))


def limit_file_size() -> None:
    """Stands in for a full disk: writing fails after 2 KiB."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))


def test_disk_full(server: HubServer, tmp_path: Path) -> None:
    put(server, "some/model", NATIVE | {"model.safetensors": bytes(100_000)})
    client = Client(server.address, tmp_path, before=limit_file_size)
    assert f"the disk with the cache {tmp_path / 'hub'} is full" in str(refusal(client, "some/model"))
    client.close()
    # Clients before 1.0 keep what came, to go on from there; no snapshot shows it.
    assert not any(path.name == "model.safetensors" for path in tmp_path.rglob("*"))


@pytest.mark.parametrize("reason", ["Not a directory", "No such file or directory"])
def test_no_place_for_the_cache(server: HubServer, online: Client, tmp_path: Path, reason: str) -> None:
    put(server, "some/model", NATIVE)
    (tmp_path / "file").write_text("")
    cache = tmp_path / "file" if reason == "Not a directory" else Path("/proc/nowhere")
    assert f"cannot write to the cache {cache} ({reason})" in str(refusal(online, "some/model", cache_dir=cache))


# Publishing -----------------------------------------------------------------------------------------------------------


def test_published_and_fetched_again(server: HubServer, online: Client, tmp_path: Path) -> None:
    original = fresh("dv4x8x8", seed=3)
    original.save_pretrained(tmp_path / "out")
    address = online("publish", tmp_path / "out", "me/model", token="hf_me", private=True)
    assert address == f"{server.address}/me/model"
    assert server.repos["me/model"].private
    assert len(server.repos["me/model"].commits) == 2  # the Hub's own first one, and all files at once
    folder = online.fetch("me/model", cache_dir=tmp_path / "cache", token="hf_me")
    for name in ("config.json", "model.safetensors"):
        assert (folder / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
    again = Tokenizer.from_pretrained(folder)
    assert again.config == original.config
    assert again.fingerprint == original.fingerprint
    assert (again.encode(clip(5)) == original.encode(clip(5))).all()


def test_publish_to_a_branch(server: HubServer, online: Client, tmp_path: Path) -> None:
    write(tmp_path / "out", NATIVE)
    for weights in (b"first", b"second"):
        (tmp_path / "out" / "model.safetensors").write_bytes(weights)
        online("publish", tmp_path / "out", "me/model", token="hf_me", revision="v2", commit_message="Try")
        assert server.repos["me/model"].files("v2")["model.safetensors"] == weights
    assert "model.safetensors" not in server.repos["me/model"].files()


def test_own_name_without_owner(server: HubServer, online: Client, tmp_path: Path) -> None:
    write(tmp_path / "out", NATIVE)
    assert online("publish", tmp_path / "out", "model", token="hf_me") == f"{server.address}/me/model"
    assert server.repos["me/model"].files()["model.safetensors"] == NATIVE["model.safetensors"]


def test_hand_written_card_stays(server: HubServer, online: Client, tmp_path: Path) -> None:
    from cosmotok.checkpoint.card import model_card

    repo = put(server, "me/model", {"README.md": b"Mine."})
    generated = [
        model_card(find_model("CV8x8x8").config, parameters=n, fingerprint="", facts={}).encode() for n in (1, 2)
    ]
    write(tmp_path / "out", NATIVE | {"README.md": generated[0]})
    online("publish", tmp_path / "out", "me/model", token="hf_me")
    assert repo.files()["README.md"] == b"Mine."
    assert repo.files()["model.safetensors"] == NATIVE["model.safetensors"]
    repo.commit({"README.md": generated[0]})
    for text in (generated[1], b"Written by hand."):
        write(tmp_path / "out", {"README.md": text})
        online("publish", tmp_path / "out", "me/model", token="hf_me")
        assert repo.files()["README.md"] == text


def test_publishing_refused(server: HubServer, online: Client, offline: Client, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    write(folder, NATIVE)
    other = put(server, "other/model", {"a": b""})
    mine = put(server, "me/public", {"a": b""})

    def error(repo: str, client: Client = online, **options: object) -> str:
        with pytest.raises(HubError) as caught:
            client("publish", folder, repo, **options)
        assert caught.value.kind == "CheckpointError"
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "needs a token with the right to write" in error("me/model")
    assert "needs a token with the right to write" in error("me/model", token="hf_wrong")
    assert "may not write" in error("me/model", token="hf_looker")
    assert "may not write" in error("other/model", token="hf_me")
    assert "expected owner/name" in error("a/b/c", token="hf_me")
    assert "is public already" in error("me/public", token="hf_me", private=True)
    assert "unset HF_HUB_OFFLINE" in error("me/model", offline, token="hf_me")
    write(folder, {"README.md": b"---\nlicense: mine\n---\n"})
    assert "license" in error("me/public", token="hf_me")
    folder = tmp_path / "empty"
    folder.mkdir()
    assert "nothing to publish" in error("me/model", token="hf_me")
    assert len(other.commits) == len(mine.commits) == 1


def test_tokenizer_there_and_back(server: HubServer, tmp_path: Path) -> None:
    """As users do it, with the address in the environment."""
    program = """
import sys, torch
sys.path.insert(0, sys.argv[1])
from small import clip, fresh
from cosmotok import Tokenizer

original = fresh("cv4x8x8", seed=5)
facts = {"license": "mit", "figures": [{"set": "none", "PSNR": 1.5}]}
print(original.push_to_hub("me/tok", card=facts))
again = Tokenizer.from_pretrained("me/tok", revision="main")
assert torch.equal(again.encode(clip(9)), original.encode(clip(9)))
"""
    environment = os.environ | {"HF_ENDPOINT": server.address, "HF_HOME": str(tmp_path), "HF_TOKEN": "hf_me"}
    environment |= {"HF_HUB_DISABLE_XET": "1", "NO_PROXY": "*"}
    command = [sys.executable, "-c", program, str(Path(__file__).parent)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{server.address}/me/tok"
    files = server.repos["me/tok"].files()
    assert {"README.md", "config.json", "model.safetensors"} <= set(files)
    assert b"license: mit" in files["README.md"]
    assert json.loads(files["config.json"])["variant"] == "small-4x8x8"


def write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
