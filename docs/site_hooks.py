"""What MkDocs is told beyond its file: notebooks lie beside the documents, and links to code point to text, not to pages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.plugins import event_priority
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
_OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+(?:[^)#\s]+)\)")


@event_priority(100)
def on_files(files: Any, config: Any) -> Any:
    """Add the notebooks before the plugin that renders them looks."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        files.append(File(f"notebooks/{path.name}", str(ROOT), config["site_dir"], config["use_directory_urls"]))
    return files


def on_page_markdown(markdown: str, page: Any, **_given: Any) -> str:
    """Show a link to a file outside ``docs`` as its words: on the site there is nothing to follow it to."""
    depth = page.file.src_uri.count("/")
    markdown = re.sub(r"\((?:\.\./)+notebooks/", f"({'../' * depth}notebooks/", markdown)  # these are pages of the site

    def plain(found: re.Match[str]) -> str:
        ups = found.group(0).count("../")
        return found.group(1) if ups > depth else found.group(0)

    return _OUTSIDE.sub(plain, markdown)
