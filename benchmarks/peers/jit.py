"""numba on our own kernels (`pip install numba`): `netsim/kernels/classify.py` with its C types turned into numba's.

Declarations and `nogil` blocks go, and each value that a declared variable takes is converted to its type, as C does.
"""

from __future__ import annotations

import ast
import inspect
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks.peers import Missing
from netsim import kernels
from netsim.index.classifier import Classifier
from netsim.index.rows import Rows

TYPES = {
    "int": "int32", "uint": "uint32", "ushort": "uint16", "ulonglong": "uint64", "longlong": "int64",
    "Py_ssize_t": "int64", "uchar": "uint8", "bint": "int64", "short": "int16", "char": "int8",
}  # fmt: skip


class _Plain(ast.NodeTransformer):
    """A kernel's function as numba reads it."""

    def __init__(self) -> None:
        self.types: dict[str, str] = {}

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        self.types = {}
        for argument in node.args.args:
            self._declare(argument.arg, argument.annotation)
            argument.annotation = None
        node.returns, node.decorator_list = None, []
        self.generic_visit(node)
        return node

    def _declare(self, name: str, annotation: ast.expr | None) -> None:
        if isinstance(annotation, ast.Attribute) and annotation.attr in TYPES:
            self.types[name] = TYPES[annotation.attr]

    def _converted(self, target: ast.expr, value: ast.expr) -> ast.expr:
        if isinstance(target, ast.Name) and target.id in self.types:
            return ast.Call(ast.Name(self.types[target.id], ast.Load()), [value], [])
        return value

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        assert isinstance(node.target, ast.Name)
        self._declare(node.target.id, node.annotation)
        if node.value is None:
            return None
        return ast.Assign([node.target], self._converted(node.target, self.visit(node.value)))

    def visit_Assign(self, node: ast.Assign) -> Any:
        node.value = self._converted(node.targets[0], self.visit(node.value))
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> Any:
        if isinstance(node.target, ast.Name) and node.target.id in self.types:
            value = ast.BinOp(ast.Name(node.target.id, ast.Load()), node.op, self.visit(node.value))
            return ast.Assign([node.target], self._converted(node.target, value))
        return self.generic_visit(node)

    def visit_With(self, node: ast.With) -> Any:
        self.generic_visit(node)
        return node.body


@cache
def _module(name: str) -> ModuleType:
    try:
        import numba
    except ImportError:
        raise Missing("numba is not installed") from None
    source = Path(kernels.__file__).with_name(name + ".py")
    tree = _Plain().visit(ast.parse(source.read_text()))
    tree.body = [n for n in tree.body if not isinstance(n, ast.Import) and "fused_type" not in ast.dump(n)]
    if "cython" in ast.dump(tree):
        raise Missing(f"kernels/{name}.py says more than numba can be told")
    module = ModuleType(f"numba_{name}")
    module.__dict__.update({t: getattr(numba, t) for t in TYPES.values()})
    code = compile(ast.fix_missing_locations(tree), str(source), "exec")
    exec(code, module.__dict__)  # noqa: S102 - our own kernels  # noqa: S102 - our own kernels
    for key, function in list(vars(module).items()):
        if inspect.isfunction(function):
            setattr(module, key, numba.njit(nogil=True)(function))
    return module


def classifier(rows: Rows) -> Classifier:
    """Our classifier with numba's kernels in the place of the extension. Raises `Missing`."""
    module: Any = _module("classify")
    found = Classifier(rows)
    found._kernel = module
    return found
