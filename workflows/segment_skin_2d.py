"""Photographs of skin lesions: train one model on all outlined ones, package it, outline the others.

    python workflows/segment_skin_2d.py configs/skin_lesion_2d.yaml my-data/data/manifest.csv new-photographs out

Its accuracy comes from a cross-validation of the same study (medseg crossval); this model has seen every case.
"""

import argparse
import sys
from pathlib import Path

from medseg.cli.bars import StudyBars
from medseg.config import load_study
from medseg.data.source import find_inputs
from medseg.errors import DataError, MedsegError
from medseg.export import write_overlay_png, write_png
from medseg.export.from_run import package_run
from medseg.export.load import load_model
from medseg.studies.crossval import train_all


def main() -> None:
    """Carry the steps out."""
    arguments = _arguments()
    out: Path = arguments.out

    # 1. The study: a U-Net on a pretrained encoder.
    changes = [f"data.manifest={arguments.manifest}", "plan.spatial_dims=2", *arguments.set]
    study = load_study(arguments.study, overrides=changes)

    # 2. Train on every labelled case.
    with StudyBars() as bars:
        trained = train_all(study, out=out / "run", progress=bars)
    print(f"2. {trained.iterations} steps")

    # 3. Package it: weights, plan, labels, licences; nothing in it is executed when it is read.
    digest = package_run(out / "run", out / "skin.medseg")
    print(f"3. {out / 'skin.medseg'}, digest {digest[:16]}")

    # 4. Outline the photographs. Outputs are numbered in the order of the paths, since a file name may identify.
    model = load_model(out / "skin.medseg")
    colours = {value: info.colour for value, info in model.labels.items() if info.colour is not None}
    inputs, refusals = find_inputs(arguments.photographs)
    for entry in inputs:
        try:
            volume = entry.read()
            prediction = model.predictor.predict(volume)
        except DataError as error:
            print(f"   refused: {entry.name}: {error}")
            continue
        masks, overlays = out / "masks", out / "overlays"
        write_png(prediction.label_map, masks / f"{entry.name}.png", label_count=len(model.labels))
        write_overlay_png(volume, prediction.label_map, overlays / f"{entry.name}.png", colours=colours)
    for refusal in refusals:
        print(f"   refused: {refusal.input}: {refusal.reason}")
    print(f"4. {len(inputs)} photographs: masks/ and overlays/ in the output folder")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path, help="study file")
    parser.add_argument("manifest", type=Path, help="manifest of outlined photographs")
    parser.add_argument("photographs", type=Path, help="folder of photographs to outline")
    parser.add_argument("out", type=Path, help="output folder")
    parser.add_argument("--set", action="append", default=[], metavar="A.B=VALUE", help="change a value of the study")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        main()
    except MedsegError as error:
        sys.exit(f"{error}")
