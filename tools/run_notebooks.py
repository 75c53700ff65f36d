"""Runs notebooks once from a fresh kernel, keeps their outputs and normalises the files.

    python tools/run_notebooks.py [NN ...]              (no number: all of them)
    python tools/run_notebooks.py --measure [NN ...]    (changes no file: prints a table)

A notebook that fails is left as it was. The table has the seconds and the peak memory of each
notebook's own process, as Linux counts it.
"""

import re
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


def executed(path):
    """A notebook after a run from a fresh kernel, and the peak memory of that in MiB."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.update(outputs=[], execution_count=None)
    peak = 0

    def look(**cell):
        nonlocal peak
        status = Path(f"/proc/{client.km.provisioner.pid}/status")
        if status.exists():
            peak = int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) // 1024

    client = NotebookClient(notebook, timeout=900, kernel_name="python3", record_timing=False,
                            resources={"metadata": {"path": NOTEBOOKS}}, on_cell_executed=look)
    try:
        client.execute()
    except (CellExecutionError, CellTimeoutError) as error:
        sys.exit(f"{path.name} failed and was left as it was.\n{error}")
    return notebook, peak


def main(numbers, measure=False):
    if measure:
        print("| notebook | seconds | peak MiB |\n|---|---|---|")
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        if not numbers or path.name[:2] in numbers:
            start = time.perf_counter()
            notebook, peak = executed(path)
            seconds = time.perf_counter() - start
            if measure:
                print(f"| {path.stem} | {seconds:.0f} | {peak:,} |", flush=True)
                continue
            nbformat.write(notebook, path)
            subprocess.run([sys.executable, "-m", *NORMALISE, path], check=True)
            size = path.stat().st_size / 1000
            print(f"{path.name}: {seconds:.0f} s, {peak:,} MiB, {size:.0f} KB", flush=True)


if __name__ == "__main__":
    main([word for word in sys.argv[1:] if word != "--measure"], "--measure" in sys.argv)
