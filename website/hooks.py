"""What MkDocs does to the pages, which also have to read well as plain files beside the source.

A page begins with links to its other language and to the README. On the site the header has both, so they go.
Where no address of the site is given, the first page names its other language by a path from the host's root; that is
made relative, so that the site works in any folder.
"""

from __future__ import annotations

import re
from typing import Any

from mkdocs.utils import get_relative_url

LINK = re.compile(r"\[[^\]]+\]\([^)]+\)")
BESIDE = re.compile(r"\[(Português|English|README)\]\([^)]+\)$")
OTHER_LANGUAGE = re.compile(r'href="/([a-z]*/?)" hreflang=')


def on_page_markdown(markdown: str, **_: Any) -> str:
    """The page without the links of its first line that the site's header has."""
    lines = markdown.split("\n")
    for number, line in enumerate(lines[:4]):
        links = line.split(" · ")
        if all(LINK.fullmatch(link) for link in links):
            lines[number] = " · ".join(link for link in links if not BESIDE.match(link))
            break
    return "\n".join(lines)


def on_post_page(output: str, page: Any, config: Any, **_: Any) -> str:
    """The page with relative links to its other language."""
    if config.site_url:
        return output
    return OTHER_LANGUAGE.sub(lambda link: f'href="{get_relative_url(link[1] or ".", page.url)}" hreflang=', output)
