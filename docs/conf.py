"""Sphinx settings: ``make docs`` builds the site into ``docs/_build``. Nothing is fetched from the network."""

from __future__ import annotations

import os
import re
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sphinx.ext.napoleon import GoogleDocstring

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(HERE))

import firenet  # noqa: E402
import reference  # noqa: E402

project = "firenet"
author = "The firenet authors"
project_copyright = f"2026, {author}"
version = release = firenet.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx_gallery.gen_gallery",
]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]
# Pages that the build writes; they are not in the repository.
API, GALLERY = "api", "gallery"

# --- pages in Markdown: the same files are read on a code host -------------------------------------------------------

myst_heading_anchors = 3
myst_enable_extensions = ["dollarmath", "colon_fence"]
suppress_warnings = ["config.cache"]  # settings that are functions and classes cannot be compared with the last build

# --- the reference ---------------------------------------------------------------------------------------------------

autosummary_generate = True
autosummary_ignore_module_all = False
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_default_options = {"show-inheritance": True}
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False  # methods without a docstring of their own are described with the base class
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # attributes in a list, not as objects: dataclasses have them as objects already
python_use_unqualified_type_names = True
autodoc_type_aliases = {"ArrayLike": "ArrayLike", "NDArray": "NDArray"}

# --- the gallery -----------------------------------------------------------------------------------------------------

sphinx_gallery_conf = {
    "examples_dirs": str(ROOT / "examples" / "gallery"),
    "gallery_dirs": GALLERY,
    "filename_pattern": r"/plot_",
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 5,
    "abort_on_example_error": False,  # the build fails at its end (-W), with every broken example named
    "image_scrapers": ("matplotlib",),
    "matplotlib_animations": False,
    "plot_gallery": "True",
    "write_computation_times": False,
}
os.environ.setdefault("MPLBACKEND", "Agg")
warnings.filterwarnings("error", module="firenet")

# --- the look --------------------------------------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_title = f"firenet {version}"
html_static_path: list[str] = []
html_show_sourcelink = False
html_theme_options = {
    "show_prev_next": False,
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "header_links_before_dropdown": 6,
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {"index": [], "notation": [], "contributing": [], "changelog": []}


def write_reference(app: Sphinx, config: Any) -> None:
    """Writes the pages of the reference from the ``__all__`` of the packages, before Sphinx looks for its sources."""
    reference.write(firenet, HERE / API)


def convert_property(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Converts the docstring of a property before napoleon does, which takes what precedes a colon for its type."""
    if what == "property":
        lines[:] = ["", *GoogleDocstring(lines, app.config, app, "method", name, thing, options).lines()]


# Files outside docs/ that have a page here. Links to others become downloads.
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "examples/gallery/README.rst": "gallery/index.rst",
}
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(\.\./([^)#\s]+)(#[^)\s]*)?\)")


def resolve_outside(app: Sphinx, page: str, source: list[str]) -> None:
    """Points links to ``../README.md`` and the like, which a code host follows by itself, into the site."""

    def inside(link: re.Match[str]) -> str:
        text, target, anchor = link[1], link[2], link[3] or ""
        return f"[{text}]({PAGES[target]}{anchor})" if target in PAGES else f"{{download}}`{text} <../{target}>`"

    if Path(app.env.doc2path(page)).suffix == ".md":
        source[0] = LINK.sub(inside, source[0])


def setup(app: Sphinx) -> None:
    """Connects the functions above."""
    app.connect("config-inited", write_reference)
    app.connect("autodoc-process-docstring", convert_property, priority=400)
    app.connect("source-read", resolve_outside)
