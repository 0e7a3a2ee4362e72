"""Public phone measurements: read into rows, and the models that the shipped phone tables are computed from."""

from archsearch.latency.phones.imports import devices, head, import_rows, recognise

__all__ = ["devices", "head", "import_rows", "recognise"]
