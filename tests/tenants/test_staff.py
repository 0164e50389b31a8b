"""Who makes staff: the ops login, by the console or a command; never a session of the app's, by ORM or by SQL."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.db import DatabaseError, connections

from tenants.models import User
from tenants.operations.people import create_user
from tenants.scope import ops_scope
from tests.factories import PASSWORD

pytestmark = pytest.mark.usefixtures("committed")
SECOND = "0199f000-0000-7000-8000-000000000001"


def ada() -> User:
    return create_user(email="ada@acme.example", password=PASSWORD)


def boss() -> User:
    return User.objects.create_superuser("boss@weir.example", PASSWORD)


def given(**rights: bool) -> Callable[[], Any]:
    def act() -> None:
        user = ada()
        for name, value in rights.items():
            setattr(user, name, value)
        user.save()

    return act


def sql(statement: str) -> Callable[[], Any]:
    def act() -> None:
        user, staff = ada(), boss()
        with connections["default"].cursor() as cursor:
            cursor.execute(statement, {"ada": user.pk, "boss": staff.pk, "other": SECOND})

    return act


def back_on() -> None:
    user = ada()
    with ops_scope("test"):
        User.objects.filter(pk=user.pk).update(is_active=False)
    User.objects.filter(pk=user.pk).update(is_active=True)


def in_a_group() -> None:
    with ops_scope("test"):
        group = Group.objects.create(name="Readers")
    ada().groups.add(group)


ACTS: dict[str, Callable[[], Any]] = {
    "staff": given(is_staff=True),
    "a superuser": given(is_superuser=True),
    "made as staff": lambda: User.objects.create_user("new@acme.example", PASSWORD, is_staff=True),
    "made as a superuser": lambda: User.objects.bulk_create([User(email="x@y.example", is_superuser=True)]),
    "by one statement": sql("UPDATE tenants_user SET is_staff = true WHERE id = %(ada)s"),
    "for everybody": sql("UPDATE tenants_user SET is_superuser = true"),
    "on conflict": sql(
        "INSERT INTO tenants_user SELECT (u).* FROM (SELECT u FROM tenants_user u WHERE id = %(boss)s) x "
        "ON CONFLICT (id) DO UPDATE SET is_staff = true"
    ),
    "the id of staff": sql("UPDATE tenants_user SET id = %(other)s WHERE id = %(boss)s"),
    "switched on again": back_on,
    "in a group": in_a_group,
    "a permission": lambda: ada().user_permissions.add(Permission.objects.all()[0]),
}


@pytest.mark.parametrize("act", ACTS)
def test_the_app_login_makes_nobody_staff(act: str) -> None:
    with pytest.raises(DatabaseError, match="The app login may not make staff"):
        ACTS[act]()
    assert not User.objects.filter(is_staff=True).exclude(email="boss@weir.example").exists()


def test_what_staff_do_themselves_goes_on() -> None:
    """Signing in, a new password, another name: whole rows are written back, rights and all."""
    staff = boss()
    staff.set_password("another long phrase")
    staff.save()
    User.objects.filter(pk=staff.pk).update(name="Boss")
    staff.refresh_from_db()
    assert staff.is_superuser
    staff.is_staff = staff.is_superuser = False  # less is allowed
    staff.save()
    staff.refresh_from_db()
    assert (staff.name, staff.is_staff, staff.check_password("another long phrase")) == ("Boss", False, True)


def test_operators_make_staff_by_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", PASSWORD)
    call_command("createsuperuser", email="first@weir.example", interactive=False, verbosity=0)
    made = User.objects.get(email="first@weir.example")
    assert made.is_staff
    assert made.is_superuser
    assert made.check_password(PASSWORD)
