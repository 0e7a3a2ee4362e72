"""Two independent counters of multiply-accumulates: torch's on the meta device, and fvcore's.

Neither is given real weights or computes anything, so that networks of any size are counted in bounded memory.
Both report by module path; attention products stand under the path of the attention layer.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from archsearch.errors import CostError

PRODUCTS = frozenset({"bmm", "baddbmm", "matmul", "scaled_dot_product_attention"})


class ModuleMacs(NamedTuple):
    """MACs of everything that runs inside one module, its submodules included.

    ``weighted`` are convolutions and linear layers, ``products`` multiply two activations (both halves of attention).
    """

    weighted: int
    products: int


def torch_macs(
    module: nn.Module, inputs: Mapping[str, Any], state: Mapping[str, Tensor] | None = None
) -> dict[str, ModuleMacs]:
    """MACs by module path ("" is the whole), half of ``FlopCounterMode``.

    Args:
        module: a module in eval mode, on the meta device unless ``state`` is given.
        inputs: keyword arguments of ``forward``, tensors on the meta device.
        state: parameters and buffers on the meta device to run the module with instead of its own.

    Raises:
        CostError: an operator that torch's counter has no formula for and that may multiply.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), _Strict(), FlopCounterMode(display=False) as counter:
        torch.func.functional_call(module, dict(state or {}), (), dict(inputs))
    root = type(module).__name__
    found: dict[str, ModuleMacs] = {}
    for name, flops in counter.get_flop_counts().items():
        path = "" if name in ("Global", root) else name.removeprefix(f"{root}.")
        macs = {str(op).removeprefix("aten."): count // 2 for op, count in flops.items()}
        found[path] = _split(macs)
    return found


def fvcore_macs(module: nn.Module, inputs: Mapping[str, Any]) -> dict[str, ModuleMacs]:
    """MACs by module path ("" is the whole) as fvcore counts them on a jit trace.

    fvcore counts a multiply-accumulate as one flop.  Its handles for norms and upsampling are left out, and it is
    given those for attention that it lacks.

    Args:
        module: a module on the meta device, in eval mode; it is moved to CPU without touching memory.
        inputs: keyword arguments of ``forward``.

    Raises:
        CostError: an operator that no handle knows.
    """
    wrapped = _Positional(module.to_empty(device="cpu"), inputs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch deprecates the jit that fvcore is built on
        from fvcore.nn import FlopCountAnalysis

        with torch.no_grad(), _TracedConvolutions(), _Shapes():
            analysis = FlopCountAnalysis(wrapped, wrapped.tensors())
            analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
            analysis.set_op_handle("aten::scaled_dot_product_attention", _sdpa_handle)
            analysis.set_op_handle("aten::baddbmm", _baddbmm_handle)
            counts = analysis.by_module_and_operator()
            unknown = sorted(set(analysis.unsupported_ops()) - _FVCORE_ZERO)
    if unknown:
        raise CostError("an operator that fvcore has no handle for", where="fvcore", got=", ".join(unknown))
    found = {}
    for name, macs in counts.items():
        if name in ("", "module") or name.startswith("module."):
            kept = {op: int(n) for op, n in macs.items() if op not in _FVCORE_NOT_MACS}
            found[name.removeprefix("module").removeprefix(".")] = _split(kept)
    return found


def _split(macs: Mapping[str, int]) -> ModuleMacs:
    products = sum(count for op, count in macs.items() if op in PRODUCTS)
    return ModuleMacs(sum(macs.values()) - products, products)


# ---- torch: no operator may count as zero in silence


class _Strict(TorchDispatchMode):
    """Refuses operators that neither have a formula nor are known to multiply nothing."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        from torch.utils.flop_counter import flop_registry

        packet = func.overloadpacket
        name = packet.__name__
        known = (
            packet in flop_registry
            or torch.Tag.pointwise in func.tags
            or func.is_view
            or name in _ZERO
            or name.startswith(_ZERO_PREFIXES)
        )
        if not known:
            raise CostError("an operator that torch's counter has no formula for", where="FlopCounterMode",
                            got=str(func))  # fmt: skip
        return func(*args, **(kwargs or {}))


# Selections, copies, reductions, norms, pooling and padding.
_ZERO = frozenset({
    "_fused_rms_norm", "_log_softmax", "_reshape_alias", "_safe_softmax", "_softmax", "_to_copy", "_unsafe_index",
    "_unsafe_view", "alias", "all", "amax", "amin", "any", "arange", "argmax", "argmin", "cat", "clone",
    "constant_pad_nd", "copy_", "cumsum", "detach", "device", "embedding", "empty", "empty_like", "empty_strided",
    "eye", "fill_", "flip", "full", "full_like", "gather", "index", "index_put_", "index_select", "lift_fresh",
    "linalg_vector_norm", "linspace", "masked_fill", "max", "mean", "min", "new_empty", "new_full", "new_ones",
    "new_zeros", "norm", "ones", "ones_like", "pixel_shuffle", "pixel_unshuffle", "prod", "rand", "rand_like",
    "randint", "randn", "randn_like", "reflection_pad1d", "reflection_pad2d", "repeat", "replication_pad2d",
    "roll", "scalar_tensor", "scatter", "sort", "split", "split_with_sizes", "stack", "std", "std_mean", "sum",
    "topk", "tril", "triu", "unbind", "var", "var_mean", "zero_", "zeros", "zeros_like",
})  # fmt: skip
_ZERO_PREFIXES = ("native_", "upsample_", "avg_pool", "max_pool", "_adaptive_avg_pool", "adaptive_", "_native_batch")


# ---- fvcore: a jit trace that computes shapes only

_FVCORE_NOT_MACS = frozenset({"group_norm", "layer_norm", "batch_norm", "upsample_nearest2d"})
_FVCORE_ZERO = frozenset({
    "aten::add", "aten::clone", "aten::cos", "aten::embedding", "aten::gelu", "aten::lift_fresh", "aten::mean",
    "aten::mish", "aten::mul", "aten::pad", "aten::pow", "aten::reciprocal", "aten::rsqrt", "aten::rsub",
    "aten::sigmoid", "aten::silu", "aten::sin", "aten::sqrt", "aten::sum", "aten::unflatten",
})  # fmt: skip


def _sdpa_handle(inputs: list[Any], outputs: list[Any]) -> int:
    batch, heads, tokens, head_dim = inputs[0].type().sizes()
    keys = inputs[1].type().sizes()[-2]
    return batch * heads * tokens * keys * (head_dim + inputs[2].type().sizes()[-1])


def _baddbmm_handle(inputs: list[Any], outputs: list[Any]) -> int:
    batch, rows, inner = inputs[1].type().sizes()
    return batch * rows * inner * inputs[2].type().sizes()[-1]


class _Positional(nn.Module):
    """A module whose tensors come as positional arguments, as jit wants them.

    jit drops what the output does not depend on (a text projection without attention to the text); sums of the parts'
    outputs, returned as well, keep it.
    """

    def __init__(self, module: nn.Module, inputs: Mapping[str, Any]) -> None:
        super().__init__()
        self.module = module
        self.leaves, self.spec = tree_flatten(dict(inputs))
        self.kept: list[Tensor] = []
        for part in module.children():
            part.register_forward_hook(self._keep)

    def _keep(self, part: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            self.kept.append(output.sum())

    def tensors(self) -> tuple[Tensor, ...]:
        return tuple(torch.zeros(x.shape, dtype=x.dtype) for x in self.leaves if isinstance(x, Tensor))

    def forward(self, *tensors: Tensor) -> Any:
        rest = iter(tensors)
        leaves = [next(rest) if isinstance(leaf, Tensor) else leaf for leaf in self.leaves]
        return self.module(**tree_unflatten(leaves, self.spec)), self.kept


class _TracedConvolutions(TorchFunctionMode):
    """Calls ``_convolution``, the name under which jit records convolutions, before anything can replace them."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.conv2d and not kwargs:
            x, weight, bias, stride, padding, dilation, groups = args
            return torch._convolution(
                x, weight, bias, stride, padding, dilation, False, (0, 0), groups, False, False, True, True
            )
        return func(*args, **(kwargs or {}))


class _Shapes(TorchDispatchMode):
    """Returns uninitialised tensors of the right shape instead of computing.

    Inside a jit trace sizes are tensors, which meta kernels refuse; so they run on a thread that is not traced.
    """

    def __init__(self) -> None:
        super().__init__()
        self._untraced = ThreadPoolExecutor(1)

    def __exit__(self, *exc: Any) -> None:
        super().__exit__(*exc)
        self._untraced.shutdown()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        sizes_only = all(x.dim() == 0 for x in tensors)
        if sizes_only or func.is_view or func._schema.is_mutable or func.overloadpacket.__name__ == "lift_fresh":
            return func(*args, **kwargs)
        return self._untraced.submit(_shape_of, func, args, kwargs).result()


def _shape_of(func: Any, args: Any, kwargs: Any) -> Any:
    with torch.no_grad():
        args, kwargs = tree_map(lambda x: x.to("meta") if isinstance(x, Tensor) else x, (args, dict(kwargs)))
        if "device" in kwargs:
            kwargs["device"] = torch.device("meta")
        out = func(*args, **kwargs)
        return tree_map(
            lambda x: torch.empty_strided(x.shape, x.stride(), dtype=x.dtype) if isinstance(x, Tensor) else x, out
        )
