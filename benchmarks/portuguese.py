"""Generated tables in Portuguese: headings, decimal commas, and the sentences that come with them.

    python benchmarks/portuguese.py    # writes the tables of the Portuguese pages anew, from the English ones

Names of models stay as the command takes them: `klt:4x8x8:16`, `jpeg@0.25bpp`.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MARK = re.compile(r"<!-- (\w+) -->\n\n(.*?)\n\n<!-- end of \1 -->", re.S)
PROSE = {"reading", "fuzz"}
"""Marks whose text is made for each language by itself."""

CELLS = {
    "model": "modelo",
    "name": "nome",
    "tokens": "tokens",
    "compression": "compressão",
    "parameters": "parâmetros",
    "photos, dB": "fotos, dB",
    "clips, dB": "vídeos, dB",
    "above the KLT": "acima da KLT",
    "sharpness": "nitidez",
    "Sharpness": "Nitidez",
    "Temporal PSNR, dB": "PSNR temporal, dB",
    "bits per pixel": "bits por pixel",
    "Bits per pixel": "Bits por pixel",
    "Speed, Mpixel/s": "Velocidade, Mpixel/s",
    "files": "arquivos",
    "indices": "índices",
    "codes in use": "códigos em uso",
    "if drawn evenly": "se sorteados por igual",
    "perplexity": "perplexidade",
    "file": "arquivo",
    "256 x 256: encode": "256 x 256: codificar",
    "decode": "decodificar",
    "both": "ambos",
    "stored as": "guardado como",
    "lost, dB": "perda, dB",
    "lost at most, dB": "perda máxima, dB",
    "bytes per position": "bytes por posição",
    "of float16": "do float16",
    "photo of 1024 x 1024": "foto de 1024 x 1024",
    "slow": "lentos",
    "fast": "rápidos",
    "made-up": "sintéticos",
    "eight fast clips, before": "oito vídeos rápidos, antes",
    "now": "agora",
    "frames 97 to 112 of a stream, before": "quadros 97 a 112 de um fluxo, antes",
    "of fresh windows, now": "de janelas novas, agora",
    "what": "o quê",
    "figure": "valor",
    "clips planned": "clipes planejados",
    "done": "prontos",
    "quarantined": "em quarentena",
    "workers": "processos",
    "shards": "fragmentos",
    "shards begun": "fragmentos iniciados",
    "workers lost": "processos perdidos",
    "kills of all of it": "interrupções gerais",
    "worker-hours": "horas de processo",
    "of which without any failure": "das quais sem nenhuma falha",
    "manifest": "manifesto",
    "planning, of one core": "planejamento, de um núcleo",
    "going on after a kill, of one core": "retomada, de um núcleo",
    "one process, of the model's own rate": "um processo, em relação à taxa do próprio modelo",
    "two local workers over one, a thread each": "dois processos locais em relação a um, uma thread cada",
    "two workers of Ray over two local ones": "dois processos do Ray em relação a dois locais",
    "start of two local workers": "início de dois processos locais",
    "start of two workers of Ray": "início de dois processos do Ray",
    "planning, 10,000,000 inputs": "planejamento, 10.000.000 de entradas",
    "going on, 10,000,000 inputs": "retomada, 10.000.000 de entradas",
    "memory of the process that plans and collects": "memória do processo que planeja e reúne",
    "GPU-hours at most": "horas de GPU, no máximo",
    "GPUs for 30 days": "GPUs por 30 dias",
    "GB of each": "GB de cada um",
    "manifest, MB": "manifesto, MB",
    "failures": "falhas",
}
WORDS = {
    r"^(#+) Photos$": r"\1 Fotos",
    r"^(#+) Images$": r"\1 Imagens",
    r"^(#+) (Clips|Videos)$": r"\1 Vídeos",
    r"^(#+) Codes$": r"\1 Códigos",
    r"^(#+) Cost$": r"\1 Custo",
    r"(\d+)-channel latents": r"latentes de \1 canais",
    r"([\d.]+) FSQ codes": r"\1 códigos FSQ",
    r"\(images\)": "(imagens)",
    r"(?<=\d)%": " %",
    r"^TokenBench: PSNR of .*": (
        "TokenBench: PSNR de valores de 8 bits, do erro quadrático médio sobre todos os quadros de um arquivo, em "
        "aritmética exata; SSIM (scikit-image, janela de 7x7) e LPIPS (VGG-16) são médias sobre os quadros. No total, "
        "a média sobre os arquivos."
    ),
    r"^- (\w+) was not measured: needs (.*): ask for (\w+) by name to .* or fetch (\S+) and pass (\S+)=.+": (
        r"- \1 não foi medido: precisa \2. Peça \3 pelo nome para baixar os pesos, ou baixe \4 e passe \5=ARQUIVO"
    ),
    "torchvision's weights of vgg16": "da VGG-16 do torchvision",
    "pytorch-fid's weights of Inception-v3": "da Inception-v3 do pytorch-fid",
    "StyleGAN-V's I3D network": "da rede I3D do StyleGAN-V",
}


def portuguese(text: str) -> str:
    """The text of generated tables, which is English, in Portuguese."""
    lines = [cells_of(line) if line.startswith("|") else line for line in text.split("\n")]
    text = "\n".join(lines)
    for rule, words in WORDS.items():
        text = re.sub(rule, words, text, flags=re.M)
    return text


def cells_of(row: str) -> str:
    return "|".join(cell_of(cell) for cell in row.split("|"))


def cell_of(cell: str) -> str:
    """A heading's words, or figures with decimal commas."""
    words = cell.strip()
    if words in CELLS:
        return cell.replace(words, CELLS[words])
    if re.search(r"[`@:]", words):  # the name of a model
        return cell
    return re.sub(r"\d[\d,.]*", lambda number: number[0].translate(str.maketrans(".,", ",.")), cell)


def pages() -> list[tuple[Path, Path]]:
    """Every Portuguese page, behind its English one."""
    found = [ROOT / "README.pt.md", *sorted((ROOT / "docs").glob("*.pt.md"))]
    return [(page.with_name(page.name.replace(".pt.md", ".md")), page) for page in found]


def tables(page: Path) -> dict[str, str]:
    """Generated parts of a page by their marks."""
    found = MARK.findall(page.read_text(encoding="utf-8"))
    return {mark: text for mark, text in found if mark not in PROSE}


def rows(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.startswith("|")]


def main() -> None:
    for english, page in pages():
        text = page.read_text(encoding="utf-8")
        for mark, table in tables(english).items():
            mine, words = tables(page)[mark], portuguese(table)
            if rows(mine) != rows(words):
                text = text.replace(mine, words)
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
