"""Demo: the whole way on a synthetic cohort, from planted identities to an audited result."""

from medseg.demo.way import DemoResult, DemoSize, StudyFigure, run_demo

__all__ = ["DemoResult", "DemoSize", "StudyFigure", "run_demo"]
