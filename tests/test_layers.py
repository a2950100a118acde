import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).parent.parent


def test_no_room_calls_a_room_after_it():
    program = Path(sys.executable).with_name("lint-imports")
    run = subprocess.run([program, "--no-cache"], cwd=_ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-1000:]


@pytest.mark.parametrize(
    "statement",
    ["import medseg.cli.app", "import medseg.config, medseg.privacy, medseg.data, medseg.metrics, medseg.data.readers"],
)
def test_light_rooms_and_the_command_line_start_without_the_heavy_libraries(statement):
    code = f"import sys; {statement}; print([m for m in ('torch', 'monai', 'mlflow', 'SimpleITK') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_every_file_has_one_subject():
    long = {
        str(path.relative_to(_ROOT)): lines
        for path in (_ROOT / "medseg").rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert long == {}
