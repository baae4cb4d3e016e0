"""How the documentation site is built: sphinx-build -W --keep-going -b html docs build/docs

The pages are Markdown that reads well on a code host too, so what only the site needs is added here: the navigation, pages
of the code that is linked to, and the form of the docstrings.
"""

import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import command_line  # noqa: E402
import docstrings  # noqa: E402
import source_pages  # noqa: E402
from sphinx.application import Sphinx  # noqa: E402

import coppice  # noqa: E402

project = "coppice"
author = "the coppice authors"
version = release = coppice.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "source_pages"]
exclude_patterns = ["figures"]

# Pages by the headings of the navigation.
NAVIGATION = {
    "Getting started": ["start/engineer", "start/forecaster", "start/images", "start/researcher"],
    "Tutorials": ["tutorials/find_size", "tutorials/synaptic_pruning", "tutorials/learner"],
    "How to": [
        "how-to/own_model",
        "how-to/sparsity",
        "how-to/add_a_task",
        "how-to/deploy",
        "how-to/study",
        "how-to/data",
        "how-to/fourth_method",
        "report",
        "watch",
    ],
    "Methods": ["methods/bdnn_sp", "methods/synaptic_pruning", "methods/td_mcl", "benchmarks"],
    "Reference": [
        "api/index",
        "api/methods",
        "api/learner",
        "api/models",
        "api/contract",
        "api/parts",
        "api/data",
        "api/experiments",
        "api/integrations",
        "api/command_line",
        "contributing",
    ],
}

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 3
myst_url_schemes = ["http", "https", "mailto", source_pages.SCHEME]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True
autodoc_warningiserror = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
toc_object_entries_show_parents = "hide"
smartquotes = False

html_theme = "pydata_sphinx_theme"
html_title = "coppice"
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system has it
html_static_path = ["static"]
html_css_files = ["coppice.css"]
html_show_sourcelink = False
html_copy_source = False
html_show_copyright = False
templates_path = ["templates"]
html_sidebars = {"**": ["navigation.html"]}
html_theme_options = {
    "navbar_center": [],  # all pages stand in the sidebar
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["sphinx-version"],
    "footer_end": ["theme-version"],
    "show_prev_next": True,
}
pygments_style = "a11y-high-contrast-light"


def with_navigation(text: str) -> str:
    """The first page, with all others below it."""
    trees = []
    for heading, pages in NAVIGATION.items():
        trees.append("\n".join(["```{toctree}", ":hidden:", f":caption: {heading}", "", *pages, "```"]))
    return "\n\n".join([text, *trees])


def read_source(app: Sphinx, page: str, source: list[str]) -> None:
    source[0] = source_pages.marked(source[0], page)
    source[0] = source[0].replace(
        command_line.MARK, command_line.described() if command_line.MARK in source[0] else ""
    )
    if page == "index":
        source[0] = with_navigation(source[0])


def read_docstring(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    lines[:] = docstrings.restructured(lines)


def skip_member(app: Sphinx, what: str, name: str, thing: Any, skip: bool, options: Any) -> bool | None:
    """The fields of a NamedTuple have docstrings that say nothing; the class's own explains them."""
    return True if str(getattr(thing, "__doc__", "")).startswith("Alias for field number") else None


def setup(app: Sphinx) -> None:
    app.connect("source-read", read_source)
    app.connect("autodoc-process-docstring", read_docstring)
    app.connect("autodoc-skip-member", skip_member)
