"""Tables for people: columns whose printed numbers add up to the printed totals, as text, Markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from math import floor

UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "K"))


def scaled(value: float, digits: int = 3) -> str:
    """``859520964`` -> ``859.521 M``."""
    for size, unit in UNITS:
        if abs(value) >= size:
            return f"{value / size:.{digits}f} {unit}"
    return f"{value:.0f}"


def apportioned(values: Sequence[float], digits: int, target: int | None = None) -> list[str]:
    """Round so that the printed values add up to the rounded total (largest remainders are rounded up).

    ``target`` replaces that total, in units of the last digit.
    """
    scale = 10**digits
    exact = [value * scale for value in values]
    low = [floor(value) for value in exact]
    missing = (round(sum(exact)) if target is None else target) - sum(low)
    by_remainder = sorted(range(len(exact)), key=lambda i: exact[i] - low[i], reverse=True)
    for i in by_remainder[: max(missing, 0)]:
        low[i] += 1
    for i in [i for i in reversed(by_remainder) if low[i] > 0][: max(-missing, 0)]:
        low[i] -= 1
    return [f"{value / scale:.{digits}f}" for value in low]


def apportioned_macs(macs: Sequence[float], plain: Sequence[float], digits: int = 3) -> tuple[list[str], list[str]]:
    """Both MAC columns: each adds up to its rounded total, and rows without attention show the same in both."""
    scale = 10**digits
    printed = apportioned(plain, digits)
    units = [round(float(value) * scale) for value in printed]
    products = [total - rest for total, rest in zip(macs, plain, strict=True)]
    shares = apportioned(products, digits, round(sum(macs) * scale) - sum(units))
    both = [
        f"{(unit + round(float(share) * scale)) / scale:.{digits}f}" for unit, share in zip(units, shares, strict=True)
    ]
    return both, printed


@dataclass(frozen=True)
class TableText:
    """A header, rows of cells and a closing row of totals; ``numeric`` columns are right-aligned."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    total: tuple[str, ...] | None = None
    numeric: frozenset[int] = frozenset()
    title: str = ""

    def text(self) -> str:
        """A box for the terminal (plain where the output is not a terminal)."""
        from rich import box
        from rich.cells import cell_len
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(
            box=box.SIMPLE_HEAD,
            show_footer=self.total is not None,
            pad_edge=False,
        )
        for i, name in enumerate(self.header):
            footer = self.total[i] if self.total else ""
            table.add_column(Text(name), footer=Text(footer), justify="right" if i in self.numeric else "left",
                             no_wrap=True)  # fmt: skip
        for row in self.rows:
            table.add_row(*(Text(cell) for cell in row))
        out = io.StringIO()
        columns = zip(self.header, *self.rows, self.total or self.header, strict=True)
        longest = sum(max(cell_len(cell) for cell in column) + 4 for column in columns)
        Console(file=out, width=max(80, longest)).print(table)
        lines = [line.rstrip() for line in out.getvalue().splitlines()]
        head = f"{self.title}\n\n" if self.title else ""
        return head + "\n".join(lines).strip("\n") + "\n"

    def markdown(self) -> str:
        """A GitHub table."""
        rule = ["---:" if i in self.numeric else "---" for i in range(len(self.header))]
        rows = [self.header, tuple(rule), *self.rows]
        if self.total:
            rows.append(tuple(f"**{cell}**" if cell else "" for cell in self.total))
        lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
        return (f"### {self.title}\n\n" if self.title else "") + "\n".join(lines) + "\n"


def csv_text(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Comma-separated values with a header."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()
