"""What starts fast must not import what is slow."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "diffusers", "pandas", "scipy", "optuna", "sklearn", "pytorch_lightning", "plotly", "transformers")


@pytest.mark.parametrize(
    "argv",
    [
        ["--help"],
        ["profile", "--help"],
        ["profile", "sd15"],
        ["profile", "sd15", "--table", "host-xnnpack-fp32", "--json"],
        ["compare", "sd15", "bk-sdm-tiny"],
        ["archs", "show", "sd15"],
        ["spaces", "list"],
        ["latency", "list"],
    ],
    ids=" ".join,
)
def test_light_commands_import_nothing_heavy(argv: list[str]) -> None:
    code = (
        "import sys\n"
        "from archsearch.cli.main import main\n"
        f"sys.argv = ['archsearch', *{argv!r}]\n"
        "try:\n    main()\nexcept SystemExit as error:\n    assert not error.code, error.code\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
