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
        ["latency", "predict", "sd15", "--table", "host-xnnpack-fp32"],
        ["doctor"],
    ],
    ids=" ".join,
)
def test_light_commands_import_nothing_heavy(argv: list[str]) -> None:
    limit_mib = 150 if argv[0] in {"--help", "profile", "compare"} else 1000
    code = (
        "import sys\n"
        "from archsearch.cli.main import main\n"
        f"sys.argv = ['archsearch', *{argv!r}]\n"
        "try:\n    main()\nexcept SystemExit as error:\n    assert not error.code, error.code\n"
        "import pathlib, re\n"
        "status = pathlib.Path('/proc/self/status')\n"
        "found = re.search(r'VmHWM:\\s+(\\d+) kB', status.read_text()) if status.exists() else None\n"
        "peak_mib = int(found[1]) / 1024 if found else 0\n"
        f"assert peak_mib < {limit_mib}, f'{{peak_mib:.0f}} MiB at the peak'\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr
