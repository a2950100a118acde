import json
from pathlib import Path

import pytest
import yaml

from medseg.config import load_study, study_schema

_CONFIGS = Path(__file__).parent.parent / "configs"
_STUDIES = sorted(_CONFIGS.glob("*.yaml"))


@pytest.mark.parametrize("path", _STUDIES, ids=lambda p: p.stem)
def test_every_shipped_study_loads_and_bears_the_name_of_its_file(path):
    assert load_study(path).name == path.stem


@pytest.mark.parametrize("path", _STUDIES, ids=lambda p: p.stem)
def test_every_shipped_study_begins_with_the_command_that_runs_it(path):
    comments = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert any(f"medseg crossval configs/{path.name} " in line for line in comments)


def test_the_three_real_studies_are_there():
    assert {"skin_lesion_2d", "hippocampus_3d", "sarcoma_pet_3d"} <= {path.stem for path in _STUDIES}


def test_the_schema_is_the_one_the_code_has():
    assert (_CONFIGS / "schema.json").read_text() == study_schema(), "run: make schema"


def test_every_key_of_the_schema_is_explained():
    bare = []

    def visit(node, place):
        for name, value in node.get("properties", {}).items():
            is_section = "$ref" in value or any("$ref" in v for k in ("oneOf", "anyOf") for v in value.get(k, []))
            if name != "name" and not is_section and "description" not in value:
                bare.append(f"{place}.{name}")

    schema = json.loads(study_schema())
    visit(schema, "study")
    for name, definition in schema["$defs"].items():
        visit(definition, name)
    assert bare == []


def test_yaml_files_hold_no_anchors_and_no_python_tags():
    for path in _CONFIGS.rglob("*.yaml"):
        events = list(yaml.parse(path.read_text()))
        assert not any(
            isinstance(e, yaml.AliasEvent) or str(getattr(e, "tag", "") or "").startswith("tag:yaml.org,2002:python")
            for e in events
        )
