"""What several tests share: problems, runs, folders, commands, scripts as modules, and programs
that tests start.
"""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
