"""Studies: what the scores of all cases add up to, and how runs compare."""

from medseg.metrics import CaseRow, case_rows, read_cases, write_cases
from medseg.studies.compare import compare_runs
from medseg.studies.summary import summarise
from medseg.studies.tables import read_summary, write_summary

__all__ = [
    "CaseRow",
    "case_rows",
    "compare_runs",
    "read_cases",
    "read_summary",
    "summarise",
    "write_cases",
    "write_summary",
]
