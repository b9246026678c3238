"""How a wait is told on stderr: words that are refreshed in place on a terminal, a line for each change elsewhere."""

import shutil
import sys
import textwrap

__all__ = ["Progress"]


class Progress:
    """The words on a wait."""

    def __init__(self) -> None:
        """Have said nothing."""
        self._on_terminal = sys.stderr.isatty()
        self._lines_drawn = 0
        self._told: str | None = None

    def waiting(self, why: str, key: str) -> None:
        """Say how the wait goes; ``key`` is the same while nothing of note has changed."""
        if self._on_terminal:
            self.clear()
            lines = textwrap.wrap(f"cf-orch: {why}", shutil.get_terminal_size().columns - 1, subsequent_indent="  ")
            sys.stderr.write("\n".join(lines))
            self._lines_drawn = len(lines)
        elif key != self._told:
            sys.stderr.write(f"cf-orch: {why}\n")
        self._told = key
        sys.stderr.flush()

    def note(self, what: str) -> None:
        """Say something that stays."""
        self.clear()
        print(f"cf-orch: {what}", file=sys.stderr, flush=True)

    @property
    def has_waited(self) -> bool:
        """True when a wait was told: then its end should be, too."""
        return self._told is not None

    def clear(self) -> None:
        """Take away what is refreshed."""
        if self._lines_drawn:
            up = f"\x1b[{self._lines_drawn - 1}A" if self._lines_drawn > 1 else ""
            sys.stderr.write(f"\r{up}\x1b[J")
            sys.stderr.flush()
            self._lines_drawn = 0
