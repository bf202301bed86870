"""`manage.py up` with real processes: it starts whole, tells what it cannot, and leaves nothing behind."""

import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from atom.supervisor.parts import free_port
from tests.live.instance import MANAGE, ROOT, Instance, wait_until

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("live")]

NewInstance = Callable[..., Instance]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_it_gets_ready(live_atom: Instance) -> None:
    assert httpx.get(f"{live_atom.url}/readyz", trust_env=False).json() == {"status": "ready", "failing": []}


def test_the_credentials_are_for_the_owner_alone(live_atom: Instance) -> None:
    assert mode(live_atom.home / "credentials.json") == 0o600
    assert set(live_atom.credentials()) == {"url", "admin_username", "admin_password", "access_token"}
    assert live_atom.credentials()["url"] == live_atom.url


def test_the_runtime_file_is_for_the_owner_alone(live_atom: Instance) -> None:
    assert mode(live_atom.home / "runtime.json") == 0o600


def test_every_part_runs(live_atom: Instance) -> None:
    for word in ("valkey-server", "local_model", "serve", "celery -A atom.celery --quiet worker", "beat"):
        assert live_atom.processes(word), word


def test_no_secret_shows_in_the_list_of_processes(live_atom: Instance) -> None:
    password = live_atom.runtime()["redis_url"].split(":")[2].split("@")[0]
    shown = [Path(f"/proc/{pid}/cmdline").read_text() for pid in live_atom.processes()]
    assert shown
    assert not any(secret in line for line in shown for secret in (password, live_atom.runtime()["local_api_key"]))


def test_the_embedded_model_answers(live_atom: Instance) -> None:
    runtime = live_atom.runtime()
    body = {"model": "smollm2", "messages": [{"role": "user", "content": "Say hi."}], "max_tokens": 8, "stream": True}
    with httpx.stream(
        "POST",
        f"{runtime['local_base_url']}/chat/completions",
        json=body,
        headers={"Authorization": f"Bearer {runtime['local_api_key']}"},
        timeout=60,
        trust_env=False,
    ) as answer:
        lines = [line for line in answer.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"


def test_the_embedded_model_wants_its_key(live_atom: Instance) -> None:
    answer = httpx.post(f"{live_atom.runtime()['local_base_url']}/chat/completions", json={}, trust_env=False)
    assert answer.status_code == 401


def test_the_doctor_finds_a_running_atom_healthy(live_atom: Instance) -> None:
    done = live_atom.manage("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WRONG" not in done.stdout


def test_the_audit_trail_can_be_verified_beside_it(live_atom: Instance) -> None:
    done = live_atom.manage("audit", "verify")
    assert (done.returncode, done.stdout.split(":")[0]) == (0, "whole")


def test_one_home_takes_one_up(live_atom: Instance) -> None:
    assert_refused(live_atom.manage("up", PORT=str(free_port())), "another `up` runs")


def test_an_unknown_socket_address_is_refused(live_atom: Instance) -> None:
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    assert httpx.get(f"{live_atom.url}/ws/nothing/", headers=upgrade, trust_env=False).status_code == 403


def test_daphne_serves_the_same_application(live_atom: Instance) -> None:
    port = str(free_port())
    environment = live_atom.environment | {"REDIS_URL": live_atom.runtime()["redis_url"]}
    command = [sys.executable, "-m", "daphne", "-b", "127.0.0.1", "-p", port, "atom.asgi:application"]
    daphne = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: answers(int(port)), 30, "daphne answers")
        assert httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).json()["status"] == "ready"
    finally:
        daphne.terminate()
        daphne.wait(10)


def test_a_killed_web_process_is_started_again(live_atom: Instance) -> None:
    [before] = live_atom.processes("serve --fd")
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: live_atom.processes("serve --fd") not in ([], [before]), 20, "another web process")
    wait_until(lambda: live_atom.readiness() == 200, 20, "ready again")


def test_sigterm_says_unready_first_then_drains_and_leaves_nothing(new_instance: NewInstance) -> None:
    instance = new_instance(WEB_CONCURRENCY="2")
    instance.start()
    instance.signal(signal.SIGTERM)
    wait_until(lambda: instance.readiness() == 503, 1, "unready while the port answers")
    assert instance.process is not None
    assert instance.process.wait(30) == 0
    assert instance.processes() == []
    assert not (instance.home / "runtime.json").exists()


@pytest.mark.chaos
def test_after_a_kill_nothing_lives_on_and_the_home_starts_again_as_it_was(new_instance: NewInstance) -> None:
    instance = new_instance()
    instance.start()
    credentials = instance.credentials()
    instance.kill()
    wait_until(lambda: instance.processes() == [], 5, "every child has died with its supervisor")
    instance.start()
    assert instance.credentials() == credentials
    assert instance.stop() == 0


def test_make_interrupted_alone_stops_it(new_instance: NewInstance, tmp_path: Path) -> None:
    instance = new_instance()
    (tmp_path / "Makefile").write_text(f"up:\n\t@exec {' '.join(MANAGE)} up\n")
    instance.start(["make", "-C", str(tmp_path), "up"])
    instance.signal(signal.SIGINT)
    assert instance.process is not None
    instance.process.wait(30)
    assert instance.processes() == []


def test_several_web_processes_serve_without_a_supervisor(live_atom: Instance) -> None:
    port = free_port()
    environment = live_atom.environment | {
        "REDIS_URL": live_atom.runtime()["redis_url"],
        "PORT": str(port),
        "WEB_CONCURRENCY": "2",
    }
    web = subprocess.Popen([*MANAGE, "serve"], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: answers(port), 30, "the port answers")
        assert len(live_atom.processes("serve --fd")) == 3
        web.terminate()
        assert web.wait(30) == 0
    finally:
        web.kill()


def test_a_taken_port_is_one_line_and_status_1(new_instance: NewInstance) -> None:
    instance = new_instance()
    with socket.create_server(("127.0.0.1", instance.port)):
        assert_refused(instance.manage("up"), f"port {instance.port} ")


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("DATABASE_URL", "sqlite:////nowhere/at/all.sqlite3", "DATABASE_URL"),
        ("DATABASE_URL", "nonsense://somebody:hidden@host/name", "DATABASE_URL"),
        ("DATABASE_URL", "postgres://somebody:hidden@127.0.0.1:1/name", "DATABASE_URL"),
        ("REDIS_URL", "redis://:hidden@127.0.0.1:1/0", "REDIS_URL"),
        ("REDIS_URL", "hidden", "REDIS_URL"),
        ("ATOM_HOME", "/dev/null/home", "ATOM_HOME"),
        ("ATOM_LOCAL_MODEL", "/nowhere/model.gguf", "ATOM_LOCAL_MODEL"),
    ],
)
def test_what_it_cannot_use_is_one_line_with_the_cure(
    new_instance: NewInstance, setting: str, value: str, says: str
) -> None:
    refused = new_instance().manage("up", **{setting: value})
    assert_refused(refused, says)
    assert "hidden" not in refused.stdout + refused.stderr


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=2, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def assert_refused(done: subprocess.CompletedProcess[str], says: str) -> None:
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert done.stderr.startswith("atom: ")
    assert says in done.stderr
