"""The model admins that every page of the console is built on."""

from collections.abc import Sequence
from typing import Any, ClassVar

from django.contrib import messages
from django.db import OperationalError, models
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import display

from tenants.ops_console import cells, registry, trail
from tenants.ops_console.actions import OpsAction
from tenants.ops_console.filters import as_uuid
from tenants.ops_console.paging import EstimatedPaginator, patience, ran_out_of_patience

LIST_MILLISECONDS = 10_000


class OpsAdmin(ModelAdmin):
    """Lists of any size, without a query per row; pages whose opening and changing is in the tenant's trail.

    Nothing is added or deleted here unless a subclass allows it. Lists show no contact data.
    """

    show_full_result_count = False
    paginator = EstimatedPaginator
    list_per_page = 50
    list_max_show_all = 200
    list_filter_submit = True
    list_fullwidth = True
    warn_unsaved_form = True
    ordering: Sequence[str] = ("-id",)
    # Any other order would sort the whole table.
    sortable_by: Sequence[str] = ()
    list_select_related: Any = ("tenant",)
    # A pasted id is looked up in these columns, each of them indexed.
    id_search: ClassVar[tuple[str, ...]] = ("id",)
    search_fields: Sequence[str] = ("id",)
    search_help_text: str | None = "An id, whole"
    # Buttons on the page of a row; each is also a method of its name (OpsAction.on_page).
    page_actions: ClassVar[tuple[OpsAction, ...]] = ()

    # --- Rights
    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_operate_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether this person may run the actions on this page, also where the rows themselves are read-only."""
        meta = self.opts
        return request.user.has_perm(f"{meta.app_label}.change_{meta.model_name}")

    # --- Lists
    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        alias = self.get_queryset(request).db
        try:
            with patience(alias, LIST_MILLISECONDS):
                return super().changelist_view(request, extra_context)
        except OperationalError as error:
            if not ran_out_of_patience(error):
                raise
            messages.warning(request, "That filter reads too much. Choose a tenant or a shorter age as well.")
            return HttpResponseRedirect(f"{request.path}?made=15m" if self._has_age() else request.path)

    def _has_age(self) -> bool:
        return any(getattr(entry, "parameter_name", "") == "made" for entry in self.list_filter)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        key = as_uuid(search_term) if search_term else None
        if key is not None:
            wanted = Q()
            for column in self.id_search:
                wanted |= Q(**{column: key})
            return queryset.filter(wanted), False
        by_text = [name for name in self.get_search_fields(request) if name != "id"]
        if search_term and not by_text:
            messages.warning(request, "This list is searched by id: paste a whole one.")
            return queryset.none(), False
        return self.search_text(queryset, search_term, by_text), False

    def search_text(self, queryset: QuerySet[Any], term: str, names: list[str]) -> QuerySet[Any]:
        """Rows in which one of these lookups ("email__startswith") finds the term."""
        term = term.replace("\0", "").strip()
        if not term:
            return queryset
        wanted = Q()
        for name in names:
            wanted |= Q(**{name: term})
        return queryset.filter(wanted)

    # --- Pages
    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        response = super().change_view(request, object_id, form_url, extra_context)
        shown = getattr(response, "context_data", None) or {}
        if request.method == "GET" and shown.get("original") is not None:
            trail.note(request, "ops.viewed", shown["original"])
        return response

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        row = self.get_object(request, str(object_id)) if self.page_actions else None
        fitting = {action.name for action in self.page_actions if row is not None and action.applies(row)}
        return [entry for entry in super().get_actions_detail(request, object_id) if entry.path in fitting]

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        changes = {
            name: [_plain(form.initial.get(name)), _plain(form.cleaned_data.get(name))]
            for name in form.changed_data
        }
        columns = [name for name in form.changed_data if not _is_many(obj, name)]
        if not change:
            obj.save(force_insert=True)
        elif columns:
            obj.save(update_fields=columns)
        if changes:
            trail.note(request, "ops.changed" if change else "ops.added", obj, changes=changes)

    # --- Columns and lines that many models share
    @display(description="tenant")
    def tenant_link(self, obj: Any) -> SafeString | str:
        return cells.row(obj.tenant)

    @display(description="id")
    def short_id(self, obj: Any) -> SafeString | str:
        return cells.page(obj._meta.label_lower, obj.pk)

    @display(description="lists")
    def lists(self, obj: Any) -> SafeString:
        return registry.links_of(obj)

    @display(description="status")
    def status_pill(self, obj: Any) -> SafeString | str:
        return cells.pill(obj.status, obj.get_status_display())

    @display(description="created")
    def created(self, obj: Any) -> SafeString | str:
        return cells.when(obj.created_at)


class ReadOnlyAdmin(OpsAdmin):
    """The engine's rows, and whatever else the console may show and not edit."""

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnlyInline(TabularInline):
    """Rows shown with the one that they belong to."""

    extra = 0
    can_delete = False
    ordering_field = None

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def _plain(value: Any) -> Any:
    """What a trail can hold of a form's value."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, models.Model):
        return str(value.pk)
    if isinstance(value, Sequence | QuerySet):
        return [_plain(item) for item in value]
    return str(value)


def _is_many(obj: models.Model, name: str) -> bool:
    return bool(obj._meta.get_field(name).many_to_many)
