import os
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def test_what_benchmarks_import_is_there_and_make_bench_runs_what_is_there(tmp_path: Path):
    names = sorted(path.stem for path in BENCHMARKS.glob("*.py"))
    code = "import importlib\n" + "".join(f"importlib.import_module({name!r})\n" for name in names)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(BENCHMARKS), str(BENCHMARKS.parent)])}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    asked = (BENCHMARKS.parent / "Makefile").read_text().split("benchmarks/")[1:]
    assert {line.split(".py")[0] for line in asked} <= set(names)
