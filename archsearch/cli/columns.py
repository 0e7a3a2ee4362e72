"""Tables for people: columns whose printed numbers add up to the printed totals, as text, Markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass


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
