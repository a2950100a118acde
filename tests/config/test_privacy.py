from __future__ import annotations

from typing import Any

import pytest

from medseg.config import StudyConfig, parse_study
from medseg.errors import ConfigError


def _study(changes: dict[str, Any] | None = None) -> StudyConfig:
    content: dict[str, Any] = {
        "name": "private",
        "data": {"manifest": "manifest.csv"},
        "plan": {"iterations": 100, "patch_size": [32, 32], "spacing": [1, 1]},
        "train": {"privacy": {"epsilon": 8}},
    }
    for dotted, value in (changes or {}).items():
        place = content
        *sections, key = dotted.split(".")
        for section in sections:
            place = place.setdefault(section, {})
        place[key] = value
    return parse_study(content)


def test_a_private_study_that_leaves_no_way_past_the_noise_is_taken() -> None:
    assert _study().train.privacy is not None
    public = _study({"train.init": "imagenet.safetensors", "train.privacy.public_init": True})
    assert public.train.init == "imagenet.safetensors"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"train.select": "best"}, "train.select: last"),
        ({"train.early_stopping": 3}, "early_stopping"),
        ({"train.schedule": {"name": "plateau"}}, "plateau"),
        ({"train.few_shot": {"cases": 5}}, "few_shot"),
        ({"train.init": "other.medseg"}, "public_init"),
        ({"model": {"name": "efficient_unet"}}, "model.name: unet"),
        ({"plan.iterations": None}, "plan.iterations"),
        ({"plan.batch_size": 4}, "train.privacy.patches"),
        ({"train.accumulate": 2}, "train.accumulate"),
        ({"train.precision": "16"}, "32 or bf16"),
    ],
)
def test_whatever_would_get_past_the_noise_is_refused_by_name(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match="guarantee would not hold") as refused:
        _study(changes)
    assert told in str(refused.value)


@pytest.mark.parametrize(("field", "value"), [("epsilon", 0), ("delta", 1.0), ("clip_norm", -1), ("patients", 0)])
def test_a_privacy_that_is_none_is_refused(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"privacy.{field}"):
        _study({f"train.privacy.{field}": value})
