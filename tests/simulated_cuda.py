"""A simulated CUDA device for CPU builds of PyTorch: real numbers on "cuda:0", and an error where CUDA raises one.

    with simulated() as log:
        task = ToySSL(batch, "cuda:0")
        log.clear()
        task.advance(0)
    assert log.num_waits <= 3

A tensor made on the device is a wrapper: PyTorch's C++ side sees the `meta` device, so that autograd and vmap run
without a CUDA build, and Python sees cuda:0. Every ATen call reaches `_Simulation`, which refuses mixed devices and CPU
generators as CUDA does, computes on the CPU tensor inside, and counts kernels, copied bytes, and the places where the
host waits for the device, by line of this project.
"""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

CUDA = torch.device("cuda", 0)
PROJECT = "/werank_core/"

VIEWS = {
    "view", "_unsafe_view", "reshape", "expand", "slice", "select", "transpose", "permute", "t", "unsqueeze", "squeeze",
    "detach", "alias", "as_strided", "unbind", "split", "split_with_sizes", "diagonal", "unfold", "movedim", "mT",
    "lift_fresh", "_reshape_alias", "chunk", "narrow", "expand_as", "numpy_T",
}  # fmt: skip
WITHOUT_KERNEL = {
    "empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided", "is_same_size", "sym_size", "set_",
    "resize_", "_has_compatible_shallow_copy_type", "size", "stride",
}  # fmt: skip
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}
COPIES = {"copy_", "_to_copy", "_copy_from", "_copy_from_and_resize"}
# The size of the result, or the success of the computation, is known on the device first.
WAITS_INSIDE = {
    "nonzero", "masked_select", "unique_dim", "_unique2", "unique_consecutive", "bincount", "repeat_interleave",
    "linalg_eigh", "_linalg_eigh", "linalg_svd", "_linalg_svd",
}  # fmt: skip


class CudaError(RuntimeError):
    """What CUDA would have raised."""


@dataclass
class Log:
    """What ran on the device: counts by (what, line of the project)."""

    kernels: Counter[tuple[str, str]] = field(default_factory=Counter)
    waits: Counter[tuple[str, str]] = field(default_factory=Counter)
    copied_bytes: int = 0

    @property
    def num_kernels(self) -> int:
        """Kernels launched."""
        return self.kernels.total()

    @property
    def num_waits(self) -> int:
        """Times the host waited for the device."""
        return self.waits.total()

    def clear(self) -> None:
        """Start counting anew."""
        self.kernels.clear()
        self.waits.clear()
        self.copied_bytes = 0


class _OnDevice(Tensor):
    """A tensor on the simulated device; `numbers` holds what is in it."""

    numbers: Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]  # torch's own stub

    @staticmethod
    def __new__(cls: type["_OnDevice"], numbers: Tensor) -> "_OnDevice":
        wrapper: _OnDevice = torch.Tensor._make_wrapper_subclass(
            cls, numbers.size(), strides=numbers.stride(), storage_offset=numbers.storage_offset(), dtype=numbers.dtype,
            layout=numbers.layout, device=torch.device("meta"), requires_grad=False,
        )  # fmt: skip
        wrapper.numbers = numbers
        return wrapper

    device = property(lambda self: CUDA)
    is_cuda = property(lambda self: True)
    is_meta = property(lambda self: False)

    def __repr__(self) -> str:  # type: ignore[override]
        return f"cuda:0 {self.numbers!r}"

    def numpy(self, *_: Any, **__: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")

    __array__ = numpy

    def tolist(self) -> Any:
        return self.detach().cpu().tolist()

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch declares a plain function and calls a class method
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if _Simulation.current is None:
            raise RuntimeError(f"{func}: a tensor of the simulated device outside of the simulation")
        return _Simulation.current.run(func, args, kwargs or {})


class _Simulation(TorchDispatchMode):  # type: ignore[no-untyped-call]
    current: "_Simulation | None" = None

    def __init__(self, log: Log) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.log = log

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.run(func, args, kwargs or {})

    def run(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Check, count, compute on the CPU, wrap what stays on the device."""
        name = func._schema.name.split("::")[1]
        flat, structure = tree_flatten((args, kwargs))
        mine = [x for x in flat if isinstance(x, _OnDevice)]
        others = [x for x in flat if isinstance(x, Tensor) and not isinstance(x, _OnDevice)]
        asked = None if kwargs.get("device") is None else torch.device(kwargs["device"]).type
        if mine and others and name not in COPIES:
            self._check_mixed(func, name, args, others)
        self._check_generator(func, flat, on_device=bool(mine) or asked in ("cuda", "meta"))
        stays = self._stays(name, args, kwargs, mine, asked)
        if stays:
            self._count(func, name, args)
        plain = [x.numbers if isinstance(x, _OnDevice) else x for x in flat]
        inner_args, inner_kwargs = tree_unflatten(plain, structure)
        if asked in ("cuda", "meta"):
            inner_kwargs = {k: v for k, v in inner_kwargs.items() if k != "pin_memory"} | {"device": "cpu"}
        result = func(*inner_args, **inner_kwargs)
        if not stays:
            return result
        known = {id(numbers): outer for outer, numbers in zip(flat, plain, strict=True) if isinstance(outer, _OnDevice)}
        return tree_map_only(Tensor, lambda t: known[id(t)] if id(t) in known else _OnDevice(t), result)

    def _stays(self, name: str, args: Any, kwargs: dict[str, Any], mine: Sequence[Tensor], asked: str | None) -> bool:
        """Whether the result is on the device; counts copies and reads of single numbers."""
        if name in ("copy_", "_to_copy"):
            source = args[1] if name == "copy_" else args[0]
            target = isinstance(args[0], _OnDevice) if name == "copy_" else asked in ("cuda", "meta")
            target = target or (name == "_to_copy" and isinstance(source, _OnDevice) and asked != "cpu")
            if isinstance(source, _OnDevice) != target:
                waiting = not (kwargs.get("non_blocking") or (name == "copy_" and len(args) > 2 and args[2]))
                self._copied(source, "to the device" if target else "to the host", waiting or not target)
            return target
        if name in ("_local_scalar_dense", "item", "equal", "is_nonzero") and mine:
            self._wait(name)
            return False
        return asked in ("cuda", "meta") or (bool(mine) and asked != "cpu")

    def _copied(self, source: Tensor, where: str, waiting: bool) -> None:
        self.log.copied_bytes += source.numel() * source.element_size()
        if waiting:
            self._wait(f"copy {where}")

    def _wait(self, why: str) -> None:
        self.log.waits[why, _line()] += 1

    def _check_generator(self, func: Any, flat: Sequence[Any], *, on_device: bool) -> None:
        generators = [x for x in flat if isinstance(x, torch.Generator)]
        if on_device and any(generator.device.type == "cpu" for generator in generators):
            raise CudaError(f"Expected a 'cuda' device type for generator but found 'cpu' ({func}) at {_line()}")

    def _check_mixed(self, func: Any, name: str, args: Any, others: Sequence[Tensor]) -> None:
        if name in INDEXING:
            return self._check_indices(func, args, others)
        if all(x.dim() == 0 for x in others) and torch.Tag.pointwise in func.tags:
            return None  # a number that happens to be a tensor
        raise CudaError(f"Expected all tensors to be on the same device, cuda:0 and cpu ({func}) at {_line()}")

    def _check_indices(self, func: Any, args: Any, others: Sequence[Tensor]) -> None:
        if not isinstance(args[0], _OnDevice):
            raise CudaError(f"indices should be on cpu or on the device of the indexed tensor at {_line()}")
        values = [x for x in tree_flatten(args[2:])[0] if isinstance(x, Tensor) and not isinstance(x, _OnDevice)]
        if any(x.dim() > 0 for x in values):
            raise CudaError(f"Expected all tensors to be on the same device ({func}) at {_line()}")
        for index in others:
            if index.dim() > 0:
                self._copied(index, "of an index to the device", waiting=True)

    def _count(self, func: Any, name: str, args: Any) -> None:
        if name in VIEWS or func.is_view or name in WITHOUT_KERNEL:
            return
        self.log.kernels[str(func), _line()] += 1
        if name in WAITS_INSIDE:
            self._wait(name)
        if name in INDEXING:
            indices = tree_flatten(args[1])[0]
            masks = [x for x in indices if isinstance(x, Tensor) and x.dtype in (torch.bool, torch.uint8)]
            if masks:
                self._wait("boolean mask")


def _line() -> str:
    """The innermost line of the project on the stack; a backward pass that autograd runs has none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if PROJECT in frame.f_code.co_filename:
            return f"{frame.f_code.co_filename.split(PROJECT)[1]}:{frame.f_lineno}"
        frame = frame.f_back
    return "autograd"


# Sparse CSR tensors cannot be subclassed: a matrix on the device is its parts, and its product an operator of our own.
_library = torch.library.Library("simulated_cuda", "DEF")  # type: ignore[no-untyped-call]
_library.define(  # type: ignore[no-untyped-call]
    "csr_mm(Tensor indptr, Tensor indices, Tensor values, Tensor dense, int rows, int columns) -> Tensor"
)
_csr_tensor, _sparse_mm, _new_tensor = torch.sparse_csr_tensor, torch.sparse.mm, Tensor.new_tensor


@torch.library.impl(_library, "csr_mm", "CPU")
def _csr_mm(indptr: Tensor, indices: Tensor, values: Tensor, dense: Tensor, rows: int, columns: int) -> Tensor:
    product: Tensor = _sparse_mm(_csr_tensor(indptr, indices, values, (rows, columns), check_invariants=False), dense)
    return product


@dataclass(frozen=True)
class _Csr:
    parts: tuple[Tensor, Tensor, Tensor]
    size: tuple[int, int]


def _make_csr(indptr: Tensor, indices: Tensor, values: Tensor, size: tuple[int, int], **options: Any) -> Any:
    parts = (indptr, indices, values)
    on_device = [isinstance(part, _OnDevice) for part in parts]
    if all(on_device):
        return _Csr(parts, size)
    if any(on_device):
        raise CudaError(f"sparse_csr_tensor: devices of indices and values must match at {_line()}")
    return _csr_tensor(indptr, indices, values, size, **options)


def _make_mm(matrix: Any, dense: Tensor, *rest: Any) -> Tensor:
    if isinstance(matrix, _Csr):
        product: Tensor = torch.ops.simulated_cuda.csr_mm(*matrix.parts, dense, *matrix.size)
    else:
        product = _sparse_mm(matrix, dense, *rest)
    return product


def _make_new_tensor(self: Tensor, data: Any, *, device: Any = None, **options: Any) -> Tensor:
    if device is None and self.device.type in ("cuda", "meta"):
        options = {"dtype": self.dtype} | {name: value for name, value in options.items() if value is not None}
        return torch.tensor(data, device=CUDA, **options)
    return _new_tensor(self, data, device=device, **options)


@contextmanager
def simulated(free: int = 8 * 2**30, total: int = 16 * 2**30) -> Iterator[Log]:
    """Inside, "cuda:0" exists, with so many bytes of memory; gives what runs on it."""
    log = Log()
    simulation = _Simulation(log)
    replaced = {
        "torch.cuda._lazy_init": lambda: None,
        "torch.cuda.is_available": lambda: True,
        "torch.cuda.device_count": lambda: 1,
        "torch.cuda.mem_get_info": lambda device=None: (free, total),
        "torch.cuda.synchronize": lambda device=None: simulation._wait("synchronize"),
        "torch.sparse_csr_tensor": _make_csr,
        "torch.sparse.mm": _make_mm,
        "torch.Tensor.new_tensor": _make_new_tensor,
        "torch.Tensor.pin_memory": lambda self, device=None: self,
    }
    with ExitStack() as stack:
        for name, function in replaced.items():
            stack.enter_context(mock.patch(name, function))
        torch._C._set_only_lift_cpu_tensors(True)
        stack.callback(torch._C._set_only_lift_cpu_tensors, False)
        stack.enter_context(mock.patch.object(_Simulation, "current", simulation))
        stack.enter_context(simulation)
        yield log
