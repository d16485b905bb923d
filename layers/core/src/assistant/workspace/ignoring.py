"""What is not worth keeping: rules in the syntax of `.gitignore`, ours first, then the workspace's `.clawignore`."""

from __future__ import annotations

from pathspec import GitIgnoreSpec
from pathspec.patterns.gitignore import GitIgnorePatternError

RULES_FILE = ".clawignore"
MOST_RULES_BYTES = 65_536

DEFAULTS = """\
# What can be fetched or made again
node_modules/
__pycache__/
*.pyc
.venv/
.cache/
.npm/
.pytest_cache/
.mypy_cache/
.ruff_cache/
/tmp/
.DS_Store
# What belongs to a database that is open
*-wal
*-shm
*.db-journal
*.sqlite-journal
*.sqlite3-journal
"""
"""A rule in `.clawignore` that begins with `!` takes one back."""


class Ignoring:
    """Says what is ignored by the defaults and by the rules of a workspace."""

    def __init__(self, rules: str = "") -> None:
        self.rules = rules
        self._spec = GitIgnoreSpec.from_lines([*DEFAULTS.splitlines(), *filter(_is_rule, rules.splitlines())])
        self._known: dict[str, bool] = {}

    def __call__(self, path: str) -> bool:
        """Whether a path, relative to the workspace, is ignored; a folder's ends with a slash."""
        if (ignored := self._known.get(path)) is None:
            ignored = self._known[path] = self._spec.match_file(path)
        return ignored


def _is_rule(line: str) -> bool:
    """A line that is no rule is passed over, as git does."""
    try:
        GitIgnoreSpec.from_lines([line])
    except GitIgnorePatternError:
        return False
    return True
