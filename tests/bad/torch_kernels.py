"""Kernels for PyTorch that return what cannot be judged, or raise; each does what its name says."""

from __future__ import annotations

import sys

import torch
import torch.nn.functional as F

from adapters.limits import limits


def returns_none(logits, target, **options):
    F.cross_entropy(logits, target, **options)


def returns_a_float(logits, target, **options):
    return 0.5


def returns_a_tuple(logits, target, **options):
    return F.cross_entropy(logits, target, **options), None


def returns_a_list(logits, target, **options):
    return F.cross_entropy(logits, target, **options).tolist()


def returns_an_array(logits, target, **options):
    return F.cross_entropy(logits, target, **options).detach().numpy()


def returns_a_scalar(logits, target, **options):
    return F.cross_entropy(logits, target)


def returns_a_column(logits, target, **options):
    return F.cross_entropy(logits, target, **options)[..., None]


def returns_the_logits(logits, target, **options):
    return logits * 1


def returns_float64(logits, target, **options):
    return F.cross_entropy(logits, target, **options).double()


def returns_integers(logits, target, **options):
    return F.cross_entropy(logits, target, **options).long()


def returns_no_values(logits, target, **options):
    """PyTorch raises NotImplementedError where a tensor of device meta is read: it was taken for a limit."""
    return torch.empty(logits.shape[:1], device="meta")


def returns_a_sparse_tensor(logits, target, **options):
    return F.cross_entropy(logits, target, **options).to_sparse()


def is_detached(logits, target, **options):
    return F.cross_entropy(logits, target, **options).detach()


class _Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits, target):
        ctx.save_for_backward(logits, target)
        return F.cross_entropy(logits, target, reduction="none")

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream):
        logits, target = ctx.saved_tensors
        return upstream[:, None] * (torch.softmax(logits, 1) - F.one_hot(target, logits.shape[1])), None


def has_no_hessian(logits, target, **options):
    return _Once.apply(logits, target)


class _Broken(_Once):
    @staticmethod
    def backward(ctx, upstream):
        return {}["saved"]


def raises_in_backward(logits, target, **options):
    return _Broken.apply(logits, target)


def raises(logits, target, **options):
    return {"tile": 128}["block_size"]


def raises_without_a_word(logits, target, **options):
    raise AssertionError


def recurses(logits, target, **options):
    return recurses(logits, target, **options)


def stops_iteration(logits, target, **options):
    return next(iter(()))


def exits(logits, target, **options):
    sys.exit(3)


class _OfNoExceptionClass(BaseException):
    pass


def raises_no_exception(logits, target, **options):
    raise _OfNoExceptionClass("gone")


def skips(logits, target, **options):
    import pytest

    pytest.skip("not today")


def takes_one(logits):
    return logits


def takes_no_reduction(logits, target):
    return F.cross_entropy(logits, target, reduction="none")


def changes_its_input(logits, target, **options):
    with torch.no_grad():
        logits -= logits.amax(dim=1, keepdim=True)
    return F.cross_entropy(logits.clone(), target, **options)


@limits("no options", options=[])
def prints(logits, target, reduction):
    print("INTERNAL", logits.shape)
    return F.cross_entropy(logits, target, reduction=reduction)


class IsAClass:
    def __call__(self, logits, target, **options):
        return F.cross_entropy(logits, target, **options)


is_a_number = 5
