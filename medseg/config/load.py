"""Loading a study: YAML and overrides in, StudyConfig or one clear error out."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from medseg.config.study import StudyConfig
from medseg.errors import ConfigError

__all__ = ["dump_study", "load_study", "parse_study", "study_schema"]


def load_study(path: str | Path, *, overrides: Sequence[str] = ()) -> StudyConfig:
    """Read a study file and apply overrides.

    Args:
        path: YAML file.
        overrides: ``a.b=value`` each; the value is read as YAML.

    Raises:
        ConfigError: The file is missing or no YAML mapping, a key is unknown, or a value is not allowed. The message
            names the dotted place, the nearest known key and what is allowed.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError("the study file does not exist; `medseg init DIR` writes examples") from None
    except IsADirectoryError:
        raise ConfigError("expected a study file (YAML), found a folder; give the path of the file") from None
    except (OSError, UnicodeDecodeError):
        raise ConfigError("the study file cannot be read as UTF-8 text") from None
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark is not None else ""
        raise ConfigError(f"the study file is not valid YAML{where}") from None
    if not isinstance(content, dict):
        raise ConfigError("the study file: expected a mapping of sections at the top")
    for override in overrides:
        _apply_override(content, override)
    return parse_study(content)


def parse_study(content: dict[str, Any]) -> StudyConfig:
    """Validate a study that is already a mapping.

    Raises:
        ConfigError: As `load_study`.
    """
    try:
        return StudyConfig.model_validate(content)
    except ValidationError as error:
        problems = [_explain(dict(item)) for item in error.errors(include_url=False, include_input=True)]
        raise ConfigError("the study is not valid:\n" + "\n".join(f"  - {p}" for p in problems)) from None


def dump_study(study: StudyConfig) -> str:
    """The resolved study as YAML, every default written out."""
    return yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def study_schema() -> str:
    """JSON schema of a study file, for editors."""
    return json.dumps(StudyConfig.model_json_schema(), indent=2) + "\n"


def _apply_override(content: dict[str, Any], override: str) -> None:
    key, separator, raw = override.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise ConfigError(f"--set {override!r}: expected a.b=value")
    try:
        value = yaml.safe_load(raw)
    except yaml.YAMLError:
        raise ConfigError(f"--set {key}: the value is not valid YAML") from None
    place = content
    for part in parts[:-1]:
        if place.get(part) is None:
            place[part] = {}
        place = place[part]
        if not isinstance(place, dict):
            raise ConfigError(f"--set {key}: {part!r} is a value, not a section")
    place[parts[-1]] = value


def _explain(error: dict[str, Any]) -> str:
    location = [str(part) for part in error["loc"]]
    dotted = ".".join(location) or "study"
    if error["type"] == "extra_forbidden":
        known = _known_keys(location[:-1])
        near = difflib.get_close_matches(location[-1], known, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        return f"{_dotted_without_tags(location)}: unknown key; {hint}known keys: {', '.join(sorted(known))}"
    message = str(error["msg"]).removeprefix("Value error, ")
    if dotted == "study":
        return message
    if error["type"] == "missing":
        return f"{_dotted_without_tags(location)}: missing; the study must say it"
    return f"{_dotted_without_tags(location)}: {message[0].lower()}{message[1:]}; found {error['input']!r}"


def _section_of(location: Sequence[str]) -> tuple[type[BaseModel], list[str]]:
    """The section that a location of pydantic's ends in, and the keys without the union's tags."""
    section: type[BaseModel] = StudyConfig
    keys: list[str] = []
    pending: list[type[BaseModel]] = []
    for part in location:
        if pending:
            tagged = [m for m in pending if part in _names(m)]
            pending = []
            if tagged:
                section = tagged[0]
                continue
        keys.append(part)
        field = section.model_fields.get(part)
        if field is None:
            break
        members = _models_in(field.annotation)
        if len(members) == 1:
            section = members[0]
        elif members:
            pending = members
    return section, keys


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for argument in getattr(annotation, "__args__", ()) for m in _models_in(argument)]


def _names(model: type[BaseModel]) -> tuple[str, ...]:
    field = model.model_fields.get("name")
    return tuple(getattr(field.annotation, "__args__", ())) if field is not None else ()


def _known_keys(location: Sequence[str]) -> list[str]:
    return list(_section_of(location)[0].model_fields)


def _dotted_without_tags(location: Sequence[str]) -> str:
    return ".".join(_section_of(location)[1])
