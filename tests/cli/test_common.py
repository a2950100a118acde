from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from medseg.privacy.identities import IdentityIndex

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


_SPEAKING = """
import logging, sys, typer
from pathlib import Path
from medseg.cli.common import command, emit, note
from medseg.cli.keys import identities_beside
from medseg.errors import ReadError

def speak(as_json: bool = False, fail: bool = False):
    identities_beside(Path(sys.argv[1]))
    note("1 case of Jana Novakova")
    logging.getLogger("medseg.x").warning("look at %s", "Novakova^Jana")
    try:
        Path("/nowhere/Novakova_Jana").read_text()
    except OSError:
        logging.getLogger("library").exception("hung up")
    if fail:
        raise ReadError("the case of Jana Novakova is damaged")
    emit({"case": "Novakova Jana"}, as_json=as_json, text="Dice 0.9\\nNovakova Jana 0.8\\nin all 0.85")

app = typer.Typer()
app.command()(command(speak))
app(sys.argv[2:])
"""


def test_no_line_of_a_command_that_knows_the_identities_holds_one(tmp_path: Path) -> None:
    index = IdentityIndex()
    index.add(["Novakova^Jana"])
    index.save(tmp_path / "project.key.identities")

    def run(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", _SPEAKING, str(tmp_path / "project.key"), *options]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    withheld = "(a line is withheld: it held an identity of this project)"
    told = run()
    assert (told.returncode, told.stdout) == (0, f"Dice 0.9\n{withheld}\nin all 0.85\n")
    assert told.stderr == f"{withheld}\n{withheld}\n"
    failed = run("--fail")
    assert (failed.returncode, failed.stdout) == (3, "")
    assert failed.stderr == f"{withheld}\n{withheld}\nmedseg: {withheld}\n"
    for_machines = run("--as-json")
    assert (for_machines.returncode, for_machines.stdout) == (4, "")
    assert "Novakova" not in for_machines.stderr


def test_what_pydicom_logs_reaches_no_handler_of_a_program() -> None:
    program = """
import logging, medseg
logging.basicConfig(level=logging.WARNING)
import pydicom.pixels.decoders.base
for name in ("pydicom", "pydicom.pixels.decoders.base"):
    logging.getLogger(name).warning("PatientName of Novakova^Jana")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == ""
