"""PyTorch's libraries in double precision throughout."""

import contextlib

import numpy
import torch


@contextlib.contextmanager
def double_precision():
    """What diffusers and transformers compute in single precision, whatever their weights have, is computed in double."""
    names = {torch: ("float32", "float", "complex64"), numpy: ("float32",), torch.Tensor: ("float",)}
    kept = [(place, name, getattr(place, name)) for place, found in names.items() for name in found]
    for name in ("float32", "float"):
        setattr(torch, name, torch.float64)
    torch.complex64, numpy.float32, torch.Tensor.float = torch.complex128, numpy.float64, torch.Tensor.double
    try:
        yield
    finally:
        for place, name, value in kept:
            setattr(place, name, value)
