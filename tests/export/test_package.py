import io
import json
import zipfile

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.errors import ReadError, RequestError
from medseg.export import package_bytes, read_model_card, read_package, write_package
from tests.examples import examples

_MODEL = {"labels": {"1": "lesion"}, "plan": {"spatial_dims": 2}}


def _states(count=2):
    generator = torch.Generator().manual_seed(0)
    return [{"a.weight": torch.randn(3, 2, generator=generator), "b.steps": torch.tensor(7 + k)} for k in range(count)]


def _rewrite(content, **changed):
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            data = changed.pop(name, old.read(name))
            if data is not None:
                new.writestr(name, data)
        for name, data in changed.items():
            new.writestr(name, data)
    return out.getvalue()


def test_a_package_gives_back_every_weight_and_what_the_model_is(tmp_path):
    states = _states()
    digest = write_package(tmp_path / "m.medseg", states=states, model=_MODEL)
    package = read_package(tmp_path / "m.medseg")
    assert package.digest == digest
    assert package.model["plan"] == {"spatial_dims": 2}
    assert [sorted(s) for s in package.states] == [["a.weight", "b.steps"]] * 2
    for read, written in zip(package.states, states, strict=True):
        assert all(torch.equal(read[name], written[name]) for name in written)
    assert read_model_card(tmp_path / "m.medseg") == package.model


def test_the_same_model_gives_the_same_bytes_and_holds_no_pickle(tmp_path):
    assert package_bytes(states=_states(), model=_MODEL) == package_bytes(states=_states(), model=_MODEL)
    write_package(tmp_path / "m.medseg", states=_states(), model=_MODEL)
    with zipfile.ZipFile(tmp_path / "m.medseg") as archive:
        assert sorted(archive.namelist()) == ["SHA256SUMS", "model.json", "model.safetensors"]
        assert {i.date_time for i in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_weights_that_share_memory_are_stored_each_on_its_own(tmp_path):
    base = torch.arange(6.0)
    write_package(tmp_path / "m.medseg", states=[{"a": base, "b": base[::2]}], model=_MODEL)
    state = read_package(tmp_path / "m.medseg").states[0]
    assert torch.equal(state["b"], base[::2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.json": b'{"format": "medseg-model-package/1"}'}, "checksum"),
        ({"model.safetensors": b"x"}, "checksum"),
        ({"model.safetensors": None}, "nothing else"),
        ({"SHA256SUMS": None}, "nothing else"),
        ({"../../etc/cron.d/x": b"x"}, "nothing else"),
        ({"model.pkl": b"x"}, "nothing else"),
        ({"model.json": b" " * 3_000_000}, "would unpack"),
    ],
)
def test_a_package_that_was_changed_is_refused(tmp_path, change, message):
    path = tmp_path / "m.medseg"
    path.write_bytes(_rewrite(package_bytes(states=_states(), model=_MODEL), **change))
    with pytest.raises(ReadError, match=message):
        read_package(path)


def test_a_package_of_another_format_is_refused(tmp_path):
    import hashlib

    content = package_bytes(states=_states(1), model=_MODEL)
    card = json.dumps({"format": "medseg-model-package/99"}).encode()
    sums = f"{hashlib.sha256(card).hexdigest()}  model.json\n".encode()
    (tmp_path / "m.medseg").write_bytes(_rewrite(content, **{"model.json": card, "SHA256SUMS": sums}))
    with pytest.raises(ReadError, match="of another"):
        read_model_card(tmp_path / "m.medseg")


def test_a_missing_file_and_a_file_that_is_no_zip_are_refused(tmp_path):
    with pytest.raises(ReadError, match="medseg package"):
        read_package(tmp_path / "none.medseg")
    (tmp_path / "x.medseg").write_bytes(b"PK but not really")
    with pytest.raises(ReadError, match="not a whole model package"):
        read_package(tmp_path / "x.medseg")


@given(place=st.floats(0, 0.999), value=st.integers(0, 255), cut=st.booleans())
@settings(max_examples=examples(60), deadline=None)
def test_no_mutation_of_a_package_does_more_than_raise_a_read_error(place, value, cut, tmp_path_factory):
    content = bytearray(package_bytes(states=_states(1), model=_MODEL))
    index = int(place * len(content))
    content = content[:index] if cut else content[:index] + bytes([value]) + content[index + 1 :]
    path = tmp_path_factory.mktemp("mutated") / "m.medseg"
    path.write_bytes(bytes(content))
    try:
        package = read_package(path)
    except ReadError:
        return
    assert torch.equal(package.states[0]["a.weight"], _states(1)[0]["a.weight"])


def test_folds_of_different_networks_and_no_fold_at_all_are_refused(tmp_path):
    with pytest.raises(RequestError, match="same network"):
        write_package(tmp_path / "m.medseg", states=[{"a": torch.ones(1)}, {"b": torch.ones(1)}], model=_MODEL)
    with pytest.raises(RequestError, match="at least one fold"):
        write_package(tmp_path / "m.medseg", states=[], model=_MODEL)
    assert list(tmp_path.iterdir()) == []
