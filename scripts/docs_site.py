"""What `make docs` adds to docs/: the pages that are kept at the top of the repository, and those
that the program itself can say.

MkDocs calls these functions (`hooks` in mkdocs.yml). CHANGELOG.md and CONTRIBUTING.md become pages.
The pages of experiments and of commands get the cards, and Click's own parameters. Links from a
page of docs/ to README.md lead to the site's first page.
"""

from __future__ import annotations

import re
from importlib import import_module
from inspect import cleandoc
from pathlib import Path
from typing import Any

import click

from otgan import experiments
from otgan.cli.group import COMMANDS, load, main
from otgan.named import names

TOP = {"changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}
LABELS = {
    "paper": "From",
    "expect": "Expect",
    "measured": "It gave",
    "cost": "It takes",
    "note": "Note",
}


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are not in docs/."""
    generated = import_module("mkdocs.structure.files").File.generated
    root = Path(config.config_file_path).parent
    for page, source in TOP.items():
        text = (root / source).read_text().replace("](docs/", "](")
        for other, name in TOP.items():
            text = text.replace(f"]({name}", f"]({other}")
        files.append(generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Add what a page of docs/ leaves to the program, and lead links to README.md to what the site
    shows first.
    """
    del config, files
    if make := MADE.get(page.file.src_uri):
        markdown = f"{markdown}\n\n{make()}\n"
    up = "../" * page.file.src_uri.count("/")
    return re.sub(r"\]\((?:\.\./)+README\.md", f"]({up}index.md", markdown)


def cards() -> str:
    """The cards of all experiments, grouped by data."""
    groups: dict[str, list[str]] = {}
    for name in names():
        found = experiments.resolve(name)
        said = [
            f"- **{label}:** {text}"
            for key, label in LABELS.items()
            if (text := getattr(found.card, key))
        ]
        entry = f"### `{name}`\n\n{found.card.title}.\n\n" + "\n".join(said)
        groups.setdefault(found.data.kind, []).append(entry)
    return "\n\n".join(
        "\n\n".join([f"## On `{data}`", *entries]) for data, entries in groups.items()
    )


def commands() -> str:
    """All commands, those of a group one after the other."""
    load(COMMANDS)
    return "\n\n".join(described(words, command) for words, command in walked(("otgan",), main))


def walked(
    words: tuple[str, ...], command: click.Command
) -> list[tuple[tuple[str, ...], click.Command]]:
    """All commands that do something, and the words that call them."""
    if not isinstance(command, click.Group):
        return [(words, command)]
    return [
        found
        for name, below in sorted(command.commands.items())
        for found in walked((*words, name), below)
    ]


def described(words: tuple[str, ...], command: click.Command) -> str:
    """A command's heading, how it is called, what it does, and its options."""
    context = click.Context(command, info_name=" ".join(words), show_default=True)
    usage = " ".join([*words, *command.collect_usage_pieces(context)])
    options = [
        option(found, context) for found in command.params if isinstance(found, click.Option)
    ]
    return "\n\n".join(
        [f"## {' '.join(words)}", f"    {usage}", cleandoc(command.help or ""), *options]
    )


def option(found: click.Option, context: click.Context) -> str:
    """An option, its values, its sentence and its default, as an entry of a definition list."""
    names = ", ".join([*found.opts, *found.secondary_opts])
    values = "" if found.is_flag else f" {found.make_metavar(context)}"
    default = found.get_help_extra(context).get("default")
    return f"`{names}{values}`\n:   {found.help}" + (
        f" Default: {default.strip('()')}." if default else ""
    )


MADE = {"reference/experiments.md": cards, "reference/commands.md": commands}
