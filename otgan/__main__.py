"""`python -m otgan`, and the command `otgan`."""

import sys

try:
    from otgan.signals import one_line
except KeyboardInterrupt:  # nobody handles signals yet, nor says a line
    sys.exit(130)


def main() -> None:
    """Run the command line. A signal ends it in one line, also while modules are imported."""
    with one_line():
        from otgan.cli import main as commands

        commands()


if __name__ == "__main__":
    main()
