"""Why Atom cannot start, with the cure."""


class CannotStart(Exception):
    """One line for the person at the terminal: what is wrong, and what to do about it."""

    def __init__(self, problem: str, cure: str) -> None:
        super().__init__(f"atom: {problem} {cure}")
