"""The command in the language of the locale: which one that is, and that its catalogue lacks nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cosmotok import language
from cosmotok.cli.app import command
from cosmotok.sentences import translated

pytest.importorskip("babel")
sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

import catalogue

VERBS = sorted(command(lambda debug: None).commands)
PORTUGUESE = {"LANG": "pt_BR.UTF-8"}


@pytest.fixture
def portuguese(monkeypatch):
    """This process speaks Portuguese."""
    monkeypatch.setenv("LANGUAGE", "")
    language.speak(PORTUGUESE)
    yield
    language.speak({})


def shown(environment: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    """What the command prints in a process of its own."""
    kept = {k: v for k, v in os.environ.items() if k not in ("LANG", "LANGUAGE") and not k.startswith("LC_")}
    done = subprocess.run(
        [sys.executable, "-m", "cosmotok", *arguments],
        env={**kept, "COLUMNS": "200", "PYTHONIOENCODING": "utf-8", **environment},
        capture_output=True,
        encoding="utf-8",
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({}, None),
        ({"LANG": "C"}, None),
        ({"LANG": "C.UTF-8", "LANGUAGE": "pt_BR"}, None),
        ({"LANG": "POSIX"}, None),
        ({"LANG": "en_US.UTF-8"}, None),
        ({"LANG": "ja_JP.UTF-8"}, None),
        ({"LANG": "pt_BR.UTF-8"}, "pt_BR"),
        ({"LANG": "pt_BR"}, "pt_BR"),
        ({"LANG": "pt_PT.UTF-8"}, "pt_BR"),
        ({"LANG": "pt_BR.UTF-8", "LC_MESSAGES": "C"}, None),
        ({"LANG": "C", "LC_ALL": "pt_BR.ISO8859-1"}, "pt_BR"),
        ({"LANG": "pt_BR.UTF-8", "LC_ALL": ""}, "pt_BR"),
        ({"LANG": "pt_BR.UTF-8", "LANGUAGE": "en:pt_BR"}, None),
        ({"LANG": "en_US.UTF-8", "LANGUAGE": "ja:pt:en"}, "pt_BR"),
    ],
)
def test_the_language_of_a_locale(environment, found):
    assert language.find_language(environment) == found


def test_without_catalogues_it_is_english(tmp_path, monkeypatch):
    monkeypatch.setattr(language, "FOLDER", tmp_path / "none")
    assert language.find_language(PORTUGUESE) is None


@pytest.mark.parametrize("name", catalogue.languages())
def test_every_text_has_a_translation(name):
    known = catalogue.read(name)
    missing = [text for text in catalogue.texts() if not (message := known.get(text)) or not message.string]
    assert not missing, f"translate in {catalogue.po_file(name)}, which `make catalogue` renews: {missing}"


@pytest.mark.parametrize("name", catalogue.languages())
def test_placeholders_agree(name):
    for message in catalogue.read(name):
        assert catalogue.fields(message.id) == catalogue.fields(message.string), message.id
        assert message.id.count("{}") == message.string.count("{}"), message.id


@pytest.mark.parametrize("name", catalogue.languages())
def test_what_is_read_is_what_was_translated(name):
    language.speak({"LANG": name})
    try:
        for message in catalogue.read(name):
            if message.id and not message.context:
                assert language.translate(message.id) == message.string, "run: make catalogue"
    finally:
        language.speak({})


def test_a_text_of_every_kind_is_among_them():
    texts = catalogue.texts()
    for text in ("Print the version.", "Data sets", "error: {message}", "pixel format", "COMMAND [ARGS]..."):
        assert text in texts


def test_help_of_the_command():
    code, out, _ = shown(PORTUGUESE, "--help")
    assert code == 0
    for words in ("Uso: cosmotok", "Opções", "Clipes e fotos", "Mostra a versão.", "Mostra esta mensagem e sai."):
        assert words in out
    code, out, _ = shown({"LANG": "C"}, "--help")
    assert code == 0
    assert "Usage: cosmotok" in out
    assert "Clips and photos" in out


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb(verb, portuguese, monkeypatch):
    shown = command(lambda debug: None).commands[verb]
    texts = [part.help for part in (shown, *shown.params) if getattr(part, "help", None)]
    language.speak({})
    plain = command(lambda debug: None).commands[verb]
    english = [part.help for part in (plain, *plain.params) if getattr(part, "help", None)]
    assert len(texts) == len(english)
    same = {ours for ours, theirs in zip(texts, english, strict=True) if ours == theirs}
    assert same <= {"onnx or torch-export."}
    assert language.translate(english[0]) == english[0]


def test_errors_and_numbers(tmp_path):
    code, _, err = shown(PORTUGUESE, "info", str(tmp_path / "nothing.mp4"))
    assert code == 1
    assert err.startswith("erro: ")
    code, out, _ = shown(PORTUGUESE, "info", "cv4x8x8-tiny")
    assert code == 0
    assert "parâmetros" in out
    assert "1.409.392" in out


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("a.mp4: no such file", "a.mp4: o arquivo não existe"),
        ("size 3: expected WIDTHxHEIGHT in pixels such as 640x360", "tamanho 3: esperava-se LARGURAxALTURA em pixels"),
        ("unknown model 'x'; did you mean y? (`cosmotok models` lists all; a path works too)", "'x'; seria y? ("),
        (
            "unknown model 'x'; did you mean y or z? (`cosmotok models` lists all; a path works too)",
            "'x'; seria y ou z? (",
        ),
        (
            "its process ended with exit code -11, see above",
            "o processo terminou com o código de saída -11, veja acima",
        ),
        (
            "data.train: videos found: 1, for batches of 2; add videos, or set stages.0.clips=1 or less",
            "data.train: vídeos encontrados: 1, para lotes de 2; acrescente vídeos, ou use stages.0.clips=1 ou menos",
        ),
        ("a.png: cannot be read (Permission denied)", "a.png: não pode ser lido (permissão negada)"),
        ("No such option: --foo", "a opção --foo não existe"),
        ("No such command 'treina'. Did you mean 'train'?", "o comando 'treina' não existe; seria 'train'?"),
        (
            "--device cuda: not on this machine; expected --device cpu",
            "--device cuda: não existe nesta máquina; esperava-se",
        ),
        (
            "device=cuda:9: not on this machine; expected device=cpu or device=cuda:0 or device=cuda:1",
            "device=cuda:9: não existe nesta máquina; esperava-se device=cpu ou device=cuda:0 ou device=cuda:1",
        ),
        (
            "may be CV8x8x8 or CV8x8x8-720p, whose keys and shapes are the same; "
            "pass variant=... (on the command line: --variant)",
            "CV8x8x8 ou CV8x8x8-720p",
        ),
        ("source=1: expected text, got int", "esperava-se texto"),
        ("seed='x': expected a whole number or null, got str", "esperava-se um número inteiro ou null"),
        ("cats or dogs.mp4: no such file", "cats or dogs.mp4: o arquivo não existe"),
        ("nobody has translated this", "nobody has translated this"),
    ],
)
def test_errors_that_are_known_are_translated(message, words, portuguese):
    assert words in translated(message)
    language.speak({})
    assert translated(message) == message


def test_json_is_the_same_in_every_language():
    assert shown(PORTUGUESE, "info", "cv4x8x8-tiny", "--json")[1] == shown({}, "info", "cv4x8x8-tiny", "--json")[1]


def test_the_library_speaks_english():
    assert language.translate("Print the version.") == "Print the version."
    assert language.number("1,234.5") == "1,234.5"
