"""Backends that say of themselves, or return, what is not allowed; each does what its name says."""

from __future__ import annotations

import numpy as np

from adapters.adapter import Adapter, Call, Result
from adapters.operation import Operation
from reference import FLOAT64, Arithmetic, Quantity

_LOGSUMEXP = Quantity.LOGSUMEXP


def _operation(name="my_logsumexp", **changes):
    declared = {"arithmetic": {"float64": Arithmetic(FLOAT64, FLOAT64)}, "quantities": (_LOGSUMEXP,)}
    return Operation(name, "my_logsumexp(x)", None, **(declared | changes))


class Right(Adapter):
    name = "mine"

    def devices(self):
        return ("cpu",)

    def versions(self):
        return {"mine": "1.0"}

    def operations(self):
        return (_operation(),)

    def values(self, question):
        with np.errstate(all="ignore"):
            return np.logaddexp.reduce(question.problem.logits, axis=1)

    def call(self, question):
        return Call({_LOGSUMEXP: Result(self.values(question), "float64", "cpu")})


class LeavesOutMethods(Adapter):
    name = "mine"


class HasASpaceInItsName(Right):
    name = "my backend"


class KeepsNoDevice(Right):
    def __init__(self, device):
        pass


class _Says(Right):
    """Says one thing wrong."""

    def __init_subclass__(cls, **said):
        super().__init_subclass__()
        for method, value in said.items():
            setattr(cls, method, lambda self, *_, _value=value: _value)


class DevicesNone(_Says, devices=None): ...


class DevicesText(_Says, devices="cpu"): ...


class VersionsNone(_Says, versions=None): ...


class VersionsEmpty(_Says, versions={}): ...


class VersionsNumber(_Says, versions={"mine": 1.0}): ...


class OperationsNone(_Says, operations=None): ...


class OperationsEmpty(_Says, operations=()): ...


class OperationsOne(_Says, operations=_operation()): ...


class OperationsText(_Says, operations=("loss",)): ...


class OperationsTwice(_Says, operations=(_operation(), _operation())): ...


class OperationsSpace(_Says, operations=(_operation("my logsumexp"),)): ...


class OperationsSlash(_Says, operations=(_operation("my/logsumexp"),)): ...


class OperationsNumber(_Says, operations=(_operation(5),)): ...


class OperationsMode(_Says, operations=(_operation(mode="as it is"),)): ...


class OperationsNoQuantity(_Says, operations=(_operation(quantities=()),)): ...


class OperationsQuantity(_Says, operations=(_operation(quantities=("logsumexpp",)),)): ...


class OperationsDtype(_Says, operations=(_operation(arithmetic={"float46": Arithmetic(FLOAT64, FLOAT64)}),)): ...


class OperationsArithmetic(_Says, operations=(_operation(arithmetic={"float64": "exact"}),)): ...


class OperationsOption(_Says, operations=(_operation(options=frozenset({"class_weight"})),)): ...


class OperationsOptions(_Says, operations=(_operation(options=["reduction"]),)): ...


class CallNone(_Says, call=None): ...


class CallArray(_Says, call=np.zeros(1)): ...


class CallDictionary(_Says, call={_LOGSUMEXP: np.zeros(1)}): ...


class CallEmpty(_Says, call=Call({})): ...


class CallBareArray(_Says, call=Call({_LOGSUMEXP: np.zeros(1)})): ...


class CallList(_Says, call=Call({_LOGSUMEXP: Result([0.0], "float64", "cpu")})): ...


class CallIntegers(_Says, call=Call({_LOGSUMEXP: Result(np.zeros(1, dtype=int), "float64", "cpu")})): ...


class CallShape(_Says, call=Call({_LOGSUMEXP: Result(np.zeros((1, 1)), "float64", "cpu")})): ...


class CallDtype(_Says, call=Call({_LOGSUMEXP: Result(np.zeros(1), "double", "cpu")})): ...


class CallDevice(_Says, call=Call({_LOGSUMEXP: Result(np.zeros(1), "float64", "CPU")})): ...


class CallChanged(_Says, call=Call({_LOGSUMEXP: Result(np.zeros(1), "float64", "cpu")}, "logits")): ...


class CallRaises(Right):
    def call(self, question):
        return {}["handle"]
