"""``python -m benchmarks.phone_tables``: see :mod:`benchmarks.phone_tables.run`."""

from benchmarks.phone_tables.run import main

main()
