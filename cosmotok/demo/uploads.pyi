"""Components for a visitor's files. Gradio's own take an address in the place of a file, and the server fetches it."""

from __future__ import annotations

from typing import Any

import gradio as gr

__all__ = ["CameraImage", "UploadedFile"]

from gradio.events import Dependency

class UploadedFile(gr.File):
    """A file that was uploaded, and nothing else."""

    is_template = True  # for the browser it is a `gr.File`

    async def async_move_resource_to_block_cache(self, url_or_file_path: Any) -> str | None:
        return await super().async_move_resource_to_block_cache(no_address(url_or_file_path))
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block
    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component


class CameraImage(gr.Image):
    """The same for a picture."""

    is_template = True

    async def async_move_resource_to_block_cache(self, url_or_file_path: Any) -> str | None:
        return await super().async_move_resource_to_block_cache(no_address(url_or_file_path))
    from typing import Callable, Literal, Sequence, Any, TYPE_CHECKING
    from gradio.blocks import Block
    if TYPE_CHECKING:
        from gradio.components import Timer
        from gradio.components.base import Component


def no_address(path: Any) -> Any:
    if "://" in str(path):
        raise gr.Error("expected an uploaded file, got an address", print_exception=False)
    return path