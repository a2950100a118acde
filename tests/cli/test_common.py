from __future__ import annotations

import subprocess
import sys

import pytest

_PROGRAM = """
import typer
from medseg.cli.common import command, emit

app = typer.Typer()
app.command()(command(lambda: emit({}, as_json=False, text="x" * 200_000)))
app([])
"""


@pytest.mark.parametrize("closing", ["| true", ">&-"])
def test_a_result_that_nobody_reads_is_no_bug(closing: str) -> None:
    line = f'( "$0" -c "$1"; echo "status $?" >&2 ) {closing}'
    done = subprocess.run(["sh", "-c", line, sys.executable, _PROGRAM], capture_output=True, text=True, check=False)
    assert done.stderr == "status 0\n"
