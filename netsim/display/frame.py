"""Rows as a pandas frame, with the extra `frames`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any


def frame(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Any:
    """A `pandas.DataFrame` of these columns. Raises `ModuleNotFoundError` that names the extra."""
    try:
        pandas: Any = import_module("pandas")
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "a frame needs its extra: pip install 'netsim[frames]'", name="pandas"
        ) from None
    return pandas.DataFrame(list(rows), columns=list(columns))
