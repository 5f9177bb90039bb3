"""What `make docs` checks beside MkDocs: that commands in the pages are commands, and that links of
README and CONTRIBUTING lead somewhere.

MkDocs calls these functions (`hooks` in mkdocs.yml). What they find is a warning, and a warning
ends a strict build. A command is a line that begins with `$ otgan`, or with `otgan` in an indented
block: its words are parsed as they would be on a terminal, and not run.
"""

from __future__ import annotations

import logging
import re
import shlex
from pathlib import Path
from typing import Any

import click

from otgan.cli.group import COMMANDS, load, main

TOP = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
COMMAND = re.compile(r"^(?:\$ |    )otgan (.*)$", re.M)
LINK = re.compile(r"\]\(([^)\s#]+)[^)]*\)")

log = logging.getLogger("mkdocs.hooks.docs_check")


def on_pre_build(config: Any) -> None:
    """Check the pages at the top of the repository, which MkDocs does not see as they are."""
    root = Path(config.config_file_path).parent
    for name in TOP:
        text = (root / name).read_text()
        for link in LINK.findall(text):
            if "://" not in link and not (root / link).exists():
                log.warning("%s links to %s, which is not there", name, link)
        check_commands(text, name)


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Check a page of docs/."""
    del config, files
    check_commands(markdown, page.file.src_uri)
    return markdown


def check_commands(text: str, where: str) -> None:
    """Warn of every command that the program would refuse."""
    for line in COMMAND.findall(text.replace("\\\n", " ")):
        words = shlex.split(line.split(" > ")[0], comments=True)
        try:
            parse(words)
        except (click.ClickException, KeyError) as error:
            said = (
                error.format_message()
                if isinstance(error, click.ClickException)
                else f"no command {error}"
            )
            log.warning("%s: otgan %s: %s", where, " ".join(words), said)


def parse(words: list[str]) -> None:
    """Parse the words of a command line; raises ClickException or KeyError where they are none."""
    load(COMMANDS)
    command: click.Command = main
    while isinstance(command, click.Group):
        command, words = command.commands[words[0]], words[1:]
    command.make_context(command.name, list(words))
