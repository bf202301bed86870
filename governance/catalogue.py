"""What actions there are, and how complex each is: 1 read, 2 propose, 3 change, 4 dangerous."""

import re
from dataclasses import dataclass

READ, PROPOSE, CHANGE, DANGEROUS = 1, 2, 3, 4

LEVELS: dict[int, str] = {
    READ: """
        read search list get fetch summarize check verify lookup memory_search present_chart present_markdown
        shell_read chat""",
    PROPOSE: """
        analyze suggest draft generate recommend propose plan present_form browser_navigate browser_screenshot
        browser_extract update_canvas memory_remember device_camera_snap device_get_location
        device_send_notification""",
    CHANGE: """
        create update submit set edit move rename assign invite share send_email post_message send_message
        add_comment schedule upload submit_form browser_action browser_execute_script device_screen_record
        memory_forget shell_write shell_build shell_devops""",
    DANGEROUS: """
        delete remove drop purge wipe destroy execute run deploy transfer pay payment refund charge purchase
        invoice grant revoke approve terminal_command shell_delete write_code_file bulk_delete bulk_update
        execute_workflow device_execute_command canvas_execute_javascript transfer_owner""",
}
KNOWN: dict[str, int] = {name: level for level, names in LEVELS.items() for name in names.split()}

# Runs of letters or digits, with camelCase taken apart: `getHTTPPage` is get, HTTP, Page.
_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+|[^\W\d_a-zA-Z]+")


@dataclass(frozen=True, slots=True)
class Assessment:
    """How complex an action is. `is_known` is False when nobody assessed it."""

    complexity: int
    is_known: bool = True


def words_of(action: str) -> list[str]:
    """The words of an action's name, in lower case: `bulk-delete.Users` and `bulkDeleteUsers` have the same."""
    return [word.lower() for word in _WORD.findall(action)]


_KNOWN_WORDS: dict[tuple[str, ...], int] = {tuple(words_of(name)): level for name, level in KNOWN.items()}
_LONGEST = max(map(len, _KNOWN_WORDS))


def assess(action: str) -> Assessment:
    """The exact name first, in any case; else the highest level among the known names inside it as whole words.

    An action that nobody assessed is a change: it may be worse than it sounds.
    """
    exact = KNOWN.get(action.lower())
    if exact is not None:
        return Assessment(exact)
    words = words_of(action)
    inside = (
        _KNOWN_WORDS.get(tuple(words[start : start + length]), 0)
        for start in range(len(words))
        for length in range(1, _LONGEST + 1)
    )
    highest = max(inside, default=0)
    return Assessment(highest) if highest else Assessment(CHANGE, is_known=False)
