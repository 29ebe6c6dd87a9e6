"""What starting a job costs, adapter by adapter: processor seconds of its imports, and the modules it leads to.

    python tests/benchmarks/bench_imports.py [--before CHECKOUT]

With another checkout (of an earlier version, say) both are measured in turns, by the same Python. Seconds are processor
time, so that a busy machine does not count; the smallest of three tries is taken, as the first one reads from the disk.
"""

import argparse
import ast
import resource
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "workflow_scripts"))

from leam import code  # noqa: E402

TRIES = 3


def imports_of(adapter: Path) -> str:
    """The adapter's import statements alone."""
    return "\n".join(
        ast.unparse(node)
        for node in ast.parse(adapter.read_text()).body
        if isinstance(node, (ast.Import, ast.ImportFrom))
    )


def seconds(adapter: Path) -> float:
    """Processor seconds of a Python that imports what the adapter does."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", imports_of(adapter)], cwd=adapter.parent, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--before", type=Path, help="a checkout to compare with")
    given = parser.parse_args()
    checkouts = {"after": ROOT} | ({"before": given.before.resolve()} if given.before else {})
    total = dict.fromkeys(checkouts, 0.0)
    for adapter in sorted((ROOT / "workflow_scripts").glob("*.py")):
        for name, checkout in checkouts.items():
            path = checkout / "workflow_scripts" / adapter.name
            if path.exists():
                spent = min(seconds(path) for _ in range(TRIES))
                total[name] += spent
                size = len(code.closure(path, path.parent / "leam"))
                print(f"figure {adapter.stem}_{name}_imports {spent:.2f} CPU-s")
                print(f"figure {adapter.stem}_{name}_closure {size} modules", flush=True)
    for name, spent in total.items():
        print(f"figure all_adapters_{name}_imports {spent:.1f} CPU-s")
    if len(total) == 2:
        print(f"figure all_adapters_imports_less {total['before'] / total['after']:.2f} times")


if __name__ == "__main__":
    main()
