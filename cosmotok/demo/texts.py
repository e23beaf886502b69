"""What the page says, in English and Portuguese. A visitor's browser chooses."""

from __future__ import annotations

__all__ = ["TEXTS", "language_of", "written"]

TEXTS: dict[str, dict[str, str]] = {
    "en": {
        "title": "# Images and videos to tokens and back",
        "intro": "A tokenizer turns a picture or a clip into a small grid of indices or of short vectors. Here you see "
        "what comes back, and what the tokens look like. Your files go to this server, which removes them within two "
        "hours.",
        "reconstruct": "Reconstruct",
        "file": "Picture or video",
        "camera": "Camera",
        "examples": "Examples",
        "models": "Model, or two to compare",
        "size": "Shorter side, at most (pixels)",
        "frames": "Video frames, at most",
        "run": "Reconstruct",
        "stop": "Stop",
        "working": "Encoding and decoding",
        "no_file": "Choose a file, an example or a camera picture first.",
        "no_model": "Choose a model first.",
        "bad_file": "This file cannot be used. {reason}",
        "original": "original",
        "copy": "reconstruction",
        "slider": "How much of the original is shown",
        "place": "Place in the clip",
        "play": "Play or pause",
        "difference": "Difference, {gain} times amplified; grey where there is none",
        "tokens": "Tokens",
        "compression": "Smaller than raw",
        "bits_per_pixel": "Bits per pixel",
        "psnr": "PSNR",
        "ssim": "SSIM",
        "seconds": "Time",
        "codes": "The tokens: one colour for each code, one picture for each latent frame",
        "latents": "The tokens: three principal components of {channels} channels as colours, one picture for each "
        "latent frame",
        "channels": "Channel by channel, latent frame {frame}",
        "usage": "{used} of {all} codes are used; perplexity {perplexity}",
        "bars": "How often codes are used, from the first to the last",
        "what_if": "What if",
        "what_if_intro": "Change the tokens before they are decoded, with the first model chosen.",
        "dropped": "Share of tokens to drop (%)",
        "shifted": "Latent frames to shift them by",
        "bits": "Bits for each value of latents (16: as they are)",
        "frozen": "Share of places that stay as in the first latent frame (%)",
        "mix": "Mix with another picture or video",
        "other": "Another picture or video",
        "begun": "Begin with its first latent frame",
        "swapped": "Take its tokens in a rectangle in the middle (% of each side)",
        "painted": "Paint where to take its tokens, then decode:",
        "decode": "Decode",
        "changed": "with changed tokens",
    },
    "pt": {
        "title": "# Imagens e vídeos em tokens, e de volta",
        "intro": "Um tokenizador transforma uma imagem ou um vídeo em uma pequena grade de índices ou de vetores "
        "curtos. Aqui você vê o que volta e a aparência dos tokens. Seus arquivos vão para este servidor, que os "
        "remove em até duas horas.",
        "reconstruct": "Reconstruir",
        "file": "Imagem ou vídeo",
        "camera": "Câmera",
        "examples": "Exemplos",
        "models": "Modelo, ou dois para comparar",
        "size": "Lado menor, no máximo, em pixels",
        "frames": "Quadros de um vídeo, no máximo",
        "run": "Reconstruir",
        "stop": "Parar",
        "working": "Codificando e decodificando",
        "no_file": "Escolha antes um arquivo, um exemplo ou uma foto da câmera.",
        "no_model": "Escolha antes um modelo.",
        "bad_file": "Este arquivo não pode ser usado. {reason}",
        "original": "original",
        "copy": "reconstrução",
        "slider": "Quanto se vê do original",
        "place": "Posição no vídeo",
        "play": "Reproduzir ou pausar",
        "difference": "Diferença, ampliada {gain} vezes; cinza onde não há nenhuma",
        "tokens": "Tokens",
        "compression": "Menor que o bruto",
        "bits_per_pixel": "Bits por pixel",
        "psnr": "PSNR",
        "ssim": "SSIM",
        "seconds": "Tempo",
        "codes": "Os tokens: uma cor para cada código, uma imagem para cada quadro latente",
        "latents": "Os tokens: três componentes principais de {channels} canais como cores, uma imagem para cada "
        "quadro latente",
        "channels": "Canal por canal, quadro latente {frame}",
        "usage": "{used} de {all} códigos são usados; perplexidade {perplexity}",
        "bars": "Com que frequência os códigos são usados, do primeiro ao último",
        "what_if": "E se",
        "what_if_intro": "Mude os tokens antes de decodificá-los, com o primeiro modelo escolhido.",
        "dropped": "Parte dos tokens a descartar (%)",
        "shifted": "Quadros latentes a deslocar",
        "bits": "Bits para cada valor dos latentes (16: como são)",
        "frozen": "Parte das posições que fica como no primeiro quadro latente (%)",
        "mix": "Misturar com outra imagem ou vídeo",
        "other": "Outra imagem ou outro vídeo",
        "begun": "Começar com o primeiro quadro latente dele",
        "swapped": "Usar os tokens dele em um retângulo no meio (% de cada lado)",
        "painted": "Pinte onde usar os tokens dele e decodifique:",
        "decode": "Decodificar",
        "changed": "com tokens alterados",
    },
}


def language_of(accepted: str) -> str:
    """Which of the languages a browser's header Accept-Language asks for: its first that there is, else English."""
    for part in accepted.split(","):
        language = part.partition(";")[0].strip().partition("-")[0].lower()
        if language in TEXTS:
            return language
    return "en"


def written(number: str, language: str) -> str:
    """A number as English writes it, 1,234.5, as the language does."""
    return number.translate(str.maketrans(".,", ",.")) if language == "pt" else number
