"""What `make docs` adds to docs/: the pages that are kept at the top of the repository, and those that the program itself can say.

MkDocs calls these functions (`hooks` in mkdocs.yml). CHANGELOG.md and CONTRIBUTING.md become pages; the page of experiments is made of
their cards. Links from a page of docs/ to README.md lead to the site's first page.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from otgan import experiments

TOP = {"changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}
CARDS = "reference/experiments.md"
LABELS = {"paper": "From", "expect": "Expect", "measured": "It gave", "cost": "It takes", "note": "Note"}
INTRODUCTION = """# Experiments

Every named experiment, as `otgan list` and `otgan show NAME` have it: where it comes from, what to expect, what it gave when it was last
measured, and what it takes. `otgan run NAME` runs it. This page is made from the files in `experiments/`.
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/."""
    root = Path(config.config_file_path).parent
    pages = {page: (root / source).read_text().replace("](docs/", "](") for page, source in TOP.items()}
    for page, text in {**pages, CARDS: cards()}.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to README.md, which GitHub shows first, to what the site shows first."""
    del config, files
    up = "../" * page.file.src_uri.count("/")
    return re.sub(r"\]\((?:\.\./)+README\.md", f"]({up}index.md", markdown)


def cards() -> str:
    """The page of experiments, grouped by data."""
    groups: dict[str, list[str]] = {}
    for name in experiments.names():
        found = experiments.resolve(name)
        said = [f"- **{label}:** {text}" for key, label in LABELS.items() if (text := getattr(found.card, key))]
        entry = f"### `{name}`\n\n{found.card.title}.\n\n" + "\n".join(said)
        groups.setdefault(found.data.kind, []).append(entry)
    return "\n\n".join([INTRODUCTION, *("\n\n".join([f"## On `{data}`", *entries]) for data, entries in groups.items())]) + "\n"
