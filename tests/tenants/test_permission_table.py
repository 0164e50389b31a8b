"""How far roles and scopes reach, at the edges of the one table."""

import pytest

from tenants.permissions import PERMISSIONS, RANKS, added_by, rank_of, role_allows, scopes_allow

ROLES = ("viewer", "editor", "admin")


def reached(role: str, *, is_owner: bool = False) -> set[str]:
    return {name for name in PERMISSIONS if role_allows(role, name, is_owner=is_owner)}


def test_each_role_reaches_further_than_the_one_below():
    viewer, editor, admin = (reached(role) for role in ROLES)
    owner = reached("admin", is_owner=True)
    assert viewer < editor < admin < owner == set(PERMISSIONS)
    assert editor - viewer == {
        "suppressions.change",
        "webhooks.send",
        "lanes.steer",
        "workflows.change",
        "runs.change",
    }
    assert owner - admin == {"tenant.transfer", "tenant.delete"}
    assert "keys.change" in admin - editor


def test_an_administrator_is_not_taken_for_the_owner():
    assert not role_allows("admin", "tenant.delete")
    assert [rank_of(role, is_owner=False) for role in ROLES] == [0, 1, 2]
    assert rank_of("viewer", is_owner=True) == RANKS.index("owner") == 3


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        ((), set()),
        (("read",), {"runs.read"}),
        (("write",), {"runs.change"}),
        (("admin",), {"keys.change"}),
        (("read", "write", "admin"), {"runs.read", "runs.change", "keys.change"}),
    ],
)
def test_a_key_does_what_its_scopes_name_and_no_scope_holds_another(
    scopes: tuple[str, ...], allowed: set[str]
):
    tried = ("runs.read", "runs.change", "keys.change", "tenant.delete", "members.read")
    assert {name for name in tried if scopes_allow(scopes, name)} == allowed


def test_a_permission_without_a_scope_is_for_people_alone():
    assert not scopes_allow(("read", "write", "admin", None), "members.read")  # type: ignore[arg-type]


def test_what_is_not_in_the_table_is_a_mistake_and_no_refusal():
    with pytest.raises(KeyError):
        role_allows("admin", "runs.fly")
    with pytest.raises(KeyError):
        scopes_allow(("read",), "runs.fly")


def test_a_role_is_told_by_what_it_adds():
    assert added_by("owner") == ["hand the tenant over to another administrator", "delete the tenant"]
    assert "start and steer runs" in added_by("editor")
    assert "start and steer runs" not in added_by("viewer") + added_by("admin")
