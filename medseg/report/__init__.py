"""Report: a finished study as one page of HTML and a PDF, in two tiers."""

from medseg.report.render import build_document, write_report

__all__ = ["build_document", "write_report"]
