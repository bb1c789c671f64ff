"""The kernels: inner loops as annotated Python files, compiled ahead of time by Cython where a C compiler is there.

A kernel knows plain numbers and arrays and nothing of netsim. Each file is one module in Cython's
pure-Python mode: compiled it is the fast engine, run as it is (with Cython's shadow module, in tests and
for debugging) it is the same program, slowly. Without either, the plain engine answers.

`NETSIM_ENGINE` chooses: `compiled` (an error where nothing was compiled), `uncompiled`, `plain`; unset, the
compiled kernels where they are there and the plain engine elsewhere.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from netsim.errors import NetsimError

Engine = Literal["compiled", "uncompiled", "plain"]
NAMES = ("boxes", "classify", "diagram", "layout", "order", "subtract")
"""The kernels."""


class EngineError(NetsimError):
    """`NETSIM_ENGINE` asks for an engine that this installation does not have."""

    code = "NS980"


def _is_compiled(name: str) -> bool:
    spec = importlib.util.find_spec(f"{__name__}.{name}")
    origin = spec.origin if spec else None
    return bool(origin) and str(origin).endswith(tuple(importlib.machinery.EXTENSION_SUFFIXES))


@cache
def engine() -> Engine:
    """Which engine this process uses. Raises `EngineError` for a wish that cannot be met."""
    wish = os.environ.get("NETSIM_ENGINE", "")
    match wish:
        case "":
            return "compiled" if all(map(_is_compiled, NAMES)) else "plain"
        case "plain":
            return "plain"
        case "uncompiled":
            if importlib.util.find_spec("cython") is None:
                raise EngineError(
                    "NETSIM_ENGINE=uncompiled runs the kernels with Cython's shadow: pip install cython"
                )
            return "uncompiled"
        case "compiled":
            missing = [name for name in NAMES if not _is_compiled(name)]
            if missing:
                raise EngineError(
                    "NETSIM_ENGINE=compiled, but this installation was built without a C compiler: "
                    "install one and run `pip install --force-reinstall --no-deps netsim`"
                )
            return "compiled"
    raise EngineError(f"NETSIM_ENGINE={wish!r}: choose compiled, uncompiled or plain")


@cache
def kernel(name: str, choice: Engine | None = None) -> ModuleType | None:
    """The module of a kernel for an engine (default: this process's), None for the plain one."""
    choice = choice or engine()
    if choice == "plain":
        return None
    full = f"{__name__}.{name}"
    if choice == "compiled":
        return importlib.import_module(full)
    source = Path(__file__).with_name(name + ".py")
    spec = importlib.util.spec_from_file_location(full + "_uncompiled", source)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def handed(choice: Engine) -> Callable[[Any], Any]:
    """How arrays are handed to a kernel: run as it is, it shall see Python's integers, which a memoryview gives."""
    return memoryview if choice == "uncompiled" else lambda array: array


__all__ = ["Engine", "EngineError", "engine", "handed", "kernel"]
