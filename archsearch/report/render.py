"""Values -> one self-contained HTML file: templates are escaped, data is embedded, nothing is loaded from anywhere."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archsearch.errors import ReportError
from archsearch.report.figures_unet import drawing_svg, legend
from archsearch.report.numbers import percent, shortened, when

if TYPE_CHECKING:
    from jinja2 import Environment

HERE = Path(__file__).resolve().parent


def render(template: str, data: dict[str, Any], **values: Any) -> str:
    """A page.

    Markup that templates take as it is (``|safe``): our own style and script, plotly's bundle, the embedded data
    (see :func:`script_json`) and drawings, whose texts are escaped.

    Args:
        template: file name in ``templates``.
        data: what the page's script reads; plain data.
        values: what the template reads.
    """
    from importlib import metadata

    page = _environment().get_template(template)
    return page.render(
        data=script_json(data),
        style=(HERE / "assets" / "page.css").read_text("utf-8"),
        script=(HERE / "assets" / "page.js").read_text("utf-8"),
        plotly=plotly_script(),
        version=metadata.version("archsearch"),
        legend=legend(),
        **values,
    )


def script_json(value: Any) -> str:
    """JSON that can stand in a script element: no ``<``, ``>``, ``&`` or line separator survives unescaped."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@lru_cache(maxsize=1)
def plotly_script() -> str:
    """plotly.js, whole."""
    from importlib.resources import files

    return (files("plotly") / "package_data" / "plotly.min.js").read_text("utf-8")


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "short": shortened,
        "when": when,
        "percent": percent,
        "svg": drawing_svg,
        "thousands": lambda n: f"{n:,}",
    }
    return environment


def write_page(text: str, output: Path) -> Path:
    """Write a page, whole or not at all.

    Raises:
        ReportError: the file cannot be written.
    """
    from archsearch.search.study import write_atomically

    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(output, text)
    except OSError as error:
        raise ReportError(f"cannot write the page ({error.strerror})", where=str(output)) from error
    return output
