"""A phone model: the committed numbers that a modelled table is computed from (``model.yaml`` beside its rows).

``latency = scale * (overhead + FLOPs + activation bytes + weight bytes, each at the class's rate)``.  Every class of
operators says on what its rates rest: ``fitted`` on measured rows of this phone, ``carried`` over from other rows (the
``source`` says which), or ``unmeasured``.  Times are microseconds, 1 MB is 10^6 bytes, FLOPs are 2 x MACs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, cast, get_args

from archsearch.cost.op import Op
from archsearch.errors import LatencyError
from archsearch.latency.phones.terms import CLASSES, Terms, Winograd, op_class, terms
from archsearch.latency.rows import OpRow

SCHEMA = "archsearch.phone_model/1"
MODEL = "model.yaml"
BEYOND = 2.0  # the least band of operators with over twice the FLOPs of the largest measured one
Basis: TypeAlias = Literal["fitted", "carried", "unmeasured"]
RATES = ("overhead_us", "us_per_gflop", "us_per_mb_activations", "us_per_mb_weights")


@dataclass(frozen=True, kw_only=True)
class ClassModel:
    """The rates of one class.  ``band`` is the factor of the 80 % error band.

    ``largest_gflop`` is the largest row that was fitted, 0 where FLOPs do not matter.
    """

    overhead_us: float
    us_per_gflop: float
    us_per_mb_activations: float
    us_per_mb_weights: float
    band: float
    basis: Basis
    source: str
    largest_gflop: float = 0.0


@dataclass(frozen=True, kw_only=True)
class PhoneModel:
    """The model of one device configuration.  ``act_bytes`` and ``weight_bytes`` are bytes of one value.

    ``scale`` is what whole networks take over the sum of their operators.  ``winograd`` is the rule by which the
    runtime chooses that kernel, None where it never does or where none was measured.  ``on_chip_scores``: so many
    elements of attention scores never leave the chip.
    """

    name: str
    scale: float
    act_bytes: int
    weight_bytes: int
    winograd: Winograd | None
    on_chip_scores: int
    classes: Mapping[str, ClassModel]

    def row(self, op: Op) -> OpRow:
        """The modelled row of an operator, its error band in ``p10_ms`` and ``p90_ms``."""
        name = op_class(op, self.winograd, self.on_chip_scores)
        rates = self.classes[name]
        found = terms(op, self.on_chip_scores)
        latency_ms = self.scale * self._own_us(rates, found) / 1000
        band = rates.band
        if rates.largest_gflop and found.flops > 2e9 * rates.largest_gflop:
            band = max(band, BEYOND)
        return OpRow(
            op.key, op.kind, latency_ms, latency_ms / band, latency_ms * band, "modelled",
            graph=f"{name}: {rates.basis}",
        )  # fmt: skip

    def rows(self, ops: Iterable[Op]) -> list[OpRow]:
        """One row an operator."""
        return [self.row(op) for op in ops]

    def _own_us(self, rates: ClassModel, found: Terms) -> float:
        return (
            rates.overhead_us * found.calls
            + rates.us_per_gflop * found.flops / 1e9
            + rates.us_per_mb_activations * found.act_elements * self.act_bytes / 1e6
            + rates.us_per_mb_weights * found.weight_elements * self.weight_bytes / 1e6
        )


def load_model(folder: Path) -> PhoneModel:
    """The model of a table's folder.

    Raises:
        LatencyError: a missing, unknown or malformed field; names file, line and key.
    """
    from archsearch.files import load_yaml

    document = load_yaml(folder / MODEL, LatencyError)
    data = document.data

    def number(values: Mapping[str, object], path: tuple[str, ...], low: float = 0.0) -> float:
        value = values.get(path[-1])
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value < 1e12:
            raise LatencyError(f"must be a number, at least {low:g}", where=document.where(path), got=value)
        return float(value)

    def block(values: object, path: tuple[str, ...]) -> Mapping[str, object]:
        if not isinstance(values, dict):
            raise LatencyError("must be a mapping", where=document.where(path), got=values)
        return values

    if data.get("schema") != SCHEMA:
        raise LatencyError("another schema version", where=str(folder / MODEL), got=data.get("schema", "none"),
                           allowed=SCHEMA)  # fmt: skip
    rule = data.get("winograd")
    winograd = None
    if rule is not None:
        limits = block(rule, ("winograd",))
        winograd = Winograd(*(int(number(limits, ("winograd", name), 1)) for name in Winograd._fields))
    given = block(data.get("classes"), ("classes",))
    on_chip = int(number({"on_chip_scores": 0, **data}, ("on_chip_scores",)))
    unused = {"conv_winograd"} if winograd is None else set()
    needed = [name for name in CLASSES if name not in unused and (on_chip or name != "attention_small")]
    if sorted(given) != sorted(needed):
        raise LatencyError("other classes", where=document.where(("classes",)), got=", ".join(sorted(given)),
                           allowed=", ".join(sorted(needed)))  # fmt: skip
    classes = {}
    for name in needed:
        values = block(given[name], ("classes", name))
        basis = values.get("basis")
        if basis not in get_args(Basis):
            raise LatencyError("unknown basis", where=document.where(("classes", name, "basis")), got=basis,
                               allowed=", ".join(get_args(Basis)))  # fmt: skip
        rates = [number(values, ("classes", name, rate)) for rate in RATES]
        band = number(values, ("classes", name, "band"), 1.0)
        largest = number({"largest_gflop": 0.0, **values}, ("classes", name, "largest_gflop"))
        classes[name] = ClassModel(
            overhead_us=rates[0], us_per_gflop=rates[1], us_per_mb_activations=rates[2], us_per_mb_weights=rates[3],
            band=band, basis=cast(Basis, basis), source=str(values.get("source", "")), largest_gflop=largest,
        )  # fmt: skip
    return PhoneModel(
        name=str(data.get("name")),
        scale=number(data, ("scale",), 1e-6),
        act_bytes=int(number(data, ("act_bytes",), 1)),
        weight_bytes=int(number(data, ("weight_bytes",), 1)),
        winograd=winograd,
        on_chip_scores=on_chip,
        classes=classes,
    )
