"""Links from the Markdown of docs/ to code: on a code host they lead to the files, on the site to pages of the files' text.

Each line of such a page has a mark, L12, as on a code host. A link to a file or a line that is not there is a warning,
and the build is strict.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from posixpath import dirname, join, normpath
from typing import Any

from docutils import nodes
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_for_filename
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform
from sphinx.util import logging

ROOT = Path(__file__).parent.parent
SCHEME = "source"
LINK = re.compile(r"\]\((?P<path>\.\./[^)#\s]*|[\w./]+\.py)(?P<line>#[^)\s]*)?\)")
SHOWN = {".py", ".toml", ".txt", ".md"}
logger = logging.getLogger(__name__)


def marked(text: str, page: str) -> str:
    """A page's text, with links that leave docs/ written as source:FILE#LINE."""

    def mark(link: re.Match[str]) -> str:
        file = normpath(join("docs", dirname(page), link["path"]))
        if file.startswith("docs/") and not file.endswith(".py"):
            return link[0]
        return f"]({SCHEME}:{file}{link['line'] or ''})"

    return LINK.sub(mark, text)


def wrong(file: str, line: str) -> str | None:
    """What is wrong with a link to this line of a file of the repository, or None."""
    source = ROOT / file
    if file.startswith("..") or not source.is_file():
        return f"there is no file '{file}' to link to"
    if source.suffix not in SHOWN:
        return f"'{file}' is no code that the site shows: link to a page of docs/, or name it without a link"
    count = len(source.read_text().splitlines())
    if line and not (line[0] == "L" and line[1:].isdecimal() and 1 <= int(line[1:]) <= count):
        return f"'{file}' has no '{line}', only L1 to L{count}"
    return None


class SourceLinks(SphinxTransform):
    """Gives the marked links their pages."""

    default_priority = 500

    def apply(self, **_: Any) -> None:
        for link in self.document.findall(nodes.reference):
            scheme, _colon, target = link.get("refuri", "").partition(":")
            if scheme != SCHEME:
                continue
            file, _hash, line = target.partition("#")
            if (complaint := wrong(file, line)) is not None:
                logger.warning("%s", complaint, location=link, type="source")
            link["refuri"] = (
                f"{'../' * self.env.docname.count('/')}{page_of(file)}.html{'#' + line if line else ''}"
            )
            link["internal"] = True
            _linked(self.env).setdefault(file, set()).add(self.env.docname)


def page_of(file: str) -> str:
    return f"code/{file}"


def pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """A page of each file that is linked to."""
    for file in sorted(_linked(app.env)):
        if wrong(file, "") is not None:
            continue
        look = HtmlFormatter(linenos="inline", linespans="L", anchorlinenos=True, cssclass="highlight")
        code = highlight((ROOT / file).read_text(), get_lexer_for_filename(file), look)
        code = code.replace('id="L-', 'id="L').replace('href="#L-', 'href="#L')
        yield page_of(file), {"title": file, "body": f"<h1><code>{file}</code></h1>\n{code}"}, "page.html"


def _linked(env: Any) -> dict[str, set[str]]:
    """Files by the pages that link to them."""
    if not hasattr(env, "linked_sources"):
        env.linked_sources = {}
    found: dict[str, set[str]] = env.linked_sources
    return found


def _forget(app: Sphinx, env: Any, docname: str) -> None:
    for linking in _linked(env).values():
        linking.discard(docname)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_transform(SourceLinks)
    app.connect("html-collect-pages", pages)
    app.connect("env-purge-doc", _forget)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
