"""From a hospital's images to a data set that studies can use: de-identify, import, check, draw folds.

    python workflows/prepare_dataset.py /path/to/images my-data --profile research --key project.key

Writes my-data/clean (the copies), my-data/data (manifest, card, folds, images, labels). The key is made where it is
missing; keep it away from the copies. The same command again goes on where it stopped.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

from medseg.data.importer import ImportOptions, import_tree
from medseg.data.leakage import find_duplicates, find_leaks, refuse_leaks
from medseg.data.manifest import read_manifest
from medseg.data.quality import check_manifest
from medseg.data.split import lesion_burdens, make_folds, write_folds
from medseg.errors import MedsegError
from medseg.privacy.deidentify import deidentify_tree
from medseg.privacy.ledger import Ledger
from medseg.privacy.profile import PROFILES, load_profile
from medseg.privacy.pseudonym import load_key, new_key


def main() -> None:
    """Carry the steps out."""
    arguments = _arguments()
    out: Path = arguments.out

    # 1. De-identify. Each file is written, quarantined (a person has to look at it) or refused.
    key = load_key(arguments.key) if arguments.key.exists() else new_key(arguments.key)
    report = deidentify_tree(
        arguments.source,
        out / "clean",
        profile=load_profile(arguments.profile),
        key=key,
        ledger=Ledger(out / "clean" / "ledger.jsonl"),
        jobs=arguments.jobs,
        identities=arguments.key.with_name(f"{arguments.key.name}.identities"),
    )
    print(f"1. {len(report.written)} files have a clean copy")
    for reason, count in Counter(o.reason for o in (*report.quarantined, *report.refused)).items():
        print(f"   {count} x not copied: {reason}")

    # 2. Import: any layout becomes a manifest, one row a case. Only what the manifest names is read from here on.
    labels = {int(value): name for value, _, name in (text.partition("=") for text in arguments.label)}
    options = ImportOptions(labels=labels, title=arguments.title, licence=arguments.licence, jobs=arguments.jobs)
    imported = import_tree(out / "clean", out / "data", options=options)
    print(f"2. taken for {imported.layout}: {imported.cases} cases of {imported.patients} patients")
    for note in imported.notes:
        print(f"   {note}")
    for refusal in imported.refusals:
        print(f"   refused: {refusal.input}: {refusal.reason}")

    # 3. Check every case: geometry, values, labels.
    manifest = read_manifest(out / "data" / "manifest.csv")
    quality = check_manifest(manifest, jobs=arguments.jobs)
    print(f"3. {quality.errors} cases with an error")

    # 4. Draw folds once: whole patients, alike in lesion burden, no picture on both sides. They are never drawn again.
    duplicates = find_duplicates(manifest, jobs=arguments.jobs)
    burdens = lesion_burdens(manifest, jobs=arguments.jobs)
    folds = make_folds(manifest, folds=arguments.folds, burdens=burdens)
    refuse_leaks(find_leaks(folds, manifest, duplicates))
    write_folds(folds, manifest.folds_path)
    for split in folds.splits:
        print(f"4. fold {split.fold}: {len(split.training)} cases to train on, {len(split.test)} held out")
    print(f"next: medseg config check configs/X.yaml --set data.manifest={manifest.path.name}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder of DICOM files, volumes or photographs, with label maps")
    parser.add_argument("out", type=Path, help="new folder")
    parser.add_argument("--profile", required=True, choices=PROFILES, help="see medseg deidentify --help")
    parser.add_argument("--key", required=True, type=Path, help="the project's key; made where it is missing")
    parser.add_argument("--label", action="append", default=[], metavar="VALUE=NAME", help="meaning of a label value")
    parser.add_argument("--title", default="", help="title of the data set")
    parser.add_argument("--licence", default="", help="licence of the data set")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2, help="processes that work at once")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except MedsegError as error:
        sys.exit(f"{error}")
