"""The admin's page "Live": who gets it. What it does is seen in a browser, in `tests/live/test_browser.py`."""

from collections.abc import Callable

import pytest
from django.test import Client

from atom.ground.models import User
from atom.ground.principal import Principal


@pytest.fixture
def browser(db: None) -> Callable[[Principal], Client]:
    def make(who: Principal) -> Client:
        client = Client()
        client.force_login(User.objects.get(pk=who.user_id))
        return client

    return make


def test_operators_get_the_page_and_its_place_in_the_sidebar(
    browser: Callable[[Principal], Client], bob: Principal
) -> None:
    answer = browser(bob).get("/admin/live/")
    assert answer.status_code == 200
    assert 'data-socket="/ws/supervise/"' in answer.content.decode()
    assert 'href="/admin/live/"' in answer.content.decode()


def test_members_and_strangers_do_not_get_it(browser: Callable[[Principal], Client], carol: Principal) -> None:
    hers = browser(carol)
    assert hers.get("/admin/live/").status_code == 403
    assert 'href="/admin/live/"' not in hers.get("/admin/").content.decode()
    assert Client().get("/admin/live/").status_code == 302
