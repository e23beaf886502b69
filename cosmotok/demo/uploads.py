"""Components for a visitor's files. Gradio's own take an address in the place of a file, and the server fetches it."""

from __future__ import annotations

from typing import Any, TypeVar

import gradio as gr

__all__ = ["uploads_only"]

C = TypeVar("C", gr.File, gr.Image, gr.ImageEditor)


def uploads_only(component: C) -> C:
    """The component, which takes a file that was uploaded, and nothing else.

    No class of its own: of those Gradio writes type stubs beside the module.
    """
    move = component.async_move_resource_to_block_cache

    async def move_upload(path: Any) -> str | None:
        if "://" in str(path):
            raise gr.Error("expected an uploaded file, got an address", print_exception=False)
        return await move(path)

    vars(component)["async_move_resource_to_block_cache"] = move_upload
    return component
