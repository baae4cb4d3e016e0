"""Records to one HTML page that needs no network: pictures that move, figures, tables, and how each run was made.

    page = render(records, title="bdnn-digits")

plotly draws; its script stands in the page once. What is drawn is decided in `assemble`, how it looks in `style` and
page.css, how it moves in page.js.
"""

from coppice.experiments.page.render import render, save

__all__ = ["render", "save"]
