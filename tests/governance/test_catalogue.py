import pytest

from governance.catalogue import KNOWN, Assessment, assess


@pytest.mark.parametrize(
    ("action", "complexity"),
    [
        ("read", 1),
        ("READ", 1),
        ("chat", 1),
        ("draft", 2),
        ("send_email", 3),
        ("Bulk_Update", 4),
        ("bulk_delete_users", 4),
        ("bulk-delete.users", 4),
        ("bulk delete users", 4),
        ("bulkDeleteUsers", 4),
        ("getHTTPPage", 1),
        ("DELETE_USERS", 4),
        ("get_and_delete", 4),
        ("delete_then_get", 4),
        ("sendEmailToAll", 3),
        ("device_camera_snap_now", 2),
    ],
)
def test_a_known_verb_gives_its_level(action: str, complexity: int) -> None:
    assert assess(action) == Assessment(complexity)


@pytest.mark.parametrize("action", ["frobnicate", "readiness", "deleted", "undelete", "email", "", "…", "sentinel_7"])
def test_an_unknown_verb_is_a_change_that_nobody_assessed(action: str) -> None:
    assert assess(action) == Assessment(3, is_known=False)


def test_an_exact_name_wins_over_the_verbs_inside_it() -> None:
    # `run` and `create` hide in neither; `shell_read` holds `read`, `memory_search` holds `search`.
    assert all(assess(name).complexity == level for name, level in KNOWN.items())
    assert assess("update_canvas") == Assessment(2)
    assert assess("update_canvas_now") == Assessment(3)


def test_every_level_has_its_names() -> None:
    assert {level: sum(found == level for found in KNOWN.values()) for level in (1, 2, 3, 4)} == {
        1: 14,
        2: 16,
        3: 24,
        4: 28,
    }
