"""Whether a module that was imported earlier still is what its file says."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from types import CodeType, FunctionType
from typing import Any


def changed_since_import(module: Any, text: str) -> str:
    """Return what differs between the code a process runs and the module's text now; empty when nothing does.

    Compared are the code of functions and methods, line numbers included, plain defaults of functions, and names bound to
    plain numbers, texts and tuples. A function behind a decorator that hides it is left out.
    """
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return "its text"
    compiled = compile(tree, getattr(module, "__file__", None) or "<module>", "exec", dont_inherit=True)
    names = vars(module)
    return _changed_code(names, compiled, module.__name__) or _changed_values(names, tree, module.__name__)


def _changed_code(names: Mapping[str, Any], code: CodeType, module: str) -> str:
    parts = [part for part in code.co_consts if isinstance(part, CodeType) and not part.co_name.startswith("<")]
    known = [part.co_name for part in parts]
    for part in parts:
        name = part.co_name
        if known.count(name) > 1:  # written twice: under a condition, or one over the other
            continue
        found = names.get(name)
        if inspect.isclass(found) and found.__module__ == module:
            stale = _changed_code(vars(found), part, module)
            if stale:
                return f"{name}.{stale}"
            continue
        function = _own(found, name, module)
        if function is not None and function.__code__ != part:
            return name
    return ""


def _changed_values(names: Mapping[str, Any], tree: ast.Module, module: str) -> str:
    bound = [n.targets[0].id for n in tree.body if isinstance(n, ast.Assign) and isinstance(n.targets[0], ast.Name)]
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            written = _plain(node.value)
            if written is not None and bound.count(name) == 1 and names.get(name, written) != written:
                return name
        elif isinstance(node, ast.FunctionDef) and node.args.defaults:
            function = _own(names.get(node.name), node.name, module)
            defaults = [_plain(value) for value in node.args.defaults]
            if function is None or None in defaults or function.__code__.co_firstlineno != _line(node):
                continue
            if function.__defaults__ != tuple(defaults):
                return node.name
    return ""


def _line(node: ast.FunctionDef) -> int:
    return min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])


def _own(found: Any, name: str, module: str) -> FunctionType | None:
    """Return the function of that name which this module defines, decorators taken off."""
    if isinstance(found, (staticmethod, classmethod)):
        found = found.__func__
    function = inspect.unwrap(found) if callable(found) else None
    if isinstance(function, FunctionType) and function.__module__ == module and function.__code__.co_name == name:
        return function
    return None


def _plain(node: ast.expr) -> Any:
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return None
    return value if isinstance(value, (bool, int, float, str, tuple)) else None
