import importlib
import pkgutil
import types

import medseg


def _modules():
    for info in pkgutil.walk_packages(medseg.__path__, "medseg."):
        if not info.name.endswith("__main__") and "._shipped" not in info.name:
            yield importlib.import_module(info.name)


def test_every_public_name_of_medseg_is_there():
    assert all(getattr(medseg, name) is not None for name in medseg.__all__)
    assert sorted(medseg.__all__) == dir(medseg)


def test_every_module_says_what_it_is_and_lists_what_exists():
    for module in _modules():
        assert module.__doc__, f"{module.__name__} has no docstring"
        missing = [name for name in getattr(module, "__all__", []) if not hasattr(module, name)]
        assert missing == [], f"{module.__name__}.__all__ lists {missing}"


def test_whatever_a_module_defines_without_underscore_is_listed_in_its_all():
    unlisted = [
        f"{module.__name__}.{name}"
        for module in _modules()
        for name, value in vars(module).items()
        if not name.startswith("_")
        and isinstance(value, type | types.FunctionType)
        and value.__module__ == module.__name__
        and name not in getattr(module, "__all__", ())
    ]
    assert unlisted == []


def test_every_listed_name_has_a_docstring():
    bare = [
        f"{module.__name__}.{name}"
        for module in _modules()
        for name in getattr(module, "__all__", ())
        if isinstance(getattr(module, name), type | types.FunctionType) and not getattr(module, name).__doc__
    ]
    assert bare == []
