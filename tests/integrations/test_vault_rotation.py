"""Keys are changed while secrets are read and replaced, by a process that may be killed at any moment."""

import os
import random
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connections

from config.env import BASE_DIR
from integrations import operations, vault
from integrations.lookups import data_keys_due
from integrations.models import Connection, ConnectionSecret, DataKey
from integrations.vault.masters import LocalKey, ring
from integrations.vault_keys import decode
from tenants.ids import uuid7
from tenants.models import AuditEvent, Tenant
from tenants.scope import tenant_scope
from tenants.secret import Secret
from tests.factories import ACTOR, make_connection
from tests.integrations.test_vault import new_master

SECONDS_FOR_10_000 = 60.0
Known = dict[uuid.UUID, tuple[uuid.UUID, str]]
"""By connection: whose it is, and its plain secret."""


def seed(tenants: int, each: int) -> Known:
    """Tenants with sealed secrets, written in bulk."""
    known: Known = {}
    for number in range(tenants):
        tenant = Tenant(id=uuid7(), name=f"Tenant {number}", plan="pro")
        with tenant_scope(tenant.pk):
            tenant.save(force_insert=True)
            keys = vault._keys()
            made = [Connection(id=uuid7(), tenant_id=tenant.pk, provider="prospeo") for _ in range(each)]
            for place, one in enumerate(made):
                one.key_hash = f"{place:016}"
                known[one.pk] = (tenant.pk, f"secret-{uuid.uuid4()}")
            Connection.objects.bulk_create(made)
            ConnectionSecret.objects.bulk_create(
                ConnectionSecret(tenant_id=tenant.pk, connection=one, sealed=sealed_by(keys.data, one, known))
                for one in made
            )
            DataKey.objects.update(created_at=datetime.now(UTC) - timedelta(days=2))
    return known


def sealed_by(data_key: bytes, one: Connection, known: Known) -> bytes:
    return vault.seal(data_key, known[one.pk][1].encode(), vault._secret_binding(one.provider, one.pk))


def opens(connection_id: uuid.UUID, known: Known) -> bool:
    tenant_id, plain = known[connection_id]
    with tenant_scope(tenant_id):
        return vault.open_connection_secret(Connection.objects.get(pk=connection_id)).reveal() == plain


class Readers:
    """Threads that open secrets as lanes do, and one that replaces some as people do."""

    def __init__(self, known: Known, threads: int) -> None:
        self.known, self.stop = known, threading.Event()
        self.opened, self.replaced, self.problems = Counter[str](), 0, list[str]()
        self.fixed = list(known)[len(known) // 10 :]
        self.changing = list(known)[: len(known) // 10]
        self.threads = [threading.Thread(target=self._read, args=(str(n),)) for n in range(threads)]
        self.threads.append(threading.Thread(target=self._replace))

    def _read(self, name: str) -> None:
        pick = random.Random(name)
        self._until_stopped(lambda: self._read_one(name, pick.choice(self.fixed)))

    def _read_one(self, name: str, connection_id: uuid.UUID) -> None:
        if not opens(connection_id, self.known):
            self.problems.append("a secret came out wrong")
        self.opened[name] += 1

    def _replace(self) -> None:
        pick = random.Random("replace")
        self._until_stopped(lambda: self._replace_one(pick.choice(self.changing)))

    def _replace_one(self, connection_id: uuid.UUID) -> None:
        tenant_id, plain = self.known[connection_id][0], f"replaced-{uuid.uuid4()}"
        with tenant_scope(tenant_id):
            operations.replace_connection_secret(
                connection_id=connection_id, secret=Secret(plain), actor=ACTOR
            )
        self.known[connection_id] = (tenant_id, plain)
        self.replaced += 1
        time.sleep(0.01)

    def _until_stopped(self, work: Any) -> None:
        try:
            while not self.stop.is_set():
                work()
                time.sleep(0.005)
        except Exception as error:  # noqa: BLE001 - told by the test
            self.problems.append(repr(error))
        finally:
            connections.close_all()


@contextmanager
def reading(known: Known, threads: int = 2) -> Iterator[Readers]:
    readers = Readers(known, threads)
    for thread in readers.threads:
        thread.start()
    try:
        yield readers
    finally:
        readers.stop.set()
        for thread in readers.threads:
            thread.join(20)


def command(keys: list[str], *options: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "manage.py", "rotate_secrets", *options],
        cwd=BASE_DIR,
        env={**os.environ, "WEIR_VAULT_KEYS": ",".join(keys)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def kill_while_at_work(keys: list[str], left: Any, options: list[str]) -> int:
    """Start the command, kill it as soon as it has done something; how much is left."""
    before = left()
    process = command(keys, *options)
    try:
        while process.poll() is None and left() > before - 3:
            time.sleep(0.005)
    finally:
        process.kill()
        process.communicate()
    return left()


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--data-keys"]], ids=["master", "data"])
def test_rotation_goes_on_after_kills_and_no_reader_notices(
    committed: None, settings: Any, options: list[str]
):
    known = seed(tenants=120, each=3)
    old, new = settings.VAULT_KEYS[0], new_master()
    newest = LocalKey(decode(new)).id
    settings.VAULT_KEYS = [old, new]  # a process that was started before the new key came first

    def left() -> int:
        cut = datetime.now(UTC) - timedelta(days=1) if options else None
        return len(data_keys_due(known=[newest], before=cut, most=10_000))

    assert left() == 120
    with reading(known) as readers:
        rests = [kill_while_at_work([new, old], left, options) for _ in range(2)]
        process = command([new, old], *options)
        out, _ = process.communicate(timeout=90)
    assert rests == sorted(rests, reverse=True)
    assert 0 < rests[0] < 120
    assert process.returncode == 0, out
    assert f"Newest master key: {newest}" in out
    assert f"{rests[-1]} data keys" in out
    assert left() == 0
    assert (readers.problems, sum(readers.opened.values()) > 100, readers.replaced > 5) == ([], True, True)
    settings.VAULT_KEYS = [new]  # the old one is gone
    assert [one for one in known if not opens(one, known)] == []


@pytest.mark.campaign
@pytest.mark.parametrize("options", [[], ["--data-keys"]], ids=["master", "data"])
@pytest.mark.parametrize(("tenants", "each"), [(10_000, 1), (100, 100)])
def test_ten_thousand_secrets_take_less_than_a_minute(
    committed: None, settings: Any, options: list[str], tenants: int, each: int
):
    known = seed(tenants, each)
    old, new = settings.VAULT_KEYS[0], new_master()
    settings.VAULT_KEYS = [new, old]
    with reading(known, threads=2) as readers:
        began = time.monotonic()
        process = command([new, old], *options)
        out, _ = process.communicate(timeout=300)
        took = time.monotonic() - began
    print(
        f"{tenants:,} tenants, {each} each, {options}: {took:.1f} s, {sum(readers.opened.values()):,} opened\n{out}"
    )
    assert (process.returncode, readers.problems) == (0, [])
    settings.VAULT_KEYS = [new]
    sample = random.Random(1).sample(list(known), 500)
    assert all(opens(one, known) for one in sample)
    assert took <= SECONDS_FOR_10_000


def test_a_data_key_that_does_not_open_is_named_and_the_others_are_done(
    tenant: Tenant, other_tenant: Tenant, settings: Any, capsys: pytest.CaptureFixture[str]
):
    for whose in (tenant, other_tenant):
        make_connection(whose, "prospeo")
    with tenant_scope(tenant):
        DataKey.objects.update(wrapped=b"\x01" + bytes(60))
    settings.VAULT_KEYS = [new_master(), *settings.VAULT_KEYS]
    with pytest.raises(SystemExit) as caught:
        call_command("rotate_secrets")
    told = capsys.readouterr()
    assert caught.value.code == 1
    assert "1 data keys, 0 secrets sealed again, 1 data keys FAILED" in told.out
    assert str(tenant.pk) in told.err
    assert str(other_tenant.pk) not in told.err
    with tenant_scope(other_tenant):
        assert DataKey.objects.get().master_key_id == ring().newest.id
        assert AuditEvent.objects.get(verb="vault.rewrapped").actor == "system:rotate_secrets"


def test_young_data_keys_are_left_alone(tenant: Tenant, capsys: pytest.CaptureFixture[str]):
    make_connection(tenant, "prospeo")
    call_command("rotate_secrets", "--data-keys")
    assert " 0 data keys, 0 secrets" in capsys.readouterr().out
    call_command("rotate_secrets", "--data-keys", "--older-than", "0")
    assert " 1 data keys, 1 secrets" in capsys.readouterr().out


def test_rotation_without_the_needed_master_key_stops_before_anything(
    tenant: Tenant, settings: Any, capsys: pytest.CaptureFixture[str]
):
    make_connection(tenant, "prospeo")
    with tenant_scope(tenant):
        needed = DataKey.objects.get().master_key_id
    settings.VAULT_KEYS = [new_master()]
    with pytest.raises(CommandError, match=needed):
        call_command("rotate_secrets")


def test_due_keys_come_in_pages(tenant: Tenant, other_tenant: Tenant):
    for whose in (tenant, other_tenant):
        make_connection(whose, "prospeo")
    both = data_keys_due(known=[], most=10)
    assert len(both) == 2
    first = data_keys_due(known=[], most=1)
    assert first == both[:1]
    assert data_keys_due(known=[], after=first[0].tenant_id, most=1) == both[1:]
    assert data_keys_due(known=ring().ids, most=10) == []
    assert data_keys_due(known=ring().ids, before=datetime.now(UTC) + timedelta(days=1), most=10) == both
