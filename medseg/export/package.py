"""Model package: one file that holds a trained model, what it is for and how good it was found to be.

``NAME.medseg`` is a zip of ``model.safetensors`` (one state a fold, keys ``fold0/...``), ``model.json`` and
``SHA256SUMS``. Nothing in it is executed when it is read; the same content gives the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.data.files import atomic_write
from medseg.errors import ReadError, RequestError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ModelPackage", "digest_of", "package_bytes", "read_model_card", "read_package", "write_package"]

FORMAT = "medseg-model-package/1"
_WEIGHTS = "model.safetensors"
_CARD = "model.json"
_SUMS = "SHA256SUMS"
_LARGEST = {_WEIGHTS: 16 * 2**30, _CARD: 64 * 2**20, _SUMS: 4096}
_LARGEST_RATIO = 1000
_EARLIEST_ZIP_DATE = (1980, 1, 1, 0, 0, 0)
_KEY = re.compile(r"fold(\d{1,4})/(.+)", re.ASCII)


@dataclass(frozen=True, eq=False)
class ModelPackage:
    """What a model package holds.

    Attributes:
        states: One state dictionary a fold, by parameter name, on the CPU.
        model: The content of ``model.json``: ``study``, ``plan``, ``labels``, ``intended_use``, ``metrics``,
            ``training_data``, ``licences``.
        digest: SHA-256 of the package's content in hexadecimal; it names this very model.
    """

    states: tuple[Mapping[str, Tensor], ...]
    model: Mapping[str, Any]
    digest: str


def write_package(path: Path, *, states: Sequence[Mapping[str, Tensor]], model: Mapping[str, Any]) -> str:
    """Write a model package.

    Args:
        path: Where to write, ``NAME.medseg``.
        states: One state dictionary a fold.
        model: What ``model.json`` shall say; JSON values only.

    Returns:
        The package's digest, as in `ModelPackage.digest`.

    Raises:
        RequestError: There is no state, or the folds' states don't have the same parameters.
    """
    content = package_bytes(states=states, model=model)
    with atomic_write(path) as file:
        file.write(content)
    return digest_of(content)


def digest_of(content: bytes) -> str:
    """The digest of a package's bytes, as in `ModelPackage.digest`."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return _digest(archive.read(_SUMS))


def package_bytes(*, states: Sequence[Mapping[str, Tensor]], model: Mapping[str, Any]) -> bytes:
    """The bytes of a model package, for a caller that has to look at them before they are written.

    Args:
        states: One state dictionary a fold.
        model: What ``model.json`` shall say; JSON values only.

    Raises:
        RequestError: There is no state, or the folds' states don't have the same parameters.
    """
    from safetensors.torch import save

    if not states:
        raise RequestError("expected the weights of at least one fold; found none, train the study first")
    if any(set(state) != set(states[0]) for state in states[1:]):
        raise RequestError("expected the same network in every fold; found different parameters, train all folds anew")
    tensors = {
        f"fold{index}/{name}": tensor.detach().cpu().contiguous().clone()
        for index, state in enumerate(states)
        for name, tensor in state.items()
    }
    members = {
        _WEIGHTS: save(tensors),
        _CARD: (json.dumps({"format": FORMAT, **model}, indent=1, sort_keys=True, allow_nan=False) + "\n").encode(),
    }
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in members.items())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in {**members, _SUMS: sums.encode()}.items():
            info = zipfile.ZipInfo(name, date_time=_EARLIEST_ZIP_DATE)
            info.create_system = 3
            info.external_attr = 0o644 << 16
            info.compress_type = zipfile.ZIP_STORED if name == _WEIGHTS else zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    return buffer.getvalue()


def read_package(path: str | Path) -> ModelPackage:
    """Read a model package and check that its content is what was written.

    Raises:
        ReadError: The file is missing, is no model package, has members too few, too many or too large, or its
            content doesn't fit its checksums.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    members = _read_members(Path(path), (_WEIGHTS, _CARD))
    model = _parse_card(members[_CARD])
    try:
        tensors = load(members[_WEIGHTS])
    except (SafetensorError, ValueError, KeyError):
        raise ReadError("the model package's weights are not valid safetensors; ask for the package again") from None
    states: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        match = _KEY.fullmatch(key)
        if match is None:
            raise ReadError("the model package holds a tensor that belongs to no fold; it was not written by medseg")
        states.setdefault(int(match.group(1)), {})[match.group(2)] = tensor
    if sorted(states) != list(range(len(states))) or not states:
        raise ReadError(f"expected the weights of folds 0, 1, ...; found {len(states)} that don't count up from 0")
    return ModelPackage(
        states=tuple(states[index] for index in sorted(states)), model=model, digest=_digest(members[_SUMS])
    )


def read_model_card(path: str | Path) -> Mapping[str, Any]:
    """Read ``model.json`` of a model package without its weights.

    Raises:
        ReadError: As `read_package`, the weights left unchecked.
    """
    return _parse_card(_read_members(Path(path), (_CARD,))[_CARD])


def _digest(sums: bytes) -> str:
    return hashlib.sha256(sums).hexdigest()


def _read_members(path: Path, wanted: Sequence[str]) -> dict[str, bytes]:
    """The wanted members and SHA256SUMS, each compared with its checksum."""
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive)
            content = {name: archive.read(name) for name in (*wanted, _SUMS)}
    except FileNotFoundError:
        raise ReadError("the model package does not exist; `medseg package RUN OUT` writes one") from None
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError):
        raise ReadError("the file is not a whole model package (a zip that `medseg package` wrote)") from None
    expected = {name: digest for digest, _, name in (line.partition("  ") for line in _lines(content[_SUMS]))}
    for name in wanted:
        if expected.get(name) != hashlib.sha256(content[name]).hexdigest():
            raise ReadError(f"the model package's {name} does not fit its checksum; ask for the package again")
    return content


def _check_members(archive: zipfile.ZipFile) -> None:
    names = [info.filename for info in archive.infolist()]
    if sorted(names) != sorted(_LARGEST):
        raise ReadError(
            f"expected a model package with {', '.join(sorted(_LARGEST))} and nothing else; found {len(names)} members"
        )
    for info in archive.infolist():
        bomb = info.file_size > 2**20 and info.file_size > _LARGEST_RATIO * max(info.compress_size, 1)
        if info.file_size > _LARGEST[info.filename] or bomb:
            raise ReadError(f"the model package's {info.filename} would unpack to {info.file_size} bytes; refused")
        if info.flag_bits & 0x1:
            raise ReadError("the model package is encrypted; unlock it first")


def _lines(sums: bytes) -> list[str]:
    return sums.decode("ascii", errors="replace").splitlines()


def _parse_card(content: bytes) -> Mapping[str, Any]:
    try:
        model = json.loads(content)
    except (ValueError, RecursionError):
        raise ReadError("the model package's model.json is not valid JSON; ask for the package again") from None
    if not isinstance(model, dict) or model.get("format") != FORMAT:
        raise ReadError(f"expected a model package of format {FORMAT}; this one is of another, write it anew")
    return model
