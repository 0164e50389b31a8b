"""Actions of the console: an operation of the product, run for one row or several after somebody said yes.

A link never changes anything: the button on a row's page leads to a question, and only its answer, a POST, acts.
"""

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.decorators import action as unfold_action
from unfold.enums import ActionVariant

from tenants.errors import WeirError
from tenants.ops_console.trail import actor_of, tenant_id_of
from tenants.scope import as_tenant_from_ops

MOST_AT_ONCE = 200


@dataclass(frozen=True, kw_only=True)
class OpsAction:
    """What staff may do to rows of a model.

    `run(row, actor)` is called in the scope of the row's tenant, as the app login, and leaves the audit entry. Rows
    for which `applies` is false are skipped and counted. Needs the model's `change` permission. What cannot be undone
    names in `typed` what has to be typed on the row's page, and takes a reason: `run(row, actor, reason)`.
    """

    name: str
    label: str
    done: str
    warning: str
    run: Callable[..., object]
    applies: Callable[[Any], bool] = field(default=lambda row: True)
    icon: str = "play_arrow"
    danger: bool = False
    typed: Callable[[Any], str] | None = None
    of_nobody: bool = False
    """For rows of the machine's own: run in the ops scope, and the trail is the operation's affair."""

    def in_bulk(self) -> Callable[..., HttpResponse | None]:
        """For a model admin's `actions`."""

        @admin.action(description=f"{self.label} …", permissions=["operate"])
        def bulk(
            model_admin: Any, request: HttpRequest, queryset: models.QuerySet[Any]
        ) -> HttpResponse | None:
            rows = list(queryset[: MOST_AT_ONCE + 1])
            if len(rows) > MOST_AT_ONCE:
                messages.error(request, f"Choose at most {MOST_AT_ONCE} rows at once. Nothing was changed.")
                return None
            if "confirmed" not in request.POST:
                return self._ask(model_admin, request, rows, bulk=True)
            self.carry_out(request, rows)
            return None

        bulk.__name__ = self.name
        return bulk

    def on_page(self) -> Any:
        """For a method of a model admin that `actions_detail` names; the method's name must be `name`."""

        def detail(model_admin: Any, request: HttpRequest, object_id: str) -> HttpResponse:
            row = model_admin.get_object(request, object_id)
            if row is None:
                raise Http404
            if request.method != "POST":
                return self._ask(model_admin, request, [row], bulk=False)
            if self.typed and request.POST.get("typed", "").strip() != self.typed(row):
                messages.error(request, f"That is not “{self.typed(row)}”. Nothing was changed.")
                return self._ask(model_admin, request, [row], bulk=False)
            self.carry_out(request, [row])
            meta = model_admin.opts
            return HttpResponseRedirect(
                reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[row.pk])
            )

        detail.__name__ = self.name
        return unfold_action(
            detail,
            description=self.label,
            permissions=["operate"],
            url_path=self.name,
            icon=self.icon,
            variant=ActionVariant.DANGER if self.danger else ActionVariant.DEFAULT,
        )

    def carry_out(self, request: HttpRequest, rows: Iterable[Any]) -> None:
        """Run for each row by itself, and say what became of it."""
        done, skipped = 0, 0
        for row in rows:
            tenant_id = tenant_id_of(row)
            if tenant_id is None and not self.of_nobody:
                raise PermissionDenied
            if not self.applies(row):
                skipped += 1
                continue
            try:
                with as_tenant_from_ops(tenant_id) if tenant_id and not self.of_nobody else nullcontext():
                    self.run(row, actor_of(request), *self._reason(request))
                done += 1
            except WeirError as error:
                messages.error(request, f"{row}: {error.detail}")
        if done:
            messages.success(request, f"{done} {self.done}.")
        if skipped:
            messages.warning(request, f"{skipped} left as they were: this does not apply to them.")

    def _reason(self, request: HttpRequest) -> tuple[str, ...]:
        return (request.POST.get("reason", "").strip(),) if self.typed else ()

    def _ask(self, model_admin: Any, request: HttpRequest, rows: list[Any], *, bulk: bool) -> HttpResponse:
        meta = model_admin.opts
        context = {
            **model_admin.admin_site.each_context(request),
            "title": self.label,
            "opts": meta,
            "media": model_admin.media,
            "action": self,
            "rows": [row for row in rows if self.applies(row)],
            "others": sum(not self.applies(row) for row in rows),
            "bulk": bulk,
            "typed": self.typed(rows[0]) if self.typed else "",
            "checkbox_name": ACTION_CHECKBOX_NAME,
            "back": request.get_full_path()
            if bulk
            else reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[rows[0].pk]),
        }
        return TemplateResponse(request, "admin/ops/confirm.html", context)
