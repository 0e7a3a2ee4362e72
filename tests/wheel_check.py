"""Builds the wheel and the sdist, installs the wheel in a fresh environment and uses it from another directory.

Run by ``make test``.  The fresh environment sees the heavy dependencies of the current one through a path file, so
that nothing is downloaded again; archsearch itself comes from the wheel alone.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run(*args: str, cwd: Path | None = None) -> str:
    result = subprocess.run(args, cwd=cwd, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"failed ({result.returncode}): {' '.join(args)}\n{result.stdout}\n{result.stderr}")
    return result.stdout


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(sys.executable, "-m", "build", "--outdir", str(folder / "dist"), str(ROOT))
        (wheel,) = (folder / "dist").glob("*.whl")
        (_sdist,) = (folder / "dist").glob("*.tar.gz")
        names = zipfile.ZipFile(wheel).namelist()
        assert any(n.startswith("archsearch/_data/search_spaces/") for n in names), "spaces are missing in the wheel"
        assert any(n.startswith("archsearch/_data/latency_tables/") for n in names), "tables are missing in the wheel"
        environment = folder / "venv"
        venv.create(environment, with_pip=True)
        python = environment / "bin" / "python"
        run(str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel))
        site = Path(run(str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
        (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
        elsewhere = folder / "elsewhere"
        elsewhere.mkdir()
        where = run(str(python), "-c", "import archsearch; print(archsearch.__file__)", cwd=elsewhere).strip()
        assert Path(where).is_relative_to(environment), f"archsearch was imported from {where}"
        command = str(environment / "bin" / "archsearch")
        spaces = run(command, "spaces", "list", cwd=elsewhere)
        assert "mobilediffusion" in spaces, spaces
        tables = run(command, "latency", "list", cwd=elsewhere)
        table = "host-xnnpack-fp32"
        assert table in tables, tables
        profile = run(command, "profile", "sd15", "--table", table, "--json", cwd=elsewhere)
        assert '"params": 859520964' in profile, profile[:400]
        print("wheel: built, installed in a fresh environment and used from another directory")


if __name__ == "__main__":
    main()
