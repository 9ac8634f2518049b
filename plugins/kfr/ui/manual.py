"""The project's own docs as pages of Airflow: what an alert names can be clicked, behind the same login.

`kfr/docs` is a link to the repository's `docs/`; a wheel has the files themselves.
"""

from functools import cache
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markupsafe import Markup

import kfr
from kfr.links.page import anchor

FOLDER = Path(kfr.__file__).parent / "docs"


def names() -> list[str]:
    """The files that can be shown."""
    return sorted(path.name for path in FOLDER.glob("*.md"))


@cache
def read(name: str) -> tuple[str, list[tuple[str, str]], Markup]:
    """One of `names()`: its title, its sections with their anchors, and all of it as HTML."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse((FOLDER / name).read_text(encoding="utf-8"))
    title, sections = name, []
    for opening, inline in pairwise(tokens):
        if opening.type != "heading_open":
            continue
        heading = inline.content
        opening.attrSet("id", anchor(heading))
        if opening.tag == "h1":
            title = heading
        elif opening.tag == "h2":
            sections.append((heading.replace("`", ""), f"#{anchor(heading)}"))
    html = markdown.renderer.render(tokens, markdown.options, {})
    return title, sections, Markup(html)  # noqa: S704 - our own file, and the renderer escapes what is in it
