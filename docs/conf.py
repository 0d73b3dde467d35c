"""How ``make docs`` builds the site: pages in Markdown, the API reference from docstrings. Nothing is fetched."""

import foundationx

project = "foundationx"
author = "the foundationx contributors"
release = version = foundationx.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.apidoc"]
exclude_patterns = ["_site", "methods/README.md"]
html_theme = "furo"
html_title = f"foundationx {release}"

myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 4
myst_fence_as_directive = ["math"]

apidoc_modules = [
    {
        "path": "../foundationx",
        "destination": "reference",
        "separate_modules": False,
        "module_first": True,
        "max_depth": 2,
        "automodule_options": {"members", "show-inheritance"},
    }
]
autodoc_default_options = {"members": True, "show-inheritance": True, "ignore-module-all": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_mock_imports = ["tensorboard", "onnx", "onnxscript", "gdcm", "nvflare", "ray", "mlflow", "wandb", "trackio"]
napoleon_numpy_docstring = False
napoleon_use_ivar = True

# tests/docs/test_links.py follows every link; those to files outside docs/ have no page in the site. Attributes of many
# classes are called `type` or `name`: a docstring that mentions one of them links to none.
suppress_warnings = ["myst.xref_missing", "myst.header", "ref.python"]
