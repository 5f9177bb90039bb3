"""`python -m otgan`."""

from otgan.cli import main

if __name__ == "__main__":
    main()
