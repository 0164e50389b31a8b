"""The guide's examples, each run as it is written; and its pages, which need nobody else's servers."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from django.test import Client

from config.api_docs import PAGES
from config.api_errors import CODES
from config.env import BASE_DIR
from integrations.webhooks.sender import Sender
from tests.api.fuzz import web
from tests.factories import make_key
from workflows.lanes.runner import Runner

GUIDE = (BASE_DIR / "docs" / "api" / "guide.md").read_text()
_EXPORT = re.compile(r"^export (\w+)=(\S+)$", re.MULTILINE)
_BLOCK = re.compile(r"^```(\w+)(?: file=(\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PORT = 8_931


def jobs():
    """(heading, [(language, file name or "", code)]) of each section that has examples."""
    for section in re.split(r"^## ", GUIDE, flags=re.MULTILINE)[1:]:
        blocks = _BLOCK.findall(section)
        if blocks:
            yield section.partition("\n")[0], blocks


def exported(heading, **values):
    """What a section has its reader put into the shell, with a reader's own values in place of what it shows."""
    section = next(
        text for text in re.split(r"^## ", GUIDE, flags=re.MULTILINE) if text.startswith(f"{heading}\n")
    )
    shown = dict(_EXPORT.findall(section))
    for name, value in values.items():
        assert value.startswith(shown[name].partition("…")[0]) or "…" not in shown[name]
    return shown | values


def run(argv, folder, environment):
    done = subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{argv[-1]}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def bash(code, folder, environment):
    return run(["bash", "-euo", "pipefail", "-c", code], folder, environment)


def until_open(port):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError("nobody listens")


def test_the_five_jobs_have_an_example_in_each_language():
    found = {heading: {language for language, _, _ in blocks} for heading, blocks in jobs()}
    assert len(found) == 6
    assert all(languages == {"bash", "python"} for languages in found.values())


@pytest.fixture
def running(committed, tenant, sandbox, tmp_path, monkeypatch, settings):
    """The environment of a newcomer's shell: a key, the address of a running Weir with its engine; and a folder."""
    monkeypatch.setenv("WEIR_WEBHOOKS_TO_LOOPBACK", "true")  # of the web process
    settings.WEBHOOKS_TO_LOOPBACK = True  # of the sender in this one
    runner, sender = Runner(), Sender()
    folder = tmp_path / "shell"
    folder.mkdir()
    try:
        with web(tmp_path) as (url, _):
            runner.start()
            sender.start()
            yield folder, {
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(folder),
                **exported("Your first call", WEIR_KEY=make_key(tenant), WEIR_URL=url),
            }  # fmt: skip
    finally:
        sender.stop()
        runner.stop()


def test_the_examples_do_what_they_say(running):
    folder, environment = running
    sections = dict(jobs())
    first = sections.pop("Your first call")
    begin = next(code for language, _, code in first if language == "python")
    assert '"name":"Acme"' in bash(first[0][2], folder, environment)
    assert run([sys.executable, "-c", begin], folder, environment) == "Acme\n"

    receiver, said = None, {}
    told = "Be told when a run is done"
    try:
        for heading, blocks in sections.items():
            files = [(name, code) for _, name, code in blocks if name]
            for name, code in files:
                (folder / name).write_text(code)
            for language, name, code in blocks:
                if heading == told:
                    environment["HOOK_URL"] = f"http://127.0.0.1:{PORT}/weir"
                if language == "bash":
                    said[heading] = bash(code, folder, environment)
                if language == "bash" and files:
                    secret = json.loads(said[heading])["secret"]
                    environment |= exported(
                        told, WEIR_WEBHOOK_SECRET=secret, HOOK_URL=environment["HOOK_URL"], PORT=str(PORT)
                    )
                    with (folder / "got").open("w") as got:
                        receiver = subprocess.Popen(
                            [sys.executable, files[0][0]], cwd=folder,
                            env=environment, stdout=got, stderr=subprocess.STDOUT,
                        )  # fmt: skip
                    until_open(PORT)
                if language == "python" and not name:
                    said[f"{heading}, Python"] = run(
                        [sys.executable, "-c", begin + code], folder, environment
                    )
        deadline = time.monotonic() + 20
        while "run.completed" not in (folder / "got").read_text():
            assert time.monotonic() < deadline, (said, (folder / "got").read_text())
            time.sleep(0.1)
    finally:
        if receiver:
            receiver.send_signal(signal.SIGTERM)
            receiver.wait(timeout=10)
    lines = {heading: text.splitlines() for heading, text in said.items()}
    assert lines["Connect your vendors, Python"][1].startswith("True ")
    assert '"status":"queued"' in said["Look people up"]
    assert lines["Look people up, Python"][1].startswith("completed ")
    assert (folder / "results.csv").read_text("utf-8-sig").startswith("first_name,last_name")
    assert '"status":"queued"' in said["Bring a CSV file"]
    assert lines["Bring a CSV file, Python"][1].startswith("1 rows, ")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_the_documentation_is_served_from_here(db, name):
    answer = Client().get(f"/api/docs/{name}/" if name else "/api/docs/")
    assert answer.status_code == 200
    page = answer.content.decode()
    assert "{{" not in page
    assert not re.search(r'(?:src|href)="(?:https?:)?//', page)
    assert "'unsafe-inline'" not in answer["Content-Security-Policy"]


def test_the_pages_say_what_the_files_say(db):
    assert Client().get("/api/docs/nope/").status_code == 404
    errors = Client().get("/api/docs/errors/").content.decode()
    assert all(f"<code>{code}</code>" in errors for code in CODES)
    guide = Client().get("/api/docs/").content.decode()
    assert 'href="/api/docs/errors/"' in guide
    assert 'id="be-told-when-a-run-is-done"' in guide
