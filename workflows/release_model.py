"""Release a model: package a run, write the report that may be shared, search both for identity, show the model card.

    python workflows/release_model.py runs/first release --key project.key --intended-use "Outlines sarcoma in FDG-PET."

What the gate refuses isn't written. Read everything in the folder yourself before you send it to anyone.
"""

import argparse
import sys
from pathlib import Path

from medseg.errors import MedsegError, PrivacyError
from medseg.export import read_package
from medseg.export.from_run import package_run
from medseg.privacy.audit import audit_paths
from medseg.privacy.identities import IdentityIndex
from medseg.report import write_report


def main() -> None:
    """Carry the steps out."""
    arguments = _arguments()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)

    # 1. What must not leave: the identities that deidentify met, kept as hashes beside the key.
    known = IdentityIndex.load(arguments.key.with_name(f"{arguments.key.name}.identities")) if arguments.key else None

    # 2. The model: weights of all folds, what they are for, how good they were found to be.
    package = out / f"{arguments.run.name}.medseg"
    digest = package_run(arguments.run, package, intended_use=arguments.intended_use, identities=known)
    print(f"2. {package}, digest {digest}")

    # 3. The report that may be shared: aggregates only, small numbers withheld and marked.
    page = write_report(arguments.run, tier="shareable", identities=known)
    for file in (page, page.with_suffix(".pdf")):
        (out / file.name).write_bytes(file.read_bytes())
    print(f"3. {out / page.name}")

    # 4. Search the whole folder once more, as whoever receives it could.
    report = audit_paths([out], identities=known)
    for find in report.finds:
        print(f"   {find.rule} in {find.place}")
    if report.finds:
        raise PrivacyError("the release holds what it must not; nothing of it may leave")
    print(f"4. nothing found in {report.files} files, {report.identities} identities searched for")

    # 5. What the receiver will read first.
    model = read_package(package).model
    print(f"5. {model['intended_use']}")
    print(f"   trained on: {model['training_data']}")
    print(f"   licences: {model['licences']}")
    if model["metrics"]["evaluated"]:
        dice = model["metrics"]["mean_over_labels"]["dice"]
        print(f"   Dice, {model['metrics']['how']}: {dice}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="run folder of a finished cross-validation")
    parser.add_argument("out", type=Path, help="folder of the release")
    parser.add_argument("--key", type=Path, help="the project's key; the identities beside it are searched for")
    parser.add_argument("--intended-use", help="what the model is for, in a sentence")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except MedsegError as error:
        sys.exit(f"{error}")
