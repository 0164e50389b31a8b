"""`manage.py check` refuses a model whose rows could meet another tenant's, before there is a table."""

from typing import Any

import pytest
from django.apps import apps
from django.apps.registry import Apps
from django.db import models

from tenants.base import SameTenant, TenantOwned, owned_key
from tenants.isolation_checks import check_isolation, check_model
from workflows.models import Run


def test_the_project_passes_its_own_checks() -> None:
    assert check_isolation(None) == []


def model_of(called: str, /, **attributes: Any) -> type[models.Model]:
    """A model that only this test knows, with the project's own tenant-owned models beside it."""
    base = attributes.pop("base", TenantOwned)
    options = {"app_label": "tenants", "apps": Apps(), **attributes.pop("meta", {})}
    return type(called, (base,), {"__module__": __name__, "Meta": type("Meta", (), options), **attributes})


def ids(model: type[models.Model]) -> list[str | None]:
    return [problem.id for problem in check_model(model)]


def test_a_model_that_is_isolated_passes() -> None:
    assert (
        ids(
            model_of(
                "Gadget", name=models.CharField(max_length=8), meta={"constraints": [owned_key("gadget")]}
            )
        )
        == []
    )


def test_a_model_of_no_class_fails_the_check() -> None:
    loose = model_of("Loose", base=models.Model, name=models.TextField(), meta={"app_label": "workflows"})
    assert ids(loose) == ["weir.E001"]


def test_a_tenants_table_without_the_column_fails_the_check() -> None:
    assert ids(model_of("Loose", base=models.Model, isolation="tenant", name=models.TextField())) == [
        "weir.E002"
    ]


def test_a_junction_that_leads_to_no_tenant_fails_the_check() -> None:
    assert ids(model_of("Loose", base=models.Model, isolation="junction", name=models.TextField())) == [
        "weir.E003"
    ]


def test_a_relation_that_does_not_carry_the_tenant_along_fails_the_check() -> None:
    plain = model_of("Plain", run=models.ForeignKey(Run, models.CASCADE, related_name="+"))
    bare = model_of("Bare", run=models.ForeignKey(Run, models.CASCADE, db_constraint=False, related_name="+"))
    assert ids(plain) == ids(bare) == ["weir.E004"]


@pytest.mark.parametrize(
    ("field", "meta"),
    [
        (models.CharField(max_length=8, unique=True), {}),
        (models.CharField(max_length=8), {"unique_together": [("name", "tenant")]}),
        (
            models.CharField(max_length=8),
            {"constraints": [models.UniqueConstraint(fields=["name"], name="x")]},
        ),
        (
            models.CharField(max_length=8),
            {"constraints": [models.UniqueConstraint(models.F("name"), name="x")]},
        ),
    ],
)
def test_a_value_that_is_unique_over_all_tenants_fails_the_check(
    field: models.Field, meta: dict[str, Any]
) -> None:
    assert ids(model_of("Named", name=field.clone(), meta=meta)) == ["weir.E005"]


def test_a_counting_primary_key_fails_the_check() -> None:
    assert ids(model_of("Counted", id=models.BigAutoField(primary_key=True))) == ["weir.E005"]


def test_a_relation_from_outside_into_a_tenants_table_fails_the_check() -> None:
    pointing = model_of(
        "Pointing",
        base=models.Model,
        isolation="system",
        run=models.ForeignKey(Run, models.CASCADE, related_name="+"),
    )
    assert ids(pointing) == ["weir.E007"]


def test_a_relation_whose_two_halves_disagree_on_deletion_fails_the_check() -> None:
    rule = SameTenant(field="run", to="workflows.Run", name="x", on_delete="CASCADE")
    relation = models.ForeignKey(Run, models.SET_NULL, null=True, db_constraint=False, related_name="+")
    model = model_of("Halves", run=relation, meta={"constraints": [rule], "apps": _Beside(apps)})
    assert ids(model) == ["weir.E006"]


@pytest.mark.parametrize(
    ("rule", "on_delete", "wanted"),
    [
        ("CASCADE", models.CASCADE, ["weir.E009"]),
        ("SET NULL", models.SET_NULL, ["weir.E009"]),
        ("RESTRICT", models.PROTECT, []),
    ],
)
def test_history_that_would_go_with_what_it_is_about_fails_the_check(
    rule: str, on_delete: Any, wanted: list[str]
) -> None:
    held = SameTenant(field="run", to="workflows.Run", name="x", on_delete=rule)
    relation = models.ForeignKey(Run, on_delete, null=True, db_constraint=False, related_name="+")
    meta = {"constraints": [held], "apps": _Beside(apps)}
    assert ids(model_of("Note", append_only=True, run=relation, meta=meta)) == wanted


class _Beside(Apps):
    """A registry of its own that finds the project's models."""

    def __init__(self, real: Any) -> None:
        super().__init__()
        self.real = real

    def get_model(self, *args: Any, **kwargs: Any) -> Any:
        return self.real.get_model(*args, **kwargs)
