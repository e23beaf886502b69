"""Draws the pictures of docs/concepts.md, in both languages: `python website/drawings.py` writes docs/concepts/*.svg.

Each drawing is a function of a `Sheet` and of a translator, so that both languages have the same picture.
"""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "docs" / "concepts"
INK, SOFT, PAPER = "#1f2933", "#52606d", "#ffffff"
GREY, AMBER, BLUE, GREEN, VIOLET = (
    ("#eef1f4", "#7b8794"),
    ("#fff3dc", "#b7791f"),
    ("#e0ecfb", "#2b6cb0"),
    ("#dff3e4", "#2f855a"),
    ("#f1e4f7", "#805ad5"),
)
Say = Callable[[str], str]


class Sheet:
    """White paper of a size, on which shapes are put one after the other."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            f'role="img" font-family="DejaVu Sans, Verdana, Helvetica, Arial, sans-serif" fill="{INK}">',
            f"<title>{escape(title)}</title>",
            '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
            f'orient="auto"><path d="M0 0 L10 5 L0 10 z" fill="{SOFT}"/></marker></defs>',
            f'<rect width="{width}" height="{height}" rx="10" fill="{PAPER}"/>',
        ]

    def box(self, x: float, y: float, w: float, h: float, colours: tuple[str, str], dashed: bool = False) -> None:
        """A box with its upper left corner at (x, y)."""
        dash = ' stroke-dasharray="4 3"' if dashed else ""
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="4" fill="{colours[0]}" '
            f'stroke="{colours[1]}"{dash}/>'
        )

    def text(
        self, x: float, y: float, words: str, size: int = 13, bold: bool = False, at: str = "middle", ink: str = INK
    ) -> None:
        """Words on the line y, centred at x unless `at` is "start" or "end"."""
        weight = ' font-weight="bold"' if bold else ""
        self.parts.append(
            f'<text x="{x:g}" y="{y:g}" text-anchor="{at}" font-size="{size}" fill="{ink}"{weight}>'
            f"{escape(words)}</text>"
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, arrow: bool = True, ink: str = SOFT) -> None:
        """A line, with a head at its end unless told otherwise."""
        head = ' marker-end="url(#head)"' if arrow else ""
        self.parts.append(
            f'<path d="M{x1:g} {y1:g} L{x2:g} {y2:g}" stroke="{ink}" stroke-width="1.4" fill="none"{head}/>'
        )

    def svg(self) -> str:
        """The whole drawing."""
        return "\n".join([*self.parts, "</svg>"]) + "\n"


def grid(say: Say) -> Sheet:
    """Frames above, latent frames below, one colour a group."""
    sheet = Sheet(900, 350, say("17 frames become 1 + 16/4 = 5 latent frames"))
    colours = [AMBER, BLUE, GREEN, VIOLET, GREY]
    sheet.text(24, 34, say("17 frames of H x W pixels"), 15, True, "start")
    left = [24 + 46 * t + 20 * ((t + 3) // 4) for t in range(17)]
    for t in range(17):
        group = (t + 3) // 4
        sheet.box(left[t], 50, 42, 60, colours[group])
        sheet.text(left[t] + 21, 85, str(t), 13)
    for group in range(5):
        members = [t for t in range(17) if (t + 3) // 4 == group]
        middle = (left[members[0]] + left[members[-1]] + 42) / 2
        for t in members:
            sheet.line(left[t] + 21, 112, middle, 208, arrow=t == members[-1] or len(members) == 1)
        size = 44
        sheet.box(middle - size / 2, 212, size, size, colours[group])
        for step in (1, 2, 3):
            at = step * size / 4
            sheet.line(middle - size / 2 + at, 212, middle - size / 2 + at, 212 + size, False, colours[group][1])
            sheet.line(middle - size / 2, 212 + at, middle + size / 2, 212 + at, False, colours[group][1])
        sheet.text(middle, 278, say("first frame") if group == 0 else say("group {}").format(group), 12, ink=SOFT)
    sheet.text(24, 312, say("5 latent frames of H/8 x W/8 positions"), 15, True, "start")
    sheet.text(
        24, 334, say("1 + T frames -> 1 + T/4 latent frames. An image is the first column alone."), 13, at="start"
    )
    return sheet


def causal(say: Say) -> Sheet:
    """What two layers see of time."""
    sheet = Sheet(900, 330, say("Layers that look along time see the past alone"))
    for number, (name, detail, seen) in enumerate(
        [
            (say("temporal convolution"), say("the present and two earlier frames"), [2, 3, 4]),
            (say("temporal attention"), say("the present and all earlier frames"), [0, 1, 2, 3, 4]),
        ]
    ):
        x0 = 30 + 440 * number
        sheet.text(x0, 36, name, 15, True, "start")
        sheet.text(x0, 58, detail, 12, at="start", ink=SOFT)
        for t in range(6):
            x = x0 + 68 * t
            sheet.box(x, 200, 50, 50, BLUE if t in seen else GREY)
            sheet.text(x + 25, 230, f"t = {t}" if t != 4 else "t = 4", 12)
            future = t > 4
            sheet.box(x, 90, 50, 50, GREEN if t == 4 else GREY, dashed=t != 4)
            if t in seen:
                sheet.line(x + 25, 198, x0 + 68 * 4 + 25, 143)
            if future:
                sheet.text(x + 25, 268, say("future"), 11, ink=SOFT)
        sheet.text(x0 + 68 * 4 + 25, 120, say("out"), 12, True)
    sheet.text(
        30, 304, say("Normalisation, 3 x 3 convolutions and spatial attention stay inside one frame."), 13, at="start"
    )
    return sheet


def wavelet(say: Say) -> Sheet:
    """A picture, one level, two levels."""
    sheet = Sheet(900, 330, say("Two levels of the Haar wavelet"))
    side, top = 200, 70
    places = [30, 330, 630]
    titles = [say("picture, 3 channels"), say("one level: 12 channels"), say("two levels: 48 channels")]
    for x, title in zip(places, titles, strict=True):
        sheet.text(x, 50, title, 14, True, "start")
    sheet.box(places[0], top, side, side, AMBER)
    sheet.text(places[0] + side / 2, top + side / 2 + 5, say("pixels"), 14)
    names = [say("average"), say("detail |"), say("detail —"), say("detail \\")]
    half = side / 2
    for number, name in enumerate(names):
        x, y = places[1] + half * (number % 2), top + half * (number // 2)
        sheet.box(x + 1, y + 1, half - 2, half - 2, GREEN if number == 0 else BLUE)
        sheet.text(x + half / 2, y + half / 2 + 5, name, 13)
    quarter = side / 4
    for row in range(4):
        for column in range(4):
            average = row == column == 0
            sheet.box(
                places[2] + quarter * column + 1,
                top + quarter * row + 1,
                quarter - 2,
                quarter - 2,
                GREEN if average else BLUE,
            )
    sheet.text(places[2] + quarter / 2, top + quarter / 2 + 4, say("avg."), 11)
    for x in places[:2]:
        sheet.line(x + side + 14, top + half, x + side + 86, top + half)
    sheet.text(
        30,
        304,
        say("Each level: mean (a + b)/2 and half difference (a - b)/2 of neighbours. For video, time as well."),
        13,
        at="start",
    )
    return sheet


def fsq(say: Say) -> Sheet:
    """Six values, their levels, one index."""
    sheet = Sheet(900, 360, say("Finite scalar quantization"))
    levels, values, digits = (8, 8, 8, 5, 5, 5), (0.61, -0.35, 0.93, 0.07, -0.88, 0.44), (6, 2, 7, 2, 0, 3)
    basis = (1, 8, 64, 512, 2560, 12800)
    headings = [(80, say("value")), (330, say("nearest level")), (560, say("digit")), (720, say("worth"))]
    for x, heading in headings:
        sheet.text(x, 36, heading, 14, True)
    for row, (count, value, digit, worth) in enumerate(zip(levels, values, digits, basis, strict=True)):
        y = 66 + 38 * row
        sheet.text(80, y + 5, say("{:.2f}").format(value).replace(".", say(".")), 13)
        sheet.line(180, y, 480, y, False)
        for level in range(count):
            x = 190 + 280 * level / (count - 1)
            chosen = level == digit
            fill = BLUE[1] if chosen else PAPER
            sheet.parts.append(
                f'<circle cx="{x:g}" cy="{y}" r="{7 if chosen else 4}" fill="{fill}" stroke="{BLUE[1]}"/>'
            )
        sheet.text(560, y + 5, str(digit), 13, True)
        sheet.text(720, y + 5, f"{digit} x {worth}", 13)
    index = sum(digit * worth for digit, worth in zip(digits, basis, strict=True))
    sheet.line(560, 296, 880, 296, False)
    sheet.text(720, 322, say("token {}").format(f"{index:,}".replace(",", say(","))), 16, True, ink=GREEN[1])
    sheet.text(30, 322, say("8 x 8 x 8 x 5 x 5 x 5 = 64,000 codes, from 0 to 63,999"), 13, at="start")
    return sheet


def stages(say: Say) -> Sheet:
    """The losses that each stage adds."""
    sheet = Sheet(900, 300, say("Stages of training"))
    columns = [
        (say("1. pixels and features"), [say("L1"), say("perceptual (VGG)")], BLUE),
        (say("2. texture and motion"), [say("+ Gram matrix"), say("+ optical flow")], GREEN),
        (say("3. an adversary"), [say("+ discriminators")], VIOLET),
    ]
    for number, (title, losses, colours) in enumerate(columns):
        x = 30 + 290 * number
        sheet.box(x, 70, 240, 130, colours)
        sheet.text(x + 120, 100, title, 15, True)
        for row, loss in enumerate(losses):
            sheet.text(x + 120, 134 + 28 * row, loss, 14)
        if number < 2:
            sheet.line(x + 246, 135, x + 284, 135)
    sheet.text(30, 40, say("What the decoder's output is judged by"), 15, True, "start")
    sheet.text(30, 240, say("Batches of images and of clips alternate in every stage."), 13, at="start")
    sheet.text(30, 264, say("The tokens have no loss of their own: no KL, commitment or entropy term."), 13, at="start")
    return sheet


PORTUGUESE = {
    "17 frames become 1 + 16/4 = 5 latent frames": "17 quadros viram 1 + 16/4 = 5 quadros latentes",
    "17 frames of H x W pixels": "17 quadros de H x W pixels",
    "5 latent frames of H/8 x W/8 positions": "5 quadros latentes de H/8 x W/8 posições",
    "first frame": "1º quadro",
    "group {}": "grupo {}",
    "1 + T frames -> 1 + T/4 latent frames. An image is the first column alone.": "1 + T quadros -> 1 + T/4 quadros "
    "latentes. Uma imagem é só a primeira coluna.",
    "Layers that look along time see the past alone": "Camadas que olham ao longo do tempo só veem o passado",
    "temporal convolution": "convolução temporal",
    "the present and two earlier frames": "o quadro atual e os dois anteriores",
    "temporal attention": "atenção temporal",
    "the present and all earlier frames": "o quadro atual e todos os anteriores",
    "future": "futuro",
    "out": "saída",
    "Normalisation, 3 x 3 convolutions and spatial attention stay inside one frame.": "Normalização, convoluções 3 x 3 "
    "e atenção espacial ficam dentro de um quadro.",
    "Two levels of the Haar wavelet": "Dois níveis da wavelet de Haar",
    "picture, 3 channels": "imagem, 3 canais",
    "one level: 12 channels": "um nível: 12 canais",
    "two levels: 48 channels": "dois níveis: 48 canais",
    "average": "média",
    "avg.": "média",
    "detail |": "detalhe |",
    "detail —": "detalhe —",
    "detail \\": "detalhe \\",
    "Each level: mean (a + b)/2 and half difference (a - b)/2 of neighbours. For video, time as well.": "Cada nível: "
    "média (a + b)/2 e meia diferença (a - b)/2 dos vizinhos. Em vídeos, também no tempo.",
    "Finite scalar quantization": "Quantização escalar finita",
    "value": "valor",
    "nearest level": "nível mais próximo",
    "digit": "dígito",
    "worth": "vale",
    ".": ",",
    ",": ".",
    "token {}": "token {}",
    "8 x 8 x 8 x 5 x 5 x 5 = 64,000 codes, from 0 to 63,999": "8 x 8 x 8 x 5 x 5 x 5 = 64.000 códigos, de 0 a 63.999",
    "Stages of training": "Fases do treinamento",
    "1. pixels and features": "1. pixels e características",
    "perceptual (VGG)": "perceptual (VGG)",
    "2. texture and motion": "2. textura e movimento",
    "+ Gram matrix": "+ matriz de Gram",
    "+ optical flow": "+ fluxo óptico",
    "3. an adversary": "3. um adversário",
    "+ discriminators": "+ discriminadores",
    "What the decoder's output is judged by": "Como se julga a saída do decodificador",
    "Batches of images and of clips alternate in every stage.": "Lotes de imagens e de vídeos se alternam em todas as "
    "fases.",
    "The tokens have no loss of their own: no KL, commitment or entropy term.": "Os tokens não têm perda própria: sem "
    "termo KL, de comprometimento ou de entropia.",
}

DRAWINGS = {"grid": grid, "causal": causal, "wavelet": wavelet, "fsq": fsq, "stages": stages}


def main() -> None:
    """Writes every drawing, in English and in Portuguese."""
    FOLDER.mkdir(exist_ok=True)
    for name, draw in DRAWINGS.items():
        (FOLDER / f"{name}.svg").write_text(draw(lambda words: words).svg(), encoding="utf-8")
        (FOLDER / f"{name}.pt.svg").write_text(draw(lambda words: PORTUGUESE.get(words, words)).svg(), encoding="utf-8")


if __name__ == "__main__":
    main()
