from __future__ import annotations

import math
from typing import Any

import pytest

from medseg.config import StudyConfig, parse_study
from medseg.data.fingerprint import Fingerprint
from medseg.errors import PlanError
from medseg.models import build_model
from medseg.planning import DeviceFacts, Plan, make_plan

CPU = DeviceFacts("cpu", memory_gb=16.0, cores=2, fast_bf16=True, tflops=0.24)
GPU = DeviceFacts("cuda", memory_gb=64.0, cores=16, fast_bf16=True, tflops=46.0)
FACTS = {"mean": 40.0, "std": 20.0, "p00_5": -20.0, "p50": 40.0, "p99_5": 110.0, "min": -50.0, "max": 300.0}


def _fingerprint(
    *,
    shape: tuple[int, ...] = (512, 512, 90),
    spacing: tuple[float, ...] = (0.8, 0.8, 5.0),
    modality: str = "CT",
    channels: tuple[str, ...] = ("image",),
    rgb: bool = False,
) -> Fingerprint:
    facts = dict.fromkeys(channels, FACTS)
    return Fingerprint(
        spatial_dims=len(shape),
        cases=12,
        labelled=12,
        channels=channels,
        modality=modality,
        spacings=[spacing] * 12,
        shapes=[shape] * 12,
        foreground=facts,
        image=facts,
        per_case_scale={channel: {"p00_5": 0.0, "p50": 1.0, "p99_5": 2.0, "spread": 1.0} for channel in channels},
        out_of_scale=0,
        foreground_fraction=[0.01] * 12,
        components=[2] * 12,
        class_voxels={1: 1000},
        labels={1: "lesion"},
        rgb=rgb,
    )


def _study(**sections: Any) -> StudyConfig:
    return parse_study({"name": "s", "data": {"manifest": "m.csv"}, **sections})


@pytest.mark.parametrize("device", [CPU, GPU], ids=["two cores", "80 GB GPU"])
def test_an_anisotropic_ct_gets_a_plan_whose_network_can_be_built_and_whose_patch_fits_it(device: DeviceFacts) -> None:
    study = _study()
    plan = make_plan(study, _fingerprint(), device)
    assert all(n % t == 0 for n, t in zip(plan.patch_size, plan.total_stride, strict=True))
    assert plan.normalisation[0].method == "ct_window"
    # The thick axis is halved less often than the others, and not convolved while it is much coarser.
    assert plan.total_stride[2] < plan.total_stride[0]
    assert plan.kernels[0][2] == 1
    model = build_model(
        study.model,
        spatial_dims=3,
        in_channels=1,
        out_channels=plan.classes,
        features=plan.features,
        strides=plan.strides,
        kernels=plan.kernels,
    )
    assert sum(p.numel() for p in model.parameters()) > 0
    assert set(plan.reasons) >= {"spacing", "normalisation", "patch_size", "batch_size", "iterations", "precision"}


def test_a_gpu_gets_more_of_everything_than_two_cores() -> None:
    small, large = (make_plan(_study(), _fingerprint(), device) for device in (CPU, GPU))
    assert math.prod(large.patch_size) > math.prod(small.patch_size)
    assert large.features[0] > small.features[0]
    assert large.iterations > small.iterations


def test_photographs_are_taken_whole_in_their_aspect_ratio_with_the_pretrained_encoder() -> None:
    study = _study(model={"name": "efficient_unet"})
    photographs = _fingerprint(
        shape=(640, 480), spacing=(1.0, 1.0), modality="DERMOSCOPY", channels=("red", "green", "blue"), rgb=True
    )
    plan = make_plan(study, photographs, CPU)
    assert plan.fit == "image"
    assert plan.patch_size == (256, 192)
    assert plan.rgb
    assert plan.normalisation[0].mean == 0.485


def test_the_budget_sets_the_number_of_steps() -> None:
    short, long = (
        make_plan(_study(train={"budget_minutes": minutes}), _fingerprint(), CPU).iterations for minutes in (4, 40)
    )
    assert long == pytest.approx(10 * short, rel=0.05)


def test_what_the_study_fixes_is_taken() -> None:
    study = _study(
        plan={"spacing": [2, 2, 4], "patch_size": [32, 32, 16], "batch_size": 3, "iterations": 77},
        model={"name": "unet", "base_features": 8, "levels": 3},
        train={"precision": "32"},
    )
    plan = make_plan(study, _fingerprint(), CPU)
    assert (plan.spacing, plan.patch_size, plan.batch_size, plan.iterations) == ((2, 2, 4), (32, 32, 16), 3, 77)
    assert (plan.features, plan.precision, len(plan.strides)) == ((8, 16, 32), "32", 3)


def test_a_plan_goes_through_json_unchanged() -> None:
    plan = make_plan(_study(), _fingerprint(), CPU)
    assert Plan.from_dict(plan.to_dict()) == plan
    changed = Plan.from_dict({**plan.to_dict(), "spacing": (1.0, 1.0, 1.0)})
    assert changed.preprocessing_digest() != plan.preprocessing_digest()


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"plan": {"spatial_dims": 2}}, "spatial_dims is 2"),
        ({"plan": {"patch_size": [30, 30, 30]}}, "multiples of"),
        ({"plan": {"patch_size": [32, 32]}}, "expected 3 numbers"),
        ({"plan": {"normalisation": "rgb"}}, "colour channels"),
        ({"plan": {"batch_size": 64, "patch_size": [256, 256, 64]}}, "GB"),
        ({"model": {"name": "efficient_unet"}}, "2D network"),
        ({"train": {"precision": "16"}}, "needs a GPU"),
        ({"model": {"name": "unet", "levels": 9}, "plan": {"patch_size": [32, 32, 16]}}, "levels"),
    ],
)
def test_what_cannot_be_planned_is_told_with_the_place_to_change(sections: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        make_plan(_study(**sections), _fingerprint(), CPU)
