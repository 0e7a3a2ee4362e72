"""Invariant 4: the composed peak equals a liveness analysis of the whole network's tensors."""

from math import prod

from hypothesis import given, settings
from hypothesis import strategies as st

from archsearch.arch import UNet
from archsearch.cost import Conditions, lower, totals
from tests.strategies import unets


def whole_network_peak(arch: UNet, conditions: Conditions) -> int:
    """Names every tensor of the network once, then asks at each operator which of them are still needed."""
    lowering = lower(arch, conditions)
    sizes: dict[int, int] = {}
    events: list[tuple[set[int], int, int]] = []  # reads, written tensor, workspace
    names = iter(range(10**9))

    def new(size: int) -> int:
        name = next(names)
        sizes[name] = size
        return name

    skips: list[int] = []
    current = None
    side = conditions.latent
    current_external = True
    for piece in lowering.pieces:
        if piece.step.role == "push":
            assert current is not None
            skips.append(current)
            continue
        trace = piece.trace
        local: dict[int, int] = {}
        if current_external or current is None:
            local[0] = new(prod(trace.shapes[0]))
            # the sample and the time step exist before their first operator runs
        else:
            local[0] = current
        outside = sorted(trace.outside)
        popped = skips.pop() if piece.step.role == "join" else None
        for tensor in outside:
            if popped is not None:
                local[tensor] = popped
        for traced in trace.ops:
            reads = {local[r] for r in traced.reads if r in local}
            local[traced.writes] = new(prod(trace.shapes[traced.writes]))
            workspace = traced.op.workspace if conditions.attention == "unfused" else 0
            events.append((reads, local[traced.writes], workspace))
        if piece.step.role == "embed":
            current_external = True
            continue
        current = local[trace.output]
        current_external = False
    assert side == conditions.latent
    last: dict[int, int] = {}
    first: dict[int, int] = {}
    for i, (reads, written, _) in enumerate(events):
        first.setdefault(written, i)
        for name in reads:
            last[name] = i
            first.setdefault(name, i)
        last.setdefault(written, i)
    if current is not None:
        last[current] = len(events)
    context = lowering.context
    base = context.batch * (context.time_width + context.text_tokens * context.text_width)
    return max(
        base + workspace + sum(sizes[n] for n in sizes if first.get(n, 10**9) <= i <= last.get(n, -1))
        for i, (_, _, workspace) in enumerate(events)
    )


@settings(max_examples=60, deadline=None)
@given(unets(), st.sampled_from(["fused", "unfused"]), st.integers(1, 2))
def test_composed_peak_equals_whole_network_liveness(arch: UNet, attention: str, batch: int) -> None:
    conditions = Conditions(latent=(12, 8), text=5, batch=batch, attention=attention)
    assert totals(lower(arch, conditions)).peak_activation_bytes == 4 * whole_network_peak(arch, conditions)
