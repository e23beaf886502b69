"""Models on the Hugging Face Hub: `fetch` downloads what is needed of one, `publish` uploads one."""

from __future__ import annotations

import errno
import logging
import re
import tempfile
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import CommitOperationAdd, HfApi, constants, hf_hub_download, snapshot_download
from huggingface_hub.utils import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    LocalTokenNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from cosmotok.checkpoint.calibration import CALIBRATION_FILE
from cosmotok.checkpoint.card import CARD_FILE, is_generated
from cosmotok.checkpoint.files import CONFIG_FILE
from cosmotok.checkpoint.native import WEIGHTS_FILE
from cosmotok.config import find_model
from cosmotok.errors import CheckpointError, CosmotokError, InputError, UnknownModelError
from cosmotok.foreign import one_line, read_json

__all__ = ["fetch", "hub_id", "publish"]

BOTH = frozenset({"encoder", "decoder"})
COMMIT = re.compile(r"[0-9a-f]{40}")
SHARD = re.compile(r"diffusion_pytorch_model-(\d{5})-of-(\d{5})\.safetensors")
VARIANT = re.compile(r"diffusion_pytorch_model\.(bf16|fp16)\.safetensors")
LARGEST = 8 * 10**9
"""Bytes. No file of a tokenizer comes near; a world model's `model.pt`, in repositories that look alike, exceeds it."""
LOG_IN = "pass token=, set HF_TOKEN, or log in with `hf auth login`"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Choice:
    """The files of a repository that make one tokenizer."""

    writer: str
    """Whose format it is: "cosmotok", "diffusers" or "NVIDIA"."""
    config: str | None
    weights: tuple[str, ...]
    whole: bool = True
    """False where both halves were wanted and the files of one were found."""


def hub_id(name: str) -> str | None:
    """The repository that holds the model called `name`, or None for a name that has none.

    An id `"owner/name"` stays as it is, but for the capitals of NVIDIA's own.

    >>> hub_id("CV8x8x8-720p"), hub_id("nvidia/Cosmos-1.0-Tokenizer-CV8x8x8")
    ('nvidia/Cosmos-Tokenize1-CV8x8x8-720p', 'nvidia/Cosmos-1.0-Tokenizer-CV8x8x8')
    """
    is_id = name.count("/") == 1
    try:
        hub = find_model(name).hub
    except UnknownModelError:
        return name if is_id else None
    # The same model may be in several repositories; the one that was asked for is the one to use.
    return name if is_id and (hub or "").lower() != name.lower() else hub


def fetch(
    repo: str,
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | Path | None = None,
    offline: bool = False,
    halves: Collection[str] = BOTH,
    config_only: bool = False,
) -> Path:
    """Downloads the one model in the Hub repository `repo` to the cache, unless it is there already.

    Looks for our own files, then for a diffusers autoencoder (alone or as `vae/` of a pipeline), then for
    `encoder.jit` and `decoder.jit`, `autoencoder.jit`, `model.pt`, the last `iter_*.pt`; nothing else is downloaded.
    `HF_HOME`, `HF_ENDPOINT`, `HF_TOKEN` and `HF_HUB_OFFLINE` have their usual meaning. A commit that is in the
    cache is used without asking the Hub; where the Hub cannot be asked, whatever the cache holds of the revision
    is used, and a warning is logged.

    Args:
        repo: `"owner/name"`.
        revision: branch, tag or commit; the main branch unless given.
        token: for private and gated repositories; True for the stored one, which is also the default; False for none.
        cache_dir: folder of the cache, if not the usual one.
        offline: use the cache alone.
        halves: "encoder" or "decoder" for one of `encoder.jit` and `decoder.jit`. Other files hold both.
        config_only: leaves out the weights of our own format, whose config says all.

    Returns:
        The folder of the snapshot, which keeps the repository's layout. It may hold more than what was asked for.

    Raises:
        UnknownModelError: where there is no such repository or revision.
        CheckpointError: where it cannot be fetched or holds no model.
        InputError: for other halves.
    """
    if not halves or not BOTH.issuperset(halves):
        raise InputError(f"halves={sorted(halves)}: expected 'encoder', 'decoder' or both")
    offline = offline or constants.HF_HUB_OFFLINE
    cache = Path(cache_dir or constants.HF_HUB_CACHE).expanduser()
    folder = cached_snapshot(repo, revision, cache)
    choice = choose(files_in(folder), halves) if folder else None
    exact = revision is not None and COMMIT.fullmatch(revision)
    if folder and choice and (offline or (exact and choice.whole)):
        return folder
    if offline:
        raise CheckpointError(
            f"{describe(repo, revision)}: not in the cache {cache}, and this is offline mode; fetch it once online "
            "(without HF_HUB_OFFLINE), or pass a local folder"
        )
    try:
        return download(repo, revision, token, cache, frozenset(halves), folder, config_only)
    except CosmotokError:
        raise
    except Exception as error:  # the client has dozens of its own, for every network trouble
        problem = explain(error, repo, revision, cache)
        if folder is None or choice is None or isinstance(error, RevisionNotFoundError):
            raise problem from error
        log.warning("%s. Using what the cache holds, which may be older", problem)
        return folder


def download(
    repo: str,
    revision: str | None,
    token: str | bool | None,
    cache: Path,
    halves: frozenset[str],
    known: Path | None,
    config_only: bool,
) -> Path:
    """`fetch` from the Hub itself; raises whatever its client does.

    Args:
        known: the snapshot that the cache has for this revision.
    """
    info = HfApi(token=token).model_info(repo, revision=revision, files_metadata=True)
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
    choice = choose(sizes, halves)
    if choice is None:
        raise CheckpointError(f"{describe(repo, revision)}: holds no model; expected {EXPECTED}; found {few(sizes)}")
    for name in choice.weights:
        if sizes[name] > LARGEST:
            raise CheckpointError(
                f"{repo}: {name} has {sizes[name] / 1e9:.0f} GB, too many for a tokenizer; if it is one, download it "
                "yourself and pass its path"
            )

    def get(name: str, at: str | None) -> Path:
        return Path(hf_hub_download(repo, name, revision=at, token=token, cache_dir=cache))

    if choice.config:
        check_config(get(choice.config, info.sha), repo, choice)
        if config_only and choice.writer == "cosmotok":
            return get(choice.config, info.sha).parent
    paths = [get(name, info.sha) for name in choice.weights]
    if info.sha not in (revision, known.name if known else None):
        # Asked for by the branch's name, the client notes in the cache which commit that is. This comes last, so
        # that an interrupted download leaves the branch, for offline use, at the commit that is there.
        get(choice.config or choice.weights[0], revision)
    return paths[0].parents[choice.weights[0].count("/")]


def choose(names: Iterable[str], halves: Collection[str] = BOTH) -> Choice | None:
    """Which of a repository's files to fetch; None if they hold no model."""
    present = set(names)
    if {CONFIG_FILE, WEIGHTS_FILE} <= present:
        # The weights last, so that a snapshot that has them has all, wherever its download was cut off.
        return Choice("cosmotok", CONFIG_FILE, (*({CALIBRATION_FILE} & present), WEIGHTS_FILE))
    for folder in ("", "vae/"):
        weights = diffusers_weights(present, folder)
        if weights and folder + CONFIG_FILE in present:
            return Choice("diffusers", folder + CONFIG_FILE, weights)
    config = CONFIG_FILE if CONFIG_FILE in present else None
    jit = [f"{half}.jit" for half in ("encoder", "decoder") if half in halves]
    steps = [name for name in present if re.fullmatch(r"iter_\d+\.pt", name)]
    last = [max(steps, key=lambda name: int(name[5:-3]))] if steps else []
    for wanted in (jit, ["autoencoder.jit"], ["model.pt"], last):
        if wanted and present.issuperset(wanted):
            return Choice("NVIDIA", config, tuple(wanted))
    return next((Choice("NVIDIA", config, (name,), whole=False) for name in jit if name in present), None)


def diffusers_weights(present: Collection[str], folder: str) -> tuple[str, ...]:
    """The files with the weights of a diffusers model in `folder`: one, or all shards and their index."""
    one, index = (f"{folder}diffusion_pytorch_model.safetensors{end}" for end in ("", ".index.json"))
    if one in present:
        return (one,)
    shards = sorted(n for n in present if n.startswith(folder) and SHARD.fullmatch(n[len(folder) :]))
    complete = shards and len(shards) == int(shards[0].split("-of-")[1][:5])
    if complete and index in present:
        return (*shards, index)
    # Saved with diffusers' variant="bf16" or "fp16" alone: the first of those, should there be both.
    return tuple(sorted(n for n in present if n.startswith(folder) and VARIANT.fullmatch(n[len(folder) :]))[:1])


def check_config(path: Path, repo: str, choice: Choice) -> None:
    """Raises CheckpointError unless the config is a tokenizer's. Asked before the weights, which take long."""
    if choice.writer == "NVIDIA":  # its configs say nothing
        return
    try:
        config: Any = read_json(path)
    except ValueError as error:
        raise CheckpointError(f"{repo}: {choice.config} is not JSON: {error}") from None
    config = config if isinstance(config, dict) else {}
    kind = config.get("_class_name") or config.get("model_type")
    fine = "config_version" in config if choice.writer == "cosmotok" else kind == "AutoencoderKLCosmos"
    if not fine:
        of = f" of a {one_line(kind)}" if kind else ""
        raise CheckpointError(f"{repo}: {choice.config} is the config{of}, not of a tokenizer; expected {EXPECTED}")


def cached_snapshot(repo: str, revision: str | None, cache: Path) -> Path | None:
    """The folder of that revision in the cache, complete or not; None if there is none."""
    try:
        # No file is asked for: newer clients refuse a snapshot that lacks one of those that are.
        return Path(
            snapshot_download(repo, revision=revision, cache_dir=cache, local_files_only=True, allow_patterns=[])
        )
    except LocalEntryNotFoundError:
        return None
    except HFValidationError as error:
        raise explain(error, repo, revision, cache) from error


def files_in(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


def publish(
    folder: Path,
    repo: str,
    *,
    token: str | bool | None = None,
    private: bool | None = None,
    revision: str | None = None,
    commit_message: str | None = None,
) -> str:
    """Uploads all files in `folder` to the Hub repository `repo`, made if need be, as one commit.

    A generated model card (see `cosmotok.checkpoint.card`) does not replace one that somebody wrote there.

    Args:
        repo: `"owner/name"`, or `"name"` for one of your own.
        token: with the right to write; by default the stored one.
        private: whether only you see it. By default what the Hub does for you, or what it is.
        revision: branch, made if need be; the main branch unless given.

    Returns:
        The repository's address.

    Raises:
        CheckpointError: where the folder is empty or the Hub does not take it. Then the repository's files are
            as they were.
    """
    names = [name for name in files_in(folder) if not any(part.startswith(".") for part in name.split("/"))]
    if not names:
        raise CheckpointError(f"{folder}: nothing to publish; expected a folder that `save_pretrained` wrote")
    api = HfApi(token=token)
    try:
        address = api.create_repo(repo, private=private, exist_ok=True)
        repo = address.repo_id
        if private and not api.model_info(repo).private:
            raise CheckpointError(f"{repo}: is public already; make it private at {address}/settings, or use another")
        if revision:
            api.create_branch(repo, branch=revision, exist_ok=True)
        if CARD_FILE in names and is_generated((folder / CARD_FILE).read_text(encoding="utf-8")):
            there = card_of(repo, revision, token)
            if there is not None and not is_generated(there):
                names.remove(CARD_FILE)
        operations = [CommitOperationAdd(path_in_repo=name, path_or_fileobj=folder / name) for name in sorted(names)]
        api.create_commit(repo, operations, commit_message=commit_message or "Upload tokenizer", revision=revision)
    except CosmotokError:
        raise
    except Exception as error:
        raise explain_upload(error, repo) from error
    return str(address)


def card_of(repo: str, revision: str | None, token: str | bool | None) -> str | None:
    """The model card of a repository, if it has one."""
    with tempfile.TemporaryDirectory() as cache:
        try:
            path = hf_hub_download(repo, CARD_FILE, revision=revision, token=token, cache_dir=cache)
            return Path(path).read_text(encoding="utf-8")
        except EntryNotFoundError:
            return None


def explain(error: Exception, repo: str, revision: str | None, cache: Path) -> CosmotokError:
    """What a user can do about an error of the Hub's client, in one line."""
    address = f"{constants.ENDPOINT}/{repo}"
    status = status_of(error)
    if isinstance(error, GatedRepoError):
        return CheckpointError(f"{repo}: is gated; accept its licence at {address}, then {LOG_IN}")
    if isinstance(error, RepositoryNotFoundError):
        return UnknownModelError(f"{repo}: not at {address}, or private; check the spelling, or {LOG_IN}")
    if isinstance(error, RevisionNotFoundError):
        return UnknownModelError(f"{repo}: has no revision {revision!r}; pass a branch, a tag or a full commit hash")
    if isinstance(error, HFValidationError):
        return UnknownModelError(f"{repo}: not an id of the Hub; expected owner/name, of letters, digits and -_.")
    if isinstance(error, LocalTokenNotFoundError):
        return CheckpointError(f"{repo}: token=True, but no token is stored; {LOG_IN}")
    if status in (401, 403):
        return CheckpointError(f"{repo}: the Hub refuses the token ({status}); pass another, or token=False for none")
    number = getattr(error, "errno", None)
    if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG) or "No space left" in str(error):
        return CheckpointError(f"{repo}: the disk with the cache {cache} is full; free some space, or move HF_HOME")
    if isinstance(error, OSError) and error.filename and not isinstance(error, HfHubHTTPError):
        return CheckpointError(f"{repo}: cannot write to the cache {cache} ({error.strerror}); move HF_HOME elsewhere")
    if status is not None:
        return CheckpointError(f"{describe(repo, revision)}: the Hub answers {status} for {address}; try again later")
    return CheckpointError(
        f"{describe(repo, revision)}: cannot be fetched from {constants.ENDPOINT} ({reason(error)}); check the "
        "network, or pass a local folder"
    )


def explain_upload(error: Exception, repo: str) -> CosmotokError:
    """As `explain`, of uploads."""
    status = status_of(error)
    if isinstance(error, HFValidationError):
        return CheckpointError(f"{repo}: not an id of the Hub; expected owner/name, of letters, digits and -_.")
    if isinstance(error, OfflineModeIsEnabled):
        return CheckpointError(f"{repo}: cannot be published in offline mode; unset HF_HUB_OFFLINE")
    if status == 401 or isinstance(error, LocalTokenNotFoundError):
        return CheckpointError(f"{repo}: publishing needs a token with the right to write; {LOG_IN}")
    if status in (403, 404):
        return CheckpointError(f"{repo}: your token may not write there; use another token or your own name as owner")
    at = constants.ENDPOINT
    return CheckpointError(f"{repo}: cannot be published at {at} ({reason(error)}); its files are as they were")


def status_of(error: BaseException) -> int | None:
    """The HTTP status behind an error of the client."""
    while not isinstance(error, HfHubHTTPError):
        if error.__cause__ is None:
            return None
        error = error.__cause__
    return error.response.status_code if error.response is not None else None


def reason(error: BaseException) -> str:
    """What the error, or the one at the bottom of it, says, in one line."""
    while error.__cause__ is not None and not isinstance(error, ValueError):
        error = error.__cause__
    return " ".join(str(error).split())[:300] or type(error).__name__


def describe(repo: str, revision: str | None) -> str:
    return f"{repo} at {revision}" if revision else repo


def few(names: Collection[str], number: int = 5) -> str:
    """The first of some file names, for messages."""
    listed = ", ".join(sorted(names)[:number])
    return (f"{listed} and {len(names) - number} more" if len(names) > number else listed) or "nothing"


EXPECTED = (
    f"{CONFIG_FILE} and {WEIGHTS_FILE} of cosmotok, an AutoencoderKLCosmos of diffusers (also in vae/), or encoder.jit "
    "and decoder.jit, autoencoder.jit, model.pt or iter_*.pt of NVIDIA's code"
)
