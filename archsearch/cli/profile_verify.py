"""``profile --verify``: our counts against the built module, torch and fvcore; and modules outside the vocabulary."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archsearch.amounts import apportioned, apportioned_macs, scaled
from archsearch.cli.columns import TableText
from archsearch.errors import ArchError, ModelError

if TYPE_CHECKING:
    from torch import nn

    from archsearch.cost import Conditions
    from archsearch.latency.profile import Profile
    from archsearch.models.foreign import ModuleCount
    from archsearch.models.verify import Verification

FACTORY = re.compile(r"(?P<module>[A-Za-z_][\w.]*):(?P<name>[A-Za-z_]\w*)")


def verified(profile: Profile) -> str:
    """Check every operator of a profile; the sentence that says what agreed.

    Raises:
        CostError: counters differ, or an operator is unknown to one of them.
    """
    from dataclasses import replace

    with quiet_libraries():
        from archsearch.models.verify import verify

        found = verify(profile.arch, replace(profile.conditions, passes=1))
    return summary(found)


def summary(found: Verification) -> str:
    """What was compared and found equal."""
    return (
        f"verified: {found.params:,} parameters equal the built module's; all {found.executed:,} operators that it "
        f"executes are those counted; the MACs of {len(found.operators):,} convolutions, linear layers and attentions "
        f"equal those of torch {found.torch_version} (FlopCounterMode) and fvcore {found.fvcore_version}, one by one"
    )


def is_foreign(ref: str) -> ArchError | bool:
    """Whether ``ref`` is outside the vocabulary: True for ``module:factory``, the refusal for a diffusers config."""
    if FACTORY.fullmatch(ref) and not Path(ref).exists():
        return True
    path = Path(ref)
    file = path / "config.json" if path.is_dir() else path
    if file.suffix != ".json" or not file.is_file():
        return False
    from archsearch.arch import resolve

    try:
        resolve(ref)
    except ArchError as error:
        return error
    return False


def count_foreign(ref: str, conditions: Conditions) -> ModuleCount:
    """Count a module that the vocabulary does not cover.

    Args:
        ref: a diffusers folder or config.json, or ``package.module:factory`` where the factory returns a torch module
            and the keyword arguments of one forward pass.
        conditions: of the inputs of a diffusers model.

    Raises:
        ModelError: it cannot be built.
        CostError: it runs an operator for which no counter has a formula.
    """
    with quiet_libraries():
        from archsearch.models.foreign import count_module, diffusers_inputs, diffusers_module

        match = FACTORY.fullmatch(ref)
        if match and not Path(ref).exists():
            module, inputs = _made(ref, match["module"], match["name"])
        else:
            module = diffusers_module(Path(ref))
            inputs = diffusers_inputs(module, conditions)
        return count_module(module, inputs)


def _made(ref: str, module_name: str, name: str) -> tuple[nn.Module, Mapping[str, Any]]:
    import importlib
    import sys

    from torch import nn

    sys.path.insert(0, str(Path.cwd()))
    try:
        factory = getattr(importlib.import_module(module_name), name)
        made = factory()
    except Exception as error:  # whatever the user's module raises
        raise ModelError("the factory failed", where=ref, got=f"{type(error).__name__}: {error}") from error
    finally:
        sys.path.remove(str(Path.cwd()))
    fits = isinstance(made, tuple) and len(made) == 2
    if not (fits and isinstance(made[0], nn.Module) and isinstance(made[1], Mapping)):
        raise ModelError("a factory returns a torch module and a mapping of its inputs", where=ref,
                         got=type(made).__name__, allowed="(module, {'sample': tensor, ...})")  # fmt: skip
    return made[0], made[1]


def foreign_json(ref: str, count: ModuleCount) -> dict[str, Any]:
    """The object ``archsearch.module/1``."""
    return {
        "schema": "archsearch.module/1",
        "name": ref,
        "counter": "torch FlopCounterMode on the meta device",
        "totals": {
            "params": count.params,
            "macs": count.macs,
            "macs_without_attention": count.macs_without_attention,
        },
        "rows": [
            {
                "name": row.name,
                "kind": row.kind,
                "params": row.params,
                "macs": row.macs,
                "macs_without_attention": row.macs_without_attention,
            }
            for row in count.rows
        ],
    }


def foreign_table(ref: str, count: ModuleCount) -> TableText:
    """Rows by the first two parts of the module path."""
    sums: dict[str, list[int]] = {}
    for row in count.rows:
        entry = sums.setdefault(".".join(row.name.split(".")[:2]) or "(itself)", [0, 0, 0])
        for i, value in enumerate((row.params, row.macs, row.macs_without_attention)):
            entry[i] += value
    macs, plain = apportioned_macs([e[1] / 1e9 for e in sums.values()], [e[2] / 1e9 for e in sums.values()])
    columns = [apportioned([e[0] / 1e6 for e in sums.values()], 3), macs, plain]
    rows = tuple((name, *(column[i] for column in columns)) for i, name in enumerate(sums))
    total = ("total", *(f"{sum(round(float(c) * 1000) for c in column) / 1000:.3f}" for column in columns))
    title = f"{ref}: {scaled(count.params)} parameters, {scaled(count.macs)} MACs, counted by torch on the meta device"
    return TableText(("module", "params M", "MACs G", "without att. G"), rows, total, frozenset({1, 2, 3}), title)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep the chatter of imported libraries off the terminal."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
