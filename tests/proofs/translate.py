"""Reads a straight-line function of the compiled tier as a program for Gappa and Sollya: the proof is about the code itself.

Every operation becomes one rounding of float64, and fma one rounding of a product and a sum. Calls are followed into, or
taken by what the proof has for them (`Program.lemmas`). What is not known here is refused.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.proofs.program import Part, Program, Real, Value

_OPERATORS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}

EXACT = {"two_sum": "+", "fast_two_sum": "+", "two_product": "*"}
"""The two parts are the sum or the product exactly: theorems, not proved here."""


class UnknownCodeError(Exception):
    """The function has something that this translation does not know."""


def source_of(function: Callable[..., Any]) -> str:
    """The text of a function."""
    return textwrap.dedent(inspect.getsource(function))


def follow(program: Program, function: Any, arguments: Sequence[Value]) -> tuple[Value, ...]:
    """Adds what the function does to the program; returns what it returns."""
    results = _follow(program, function, arguments)
    unmet = {*program.given, *program.taken} - program.seen
    if unmet:
        raise UnknownCodeError(f"the proof takes {sorted(unmet)} otherwise, which {function.__name__} does not have")
    return results


def _follow(program: Program, function: Any, arguments: Sequence[Value]) -> tuple[Value, ...]:
    plain = getattr(function, "py_func", function)
    tree = ast.parse(source_of(plain)).body[0]
    if not isinstance(tree, ast.FunctionDef):
        raise UnknownCodeError(f"{plain!r} is not a function that is defined by def")
    body = _Body(program, plain.__globals__, {})
    for argument, value in zip(tree.args.args, arguments, strict=True):
        body.name(argument.arg, value)
    return body.run(tree.body)


@dataclass
class _Body:
    """One function's body, as it is read."""

    program: Program
    outer: Mapping[str, Any]
    names: dict[str, Value]

    def run(self, statements: Sequence[ast.stmt]) -> tuple[Value, ...]:
        for statement in statements:
            match statement:
                case ast.Return(value=ast.expr() as value):
                    return self.values(value)
                case ast.Assign(targets=[target], value=value):
                    self.assign(target, value)
                case ast.If(test=test, body=body, orelse=[]):
                    if self.decided(test):
                        self.run(body)
                case ast.Expr(value=ast.Constant(value=str())):
                    pass
                case ast.Expr(value=ast.Call() as called) if (text := ast.unparse(called)) in self.program.given:
                    self.program.seen.add(text)
                case _:
                    raise UnknownCodeError(f"{ast.unparse(statement)!r} is a statement that is not known here")
        return ()

    def assign(self, target: ast.expr, value: ast.expr) -> None:
        names = [target] if isinstance(target, ast.Name) else getattr(target, "elts", [])
        if not names or not all(isinstance(name, ast.Name) for name in names):
            raise UnknownCodeError(f"{ast.unparse(target)!r} is a target that is not known here")
        keys = [name.id for name in names]
        if all(key in self.program.given for key in keys):
            self.program.seen.update(keys)
            self.names.update({key: self.program.given[key] for key in keys})
            return
        for key, found in zip(keys, self.values(value), strict=True):
            self.name(key, found)

    def name(self, key: str, value: Value) -> None:
        """The value under this name; an expression gets a definition of its own."""
        if isinstance(value, Real) and not value.computed.isidentifier():
            value = self.program.define(key, value)
        self.names[key] = value

    def values(self, node: ast.expr) -> tuple[Value, ...]:
        """One value, or those of a tuple."""
        match node:
            case ast.Tuple(elts=[high, low]) if (pair := self.pair(high, low)) is not None:
                return Part(pair, True), Part(pair, False)
            case ast.Tuple(elts=elements):
                return tuple(self.value(element) for element in elements)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in self.program.lemmas:
                pair = self.program.lemmas[name](self.program, self.reals(arguments))
                named = pair if pair.computed.isidentifier() else self.program.define(name, pair)
                return Part(named, True), Part(named, False)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name != "fma":
                return self.called(name, [self.value(argument) for argument in arguments])
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return self.values(body if self.decided(test) else orelse)
        return (self.value(node),)

    def called(self, name: str, arguments: list[Value]) -> tuple[Value, ...]:
        """A sum or product without an error, or a function that is followed into."""
        if name in EXACT:
            if not all(isinstance(argument, Real) for argument in arguments):
                raise UnknownCodeError(f"{name} of a part of a pair is not known here")
            a, b = (argument for argument in arguments if isinstance(argument, Real))
            whole = self.program.define(name, a.joined(EXACT[name], b))
            head = self.program.define(f"{name}_head", self.program.rounded(whole))
            return head, Real(f"({whole.computed} - {head.computed})", "0")
        function = self.outer.get(name)
        if not hasattr(function, "py_func"):
            raise UnknownCodeError(f"{name} is a function that is not known here")
        return _follow(self.program, function, arguments)

    def value(self, node: ast.expr) -> Value:
        text = ast.unparse(node)
        if text in self.program.given and not isinstance(node, ast.Name):
            self.program.seen.add(text)
            return self.program.given[text]
        match node:
            case ast.Name() | ast.Constant():
                return self.known(node)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                value = self.real(operand)
                return Real(f"(-{value.computed})", f"(-{value.exact})")
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                if isinstance(op, ast.Add) and (pair := self.same(left, right)) is not None:
                    return self.program.rounded(pair)
                return self.program.rounded(self.real(left).joined(_OPERATORS[type(op)], self.real(right)))
            case ast.Call(func=ast.Name(id="fma"), args=[a, b, c], keywords=[]):
                return self.program.rounded(self.real(a).joined("*", self.real(b)).joined("+", self.real(c)))
            case ast.Call() | ast.IfExp():
                values = self.values(node)
                if len(values) == 1:
                    return values[0]
        raise UnknownCodeError(f"{ast.unparse(node)!r} is an expression that is not known here")

    def known(self, node: ast.Name | ast.Constant) -> Value:
        """A name or a constant."""
        match node:
            case ast.Name(id=name) if name in self.names:
                return self.names[name]
            case ast.Name(id=name) if isinstance(self.outer.get(name), float):
                return self.program.constant(name, self.outer[name])
            case ast.Constant(value=float() as number):
                return self.program.constant(f"c{number!r}", number)
        raise UnknownCodeError(f"{ast.unparse(node)!r} is a name or a constant that is not known here; allowed: float64")

    def real(self, node: ast.expr) -> Real:
        """A float64; the high part of a pair is off from the pair by u at most."""
        value = self.value(node)
        if isinstance(value, Real):
            return value
        if not value.high:
            raise UnknownCodeError(f"{ast.unparse(node)!r} is the low part of a pair: nothing is known of it alone")
        return self.program.high(value.pair)

    def reals(self, nodes: Sequence[ast.expr]) -> list[Real]:
        """The arguments of a lemma: pairs of parts as one number each, and float64."""
        found, rest = [], list(nodes)
        while rest:
            pair = self.pair(rest[0], rest[1]) if len(rest) > 1 else None
            found.append(pair if pair is not None else self.real(rest[0]))
            del rest[: 1 if pair is None else 2]
        return found

    def pair(self, high: ast.expr, low: ast.expr) -> Real | None:
        """The sum of two parts of one pair, of both negated, of both times the same number, or of two constants."""
        match high, low:
            case ast.UnaryOp(op=ast.USub(), operand=a), ast.UnaryOp(op=ast.USub(), operand=b):
                inner = self.pair(a, b)
                return inner and Real(f"(-{inner.computed})", f"(-{inner.exact})")
            case ast.BinOp(op=ast.Mult()), ast.BinOp(op=ast.Mult()):
                return self.scaled(high, low)
            case ast.Name(id=name), ast.Constant(value=0.0) if isinstance(self.names.get(name), Real):
                return self.real(high)
            case ast.Name(id=a), ast.Name(id=b) if b == f"{a}_LOW":
                if self.outer[a] + self.outer[b] != self.outer[a]:
                    raise UnknownCodeError(f"{a} + {b} does not round to {a}: the two are no double-double")
                return self.real(high).joined("+", self.real(low))
        return self.same(high, low)

    def scaled(self, high: ast.BinOp, low: ast.BinOp) -> Real | None:
        """Both parts of a pair times one power of two, which is exact."""
        for factor, a, other, b in ((high.left, high.right, low.left, low.right), (high.right, high.left, low.right, low.left)):
            pair = self.same(a, b)
            if pair is not None and ast.dump(factor) == ast.dump(other):
                return self.real(factor).joined("*", pair)
        return None

    def same(self, high: ast.expr, low: ast.expr) -> Real | None:
        """The pair of which these are the two parts."""
        if not (isinstance(high, ast.Name) and isinstance(low, ast.Name)):
            return None
        a, b = self.names.get(high.id), self.names.get(low.id)
        both = isinstance(a, Part) and isinstance(b, Part) and a.high and not b.high and a.pair == b.pair
        return a.pair if both and isinstance(a, Part) else None

    def decided(self, test: ast.expr) -> bool:
        text = ast.unparse(test)
        if text not in self.program.taken:
            raise UnknownCodeError(f"{text!r} is a condition of which the proof does not say which way it goes")
        self.program.seen.add(text)
        return self.program.taken[text]


def assigned(function: Any, name: str) -> ast.expr:
    """The expression that a function assigns to a name, once."""
    plain = getattr(function, "py_func", function)
    found = [
        node.value
        for node in ast.walk(ast.parse(source_of(plain)))
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [name]
    ]
    if len(found) != 1:
        raise UnknownCodeError(f"{plain.__name__} assigns {name} {len(found)} times; allowed: once")
    return found[0]
