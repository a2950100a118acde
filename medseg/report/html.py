"""HTML: a document as one page that refers to nothing outside itself."""

from __future__ import annotations

import base64
from importlib import resources

import medseg
from medseg.report.blocks import Document, Figure

__all__ = ["html_of"]


def html_of(document: Document) -> str:
    """The page: style, figures and pictures inside, no script; a content security policy forbids anything else.

    Args:
        document: What it says.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["kind"] = lambda block: type(block).__name__
    environment.filters["data_uri"] = _data_uri
    template = environment.from_string(_resource("page.html.j2"))
    return template.render(document=document, style=_resource("page.css"), version=medseg.__version__)


def _data_uri(figure: Figure) -> str:
    kind = "jpeg" if figure.png.startswith(b"\xff\xd8") else "png"
    return f"data:image/{kind};base64,{base64.b64encode(figure.png).decode('ascii')}"


def _resource(name: str) -> str:
    return resources.files("medseg.report").joinpath(name).read_text(encoding="utf-8")
