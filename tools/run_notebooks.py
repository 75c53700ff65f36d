"""Runs notebooks once from a fresh kernel, keeps their outputs and normalises the files.

    python tools/run_notebooks.py [NN ...]      (no number: all of them)

A notebook that fails is left as it was.
"""

import subprocess
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
import conftest  # noqa: E402, F401  the same environment for the kernels as in the tests

NOTEBOOKS = ROOT / "notebooks"
NORMALISE = ["nbstripout", "--keep-output", "--keep-count", "--keep-id",
             "--extra-keys", "metadata.widgets metadata.language_info.version"]


def run(path):
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.update(outputs=[], execution_count=None)
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", record_timing=False,
                            resources={"metadata": {"path": NOTEBOOKS}})
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError) as error:
        sys.exit(f"{path.name} failed and was left as it was.\n{error}")
    nbformat.write(notebook, path)
    subprocess.run([sys.executable, "-m", *NORMALISE, path], check=True)


def main(numbers):
    for path in sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")):
        if not numbers or path.name[:2] in numbers:
            start = time.perf_counter()
            run(path)
            seconds, kilobytes = time.perf_counter() - start, path.stat().st_size / 1000
            print(f"{path.name}: {seconds:.0f} s, {kilobytes:.0f} KB", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
