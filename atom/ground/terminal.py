"""A line on the terminal that says how far a command has come."""

from django.core.management.base import OutputWrapper


class ProgressLine:
    """One line that is written over on a terminal; into a file or a pipe only its last state goes."""

    def __init__(self, out: OutputWrapper, subject: str) -> None:
        self._out = out
        self._subject = subject
        self._width = 0

    def show(self, done: int, total: int) -> None:
        """`done` of `total`; the last one ends the line."""
        line = f"{self._subject} {done}/{total}"
        if self._out.isatty():
            # Blanks cover what a longer line left behind.
            self._out.write(f"\r{line:<{self._width}}", ending="\n" if done == total else "")
            self._width = len(line)
        elif done == total:
            self._out.write(line)
        self._out.flush()
