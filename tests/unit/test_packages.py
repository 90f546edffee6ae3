"""What must hold for every package: imports by path reach the module that the path names."""

import importlib
import pkgutil
from types import ModuleType

import pytest

import nanogrid
import nanogrid_executor
import nanogrid_gateway
import nanogrid_operator

ROOTS = [nanogrid, nanogrid_executor, nanogrid_gateway, nanogrid_operator]


def packages(root: ModuleType) -> list[ModuleType]:
    found = pkgutil.walk_packages(root.__path__, root.__name__ + ".")
    return [root, *(importlib.import_module(m.name) for m in found if m.ispkg)]


@pytest.mark.parametrize("root", ROOTS, ids=lambda root: root.__name__)
def test_no_name_of_a_package_hides_a_module_of_it(root: ModuleType) -> None:
    for package in packages(root):
        for module in pkgutil.iter_modules(package.__path__):
            known = package.__dict__.get(module.name)
            path = f"{package.__name__}.{module.name}"
            assert known is None or getattr(known, "__name__", "") == path, f"{path} is {known!r}"
