"""The policy pages: the editor, the versions, and activation after a replay."""

from collections.abc import Callable

import pytest
import redis
from django.test import Client
from django.urls import reverse

from agents.models import Agent
from atom.ground.principal import Principal
from governance.judging import judge_action
from governance.models import Policy, PolicyInForce, PolicyReplay, PolicyVersion
from governance.policies import services
from governance.policies.replay import run_replay
from tests.governance.conftest import action_of
from tests.governance.test_admin import page, signed_in

ADD = "/admin/governance/policy/add/"
LIST = "/admin/governance/policy/"
GOOD = "version: 1\nrules:\n- name: no-pay\n  actions: [pay]\n  decision: deny\n"
BAD = GOOD + "  when: hour > 3 and\n    foo < 5\n"


def at(policy: Policy, verb: str) -> str:
    return reverse(f"admin:governance_policy_{verb}", args=[policy.pk])


@pytest.fixture
def version(alice: Principal) -> PolicyVersion:
    return services.save_policy(principal=alice, name="house", document=GOOD)


def test_a_mistake_is_shown_at_its_place_and_nothing_is_saved(alice: Principal) -> None:
    # A browser ends lines with two characters.
    answer = signed_in(alice).post(ADD, {"name": "house", "document": BAD.replace("\n", "\r\n")})
    html = answer.content.decode()
    assert "Line 7, column 5" in html
    assert 'data-line="7"' in html
    assert "&quot;line&quot;: 7, &quot;column&quot;: 5" in html
    assert "no field &#x27;foo&#x27;" in html
    assert "foo &lt; 5" in html
    assert not Policy.objects.exists()


def test_saving_leads_to_the_trial(alice: Principal) -> None:
    answer = signed_in(alice).post(ADD, {"name": "house", "document": GOOD})
    policy = Policy.objects.get()
    assert (answer.status_code, answer["Location"]) == (302, at(policy, "activate_one"))
    assert policy.latest.source == GOOD


def test_a_change_is_a_new_version_and_no_change_is_none(alice: Principal, version: PolicyVersion) -> None:
    client = signed_in(alice)
    client.post(at(version.policy, "change"), {"document": GOOD})
    assert version.policy.latest.number == 1
    client.post(at(version.policy, "change"), {"document": GOOD.replace("deny", "ask")})
    assert version.policy.latest.number == 2
    html = page(client, at(version.policy, "compare"))
    assert '<tr class="is-gone">' in html
    assert '<tr class="is-come">' in html
    assert "Version 2" in page(client, at(version.policy, "change"))


def test_activation_comes_after_the_replay(
    alice: Principal, version: PolicyVersion, make_agent: Callable[..., Agent], store: redis.Redis
) -> None:
    judge_action(action_of(make_agent(), "pay"))
    client, url = signed_in(alice), at(version.policy, "activate_one")
    assert 'name="activate"' not in page(client, url)
    client.post(url, {"activate": ""})
    assert not PolicyInForce.objects.exclude(active=None).exists()
    client.post(url)
    running = page(client, url)
    assert "0 of 0 decisions" in running
    assert "data-reload-after-ms" in running
    assert run_replay(PolicyReplay.objects.get().pk)
    html = page(client, url)
    assert "data-reload-after-ms" not in html
    assert '<span class="atom-badge is-deny">deny</span>' in html
    client.post(url, {"activate": ""})
    assert PolicyInForce.objects.get().active == version
    assert "active" in page(client, LIST)


def test_one_click_and_a_question_rolls_back(alice: Principal, version: PolicyVersion, store: redis.Redis) -> None:
    services.activate(policy=version.policy, principal=alice)
    services.save_policy(principal=alice, name="house", document=GOOD.replace("deny", "ask"))
    services.activate(policy=version.policy, principal=alice)
    client, url = signed_in(alice), at(version.policy, "roll_back_one")
    client.get(url)
    assert PolicyInForce.objects.get().active != version
    client.post(url)
    assert PolicyInForce.objects.get().active == version
    client.post(at(version.policy, "deactivate_one"))
    assert PolicyInForce.objects.get().active is None
    client.post(at(version.policy, "shadow_one"))
    assert PolicyInForce.objects.get().shadow == version.policy.latest


PAGES = ["change", "activate_one", "compare", "roll_back_one", "shadow_one", "deactivate_one"]


@pytest.mark.parametrize("verb", PAGES)
def test_mallory_finds_no_page_of_it(version: PolicyVersion, mallory: Principal, verb: str) -> None:
    client = signed_in(mallory)
    url = at(version.policy, verb)
    # Django's admin sends somebody who asks for a row that is not theirs to the start page.
    assert {client.get(url).status_code, client.post(url).status_code} <= {302, 404}
    assert not PolicyReplay.objects.exists()
    assert "house" not in page(client, LIST)


def test_an_approver_reads_and_does_not_write(version: PolicyVersion, bob: Principal) -> None:
    client: Client = signed_in(bob)
    assert "no-pay" in page(client, at(version.policy, "change"))
    assert client.get(ADD).status_code == 403
    assert client.post(at(version.policy, "activate_one")).status_code == 403
    assert not PolicyReplay.objects.exists()


def test_a_member_sees_no_policies(version: PolicyVersion, carol: Principal) -> None:
    assert signed_in(carol).get(LIST).status_code == 403
