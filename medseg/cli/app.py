"""The `medseg` command and its subcommands."""

from __future__ import annotations

import importlib
import os
import sys
import warnings

import typer

__all__ = ["app", "main"]

_GROUPS = (
    "demo",
    "project",
    "deidentify",
    "audit",
    "imports",
    "manifest",
    "train",
    "predict",
    "evaluate",
    "membership",
    "package",
    "datasets",
    "pacs",
)
"""Modules of medseg.cli, in the order in which `--help` lists them; each has a function ``register(app)``."""

app = typer.Typer(
    name="medseg",
    help="From DICOM, NIfTI and dermoscopy images to a cross-validated, privacy-checked lesion segmenter.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: importing its panels costs more than all else that `--help` does
    context_settings={"max_content_width": 100},
    add_completion=False,
)

for _group in _GROUPS:
    importlib.import_module(f"medseg.cli.{_group}").register(app)


def main() -> None:
    """Run the command line.

    Libraries' warnings are not shown, unless Python was asked to (``-W``, ``PYTHONWARNINGS``): pydicom's quote values
    of the files that they warn of, and all name the folder that medseg is installed in.
    """
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
        os.environ["PYTHONWARNINGS"] = "ignore"  # for the processes that a command starts
    sys.exit(app())
