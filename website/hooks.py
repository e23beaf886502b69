"""What MkDocs does to the pages, which also have to read well as plain files beside the source.

A page begins with links to its other language and to the README. On the site the header has both, so they go.
"""

from __future__ import annotations

import re
from typing import Any

LINK = re.compile(r"\[[^\]]+\]\([^)]+\)")
BESIDE = re.compile(r"\[(Português|English|README)\]\([^)]+\)$")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The page without the links of its first line that the site's header has."""
    lines = markdown.split("\n")
    for number, line in enumerate(lines[:4]):
        links = line.split(" · ")
        if all(LINK.fullmatch(link) for link in links):
            lines[number] = " · ".join(link for link in links if not BESIDE.match(link))
            break
    return "\n".join(lines)
