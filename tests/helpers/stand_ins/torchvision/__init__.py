"""Stands in for torchvision if no build of it fits the installed torch: timm imports its names and needs none here.

Every submodule and every name exists; nothing does anything.
"""

import importlib.abc
import importlib.machinery
import sys


class _Anything(type):
    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return name


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name.startswith("torchvision."):
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def exec_module(self, module):
        def attribute(name):
            if name.startswith("__"):
                raise AttributeError(name)
            value = _Anything(name, (), {})
            setattr(module, name, value)
            return value

        module.__getattr__ = attribute


sys.meta_path.insert(0, _Finder())
