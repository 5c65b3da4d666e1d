"""What the documentation's build adds to docs/: generated pages, the gallery, and other files.

mkdocs calls the `on_` functions (`hooks` in mkdocs.yml).
"""

import logging
import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent))
from reference_pages import list_pages

ROOT = Path(__file__).resolve().parents[2]
GALLERY = "outputs/gallery/"
ROOT_PAGES = {"CHANGELOG.md": "changelog.md", "LICENSE": "license.md"}
REPOSITORY_LINK = re.compile(r"\]\((?:\.\./)+((?:outputs/gallery/|docs/)?[^)#:]+)(#[^)]*)?\)")
FOREIGN_RESOURCE = re.compile(
    r"""<(?:script|img|iframe)[^>]+src=["']?(?:https?:)?//|<link[^>]+rel=["']?(?:stylesheet|preconnect|icon)[^>]+href=["']?(?:https?:)?//"""
)
log = logging.getLogger("mkdocs.hooks.cnnlab")


def on_files(files: Files, config: Any) -> Files:
    """Add the reference, the gallery, the changelog and the license."""
    for path, text in list_pages().items():
        files.append(File.generated(config, path, content=text))
    for name, path in ROOT_PAGES.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        body = text if name.endswith(".md") else f"# License\n\n```text\n{text}```\n"
        files.append(File.generated(config, path, content=body))
    for source in sorted((ROOT / GALLERY).iterdir()):
        path = locate_gallery_file(source.name)
        files.append(File.generated(config, path, abs_src_path=str(source)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Point links to files of the repository at their copies on the site."""
    here = posixpath.dirname(page.file.src_uri)
    if page.file.src_uri == locate_gallery_file("README.md"):
        markdown += show_gallery()

    def replace(match: re.Match[str]) -> str:
        target = resolve_link(match[1])
        if target is None:
            return match[0]
        return f"]({posixpath.relpath(target, here or '.')}{match[2] or ''})"

    return REPOSITORY_LINK.sub(replace, markdown)


def resolve_link(target: str) -> str | None:
    """Return the path on the site of a linked file of the repository; None for another link."""
    if target.startswith(GALLERY):
        return locate_gallery_file(target.removeprefix(GALLERY))
    if target in ROOT_PAGES:
        return ROOT_PAGES[target]
    return target.removeprefix("docs/") if target.startswith("docs/") else None


def show_gallery() -> str:
    """Return the gallery's images, each below its name."""
    images = sorted(p.name for p in (ROOT / GALLERY).iterdir() if p.suffix in (".png", ".jpg"))
    shown = (f"### {name}\n\n![{name}]({name}){{ loading=lazy }}\n" for name in images)
    return "\n\n## Images\n\n" + "\n".join(shown)


def locate_gallery_file(name: str) -> str:
    """Return the path on the site of a file of the gallery, whose README is a page."""
    return f"gallery/{'figures.md' if name == 'README.md' else name}"


def on_post_page(output: str, page: Page, **_: Any) -> str:
    """Warn, which fails a strict build, of a page that loads something from another host."""
    if match := FOREIGN_RESOURCE.search(output):
        log.warning(f"{page.file.src_uri} loads from another host: {match[0]}")
    return output
