"""`python -m ensembles_api.generate [--check] [--root DIR]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from ensembles_api.generate import chart, crd, kustomize, reasons_page, reference

FILES: Mapping[str, Callable[[], str]] = {
    f"crds/{crd.FILE_NAME}": crd.text,
    "charts/ensemble-operator/templates/crd.yaml": chart.crd_template,
    "docs/api-reference.md": reference.page,
    "docs/reasons.md": reasons_page.page,
    "examples/gitops/kustomize/base/references.yaml": kustomize.references,
}
"""Generated files, by their path in the repository."""


def stale(root: Path) -> list[str]:
    """Generated files that are absent from the repository at `root` or differ from what would be written."""
    return [
        name
        for name, text in FILES.items()
        if not (root / name).is_file() or (root / name).read_text(encoding="utf-8") != text()
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ensembles_api.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 naming files out of date")
    parser.add_argument("--root", type=Path, default=Path(), help="the repository (default: here)")
    options = parser.parse_args(arguments)
    if not (options.root / "crds" / "pyproject.toml").is_file():
        parser.error(f"{options.root.resolve()} is not the repository; go there, or name it with --root")
    files = stale(options.root)
    for name in files:
        if options.check:
            sys.stderr.write(f"{name} is out of date: run `python -m ensembles_api.generate`\n")
        else:
            file = options.root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(FILES[name](), encoding="utf-8")
            sys.stdout.write(f"{name} written\n")
    return 1 if files and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
