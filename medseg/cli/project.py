"""Commands that start a project and look before anything runs: init, doctor, config."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from medseg.cli.common import command, emit, note
from medseg.errors import RequestError, StorageError
from medseg.wording import counted

__all__ = ["register"]

_FOLDERS = ("workflows", "configs")


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command("init")(_init)
    app.command("doctor")(_doctor)
    config = typer.Typer(no_args_is_help=True, help="Look at a study before it runs.")
    config.command("show")(_show)
    config.command("check")(_check)
    config.command("schema")(_schema)
    app.add_typer(config, name="config")


_Study = Annotated[Path, typer.Argument(metavar="STUDY", help="The study's YAML file.")]
_Set = Annotated[list[str] | None, typer.Option("--set", metavar="A.B=VALUE", help="Change one value; repeatable.")]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@command
def _init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the project shall be.")],
    as_json: _Json = False,
) -> int:
    """Start a project: copy configs/ and workflows/ to edit.

    A file that is already there with other content is never overwritten.

    Example: medseg init my-study
    """
    from medseg.data.files import atomic_write

    source = _shipped()
    files = [
        p for name in _FOLDERS for p in sorted((source / name).rglob("*")) if p.suffix in {".py", ".yaml", ".json"}
    ]
    targets = {file: folder / file.relative_to(source) for file in files}
    changed = [t for f, t in targets.items() if t.exists() and t.read_bytes() != f.read_bytes()]
    if changed:
        raise RequestError(
            f"{len(changed)} of the {len(files)} files are already there and were edited, the first is "
            f"{changed[0].relative_to(folder)}; nothing was written, choose another folder"
        )
    if folder.exists() and not folder.is_dir():
        raise StorageError("expected a folder to write into; found a file")
    for file, target in targets.items():
        if not target.exists():
            with atomic_write(target) as stream:
                stream.write(file.read_bytes())
    written = [str(target.relative_to(folder)) for target in targets.values()]
    steps = [
        "images from a hospital first: medseg deidentify SRC clean --profile research --new-key project.key",
        "next: medseg import SRC data, with clean for SRC where you made clean copies,",
        "then: medseg manifest split data/manifest.csv --folds 5",
        "then: medseg crossval configs/X.yaml --out runs/X",
    ]
    lines = [*written, "", *steps]
    emit({"files": written}, as_json=as_json, text="\n".join(lines))
    return 0


def _shipped() -> Path:
    """The folder that holds configs/ and workflows/: inside the wheel, or the checkout of an editable install."""
    import medseg

    package = Path(medseg.__file__).parent
    for place in (package / "_shipped", package.parent):
        if all((place / name).is_dir() for name in _FOLDERS):
            return place
    raise RequestError("this installation came without its studies and workflows; install medseg again")


@command
def _doctor(
    as_json: _Json = False,
    quick: Annotated[bool, typer.Option("--quick", help="Skip the speed measurement (about 2 seconds).")] = False,
) -> int:
    """What this machine can do, and what that means for a study.

    Example: medseg doctor
    """
    from medseg.cli.doctor import advise, look

    facts = look(measure=not quick)
    advice = advise(facts)
    lines = [f"{name:<18}{_plain(value)}" for name, value in facts.items()]
    emit({**facts, "advice": advice}, as_json=as_json, text="\n".join([*lines, "", *(f"- {line}" for line in advice)]))
    return 0


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items()) or "none"
    return "none" if value is None else str(value)


@command
def _show(study: _Study, overrides: _Set = None) -> int:
    """Print the resolved study: every default written out.

    Example: medseg config show configs/hippocampus_3d.yaml --set seed=1
    """
    from medseg.config import dump_study, load_study

    sys.stdout.write(dump_study(load_study(study, overrides=overrides or ())))
    return 0


@command
def _check(study: _Study, overrides: _Set = None, as_json: _Json = False) -> int:
    """Check a study, its manifest and its folds.

    Nothing is run.

    Example: medseg config check configs/hippocampus_3d.yaml --set data.manifest=data/manifest.csv
    """
    from medseg.config import load_study
    from medseg.data.manifest import read_manifest
    from medseg.data.split import read_folds

    resolved = load_study(study, overrides=overrides or ())
    manifest = read_manifest(resolved.data.manifest)
    folds_path = Path(resolved.data.folds) if resolved.data.folds else manifest.folds_path
    splits = len(read_folds(folds_path, manifest).splits) if folds_path.exists() else 0
    patients = len({case.patient for case in manifest.cases})
    labelled = sum(case.label is not None for case in manifest.cases)
    if not splits:
        note("no folds yet: `medseg manifest split` writes them, before the study runs")
    facts = {
        "study": resolved.name,
        "cases": len(manifest.cases),
        "labelled": labelled,
        "patients": patients,
        "labels": list(manifest.card.label_names().values()),
        "splits": splits,
    }
    cases, of = counted(len(manifest.cases), "case"), counted(patients, "patient")
    text = f"{resolved.name}: {cases} ({labelled} labelled) of {of}, {counted(splits, 'split')}"
    emit(facts, as_json=as_json, text=text)
    return 0


@command
def _schema() -> int:
    """Print the JSON schema of a study, for your editor.

    Example: medseg config schema > configs/schema.json
    """
    from medseg.config import study_schema

    sys.stdout.write(study_schema())
    return 0
