r"""Equations as MathML, written at build time: no script, no network, readable by screen readers.

Browsers draw MathML themselves. A command that the converter does not know would otherwise appear
as its own name on the page, so it is a warning here, and the strict build stops.
"""

import re
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number
from sphinx.writers.html5 import HTML5Translator

logger = logging.getLogger(__name__)


def to_mathml(node: nodes.Element, display: str) -> str:
    """Convert the node's LaTeX; several lines outside an environment are aligned at ``&``."""
    latex = node.astext().strip()
    if display == "block" and r"\\" in latex and r"\begin" not in latex:
        latex = rf"\begin{{aligned}}{latex}\end{{aligned}}"
    try:
        mathml = convert(latex, display=display)
    except Exception as error:  # the converter has a dozen exception types without a common base
        logger.warning("cannot convert the equation %r: %r", latex, error, location=node)
        return ""
    unknown = re.findall(r">\\([A-Za-z]+)<", mathml)
    if unknown:
        logger.warning("unknown LaTeX commands %s in %r", unknown, latex, location=node)
    return mathml


def visit_math(self: HTML5Translator, node: nodes.math) -> None:
    """Write an inline formula."""
    self.body.append(f'<span class="math notranslate">{to_mathml(node, "inline")}</span>')
    raise nodes.SkipNode


def visit_math_block(self: HTML5Translator, node: nodes.math_block) -> None:
    """Write a displayed formula, with its number and link where it has a label."""
    self.body.append(self.starttag(node, "div", CLASS="math math-block notranslate"))
    self.body.append(to_mathml(node, "block"))
    if node["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    self.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer; ``html_math_renderer = "mathml"`` chooses it."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
