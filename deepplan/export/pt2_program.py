"""Checks that the program in a `.pt2` file (its models/*.json) is only a program.

PyTorch builds Python source from it: names become parameters, attributes and keys in code that is compiled, shape
expressions and guards are evaluated, a target may be any attribute of `torch`, and a nesting may import modules. So
every string must be harmless: a plain name, unless its field is known to be text that is never compiled.
"""

from __future__ import annotations

import ast
import json
import re
from typing import Any

from deepplan.errors import DocumentError
from deepplan.export.untrusted import is_harmless
from deepplan.export.verify import SCALAR_OPERATORS

_NAME = re.compile(r"[\w.\-/ ]*", re.ASCII)
_FREE_TEXT = frozenset({"as_string", "as_strings", "torch_version"})  # kept as string literals
_TARGET = re.compile(
    r"torch\.ops\.(aten|higher_order)(\.\w+){1,3}|math\.(ceil|floor|trunc|sqrt)|torch\.sym_\w+|_operator\.("
    + "|".join(("getitem", *SCALAR_OPERATORS))
    + ")",
    re.ASCII,
)
_NESTING_TYPE = re.compile(
    r"builtins\.(tuple|list|dict)|collections\.(OrderedDict|namedtuple)|transformers(\.\w+)+", re.ASCII
)
_MAX_EXPRESSION = 2000  # characters; longer ones are not parsed, and so refused
_METHODS = ("size", "stride", "storage_offset", "dim")
_ARITHMETIC = (
    ast.Expression,
    ast.BinOp,
    ast.UnaryOp,
    ast.BoolOp,
    ast.Compare,
    ast.Constant,
    ast.Name,
    ast.Tuple,
    ast.operator,
    ast.unaryop,
    ast.boolop,
    ast.cmpop,
    ast.expr_context,
    ast.keyword,
)
# What shape expressions call: sympy's printed constructors and torch's shape functions.
_FUNCTION = re.compile(
    r"Symbol|Integer|Rational|Float|Add|Mul|Pow|Max|Min|Mod|PythonMod|PowByNatural|FloorDiv|CeilDiv|CleanDiv|"
    r"IntTrueDiv|FloatTrueDiv|FloatPow|ModularIndexing|Where|Identity|ToFloat|TruncToInt|FloorToInt|CeilToInt|"
    r"Eq|Ne|Lt|Le|Gt|Ge|Equality|Unequality|StrictLessThan|LessThan|StrictGreaterThan|GreaterThan|And|Or|Not",
    re.ASCII,
)


def check_program(data: Any) -> None:
    """Raises DocumentError, quoting what may run code, unless `data` (a program's JSON) is harmless."""
    _check("", data)


def _check(field: str, value: Any) -> None:
    if isinstance(value, dict):
        if field == "metadata" and all(isinstance(text, str) for text in value.values()):
            return  # where a node came from: never compiled
        for key, item in value.items():
            if field == "range_constraints":
                _check_expression(key)
            else:
                _check_name(key)
            _check(key, item)
    elif isinstance(value, list):
        for item in value:
            _check(field, item)
    elif isinstance(value, str) and field not in _FREE_TEXT:
        {
            "target": _check_target,
            "expr_str": _check_expression,
            "guards_code": _check_expression,
            "in_spec": _check_nesting,
            "out_spec": _check_nesting,
        }.get(field, _check_name)(value)


def _check_name(text: str) -> None:
    if not _NAME.fullmatch(text):
        raise _refusal("has the name", text)


def _check_target(text: str) -> None:
    parts = text.split(".")
    calls_harm = text.startswith("torch.ops.aten.") and not is_harmless("::".join(parts[2:4]))
    if not _TARGET.fullmatch(text) or "__" in parts[-1] or calls_harm:
        raise _refusal("calls", text)


def _check_nesting(text: str) -> None:
    pending = [_parse(text)]
    while pending:
        item = pending.pop()
        if isinstance(item, list):
            pending += item
        elif isinstance(item, dict):
            kind, context = item.get("type"), item.get("context")
            sound = kind is None or (isinstance(kind, str) and _NESTING_TYPE.fullmatch(kind))
            if not sound or not set(item) <= {"type", "context", "children_spec"}:
                raise _refusal("nests its inputs or outputs as", text)
            if isinstance(context, str) and kind != "collections.namedtuple":
                context = _parse(context)
            for name in context if isinstance(context, list) else [context]:
                if not isinstance(name, (str, int, type(None))):
                    raise _refusal("nests its inputs or outputs as", text)
                _check_name(str(name))
            pending.append(item.get("children_spec"))


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise _refusal("nests its inputs or outputs as", text) from None


def _check_expression(text: Any) -> None:
    """Accepts arithmetic over shapes, `L['x'].size()[0]`, and sympy's printed form of it; all of it is evaluated."""
    try:
        sound = len(text) <= _MAX_EXPRESSION and all(map(_is_arithmetic, ast.walk(ast.parse(text, mode="eval"))))
    except (TypeError, ValueError, SyntaxError, RecursionError, MemoryError):
        sound = False
    if not sound:
        raise _refusal("evaluates", str(text))


def _is_arithmetic(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        named = isinstance(node.func, ast.Name) and _FUNCTION.fullmatch(node.func.id) is not None
        return named or (isinstance(node.func, ast.Attribute) and node.func.attr in _METHODS)
    if isinstance(node, ast.Attribute):
        return node.attr in _METHODS
    if isinstance(node, ast.Subscript):
        return isinstance(node.slice, (ast.Constant, ast.UnaryOp))
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.fullmatch(r"\w+", node.value, re.ASCII) is not None
    return isinstance(node, _ARITHMETIC) and "__" not in getattr(node, "id", "")


def _refusal(does: str, text: str) -> DocumentError:
    return DocumentError(f"the program {does} {text[:80]!r}, which may run code")
