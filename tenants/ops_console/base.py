"""The model admins that every page of the console is built on."""

from collections.abc import Sequence
from typing import Any, ClassVar

from django.contrib import messages
from django.contrib.admin import ShowFacets
from django.contrib.admin.options import IncorrectLookupParameters
from django.db import OperationalError
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import display
from unfold.views import ChangeList

from tenants.ops_console import cells, registry, trail
from tenants.ops_console.actions import OpsAction
from tenants.ops_console.filters import as_uuid
from tenants.ops_console.paging import EstimatedPaginator, patience, ran_out_of_patience

LIST_MILLISECONDS = 10_000


class OpsChangeList(ChangeList):
    """Says how many rows were found where something was asked for; the whole table is not counted beside that."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        # No column holds it, and PostgreSQL refuses to be asked.
        if any("\0" in text for texts in self.filter_params.values() for text in texts):
            raise IncorrectLookupParameters
        return super().get_queryset(request, exclude_parameters)

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        if not self.query and not self.has_active_filters:
            self.full_result_count = self.result_count


class OpsAdmin(ModelAdmin):
    """Lists of any size, without a query per row; pages whose opening and changing is in the tenant's trail.

    Nothing is added or deleted here unless a subclass allows it. Lists show no contact data.
    """

    show_full_result_count = False
    show_facets = ShowFacets.NEVER  # one count of the whole table for every choice
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
    # Whether opening a page is noted in the tenant's trail.
    views_are_noted = True

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
    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[OpsChangeList]:
        return OpsChangeList

    def get_list_display_links(self, request: HttpRequest, list_display: Sequence[Any]) -> list[Any] | None:
        """A first column that is a plain value leads to the row's page; one of ours is a link already."""
        plain = {field.name for field in self.opts.get_fields()}
        return list(list_display[:1]) if list_display[0] in plain else None

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
        if self.views_are_noted and request.method == "GET" and shown.get("original") is not None:
            trail.note(request, "ops.viewed", shown["original"])
        return response

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        row = self.get_object(request, str(object_id)) if self.page_actions else None
        fitting = {action.name for action in self.page_actions if row is not None and action.applies(row)}
        return [entry for entry in super().get_actions_detail(request, object_id) if entry.path in fitting]

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """What happened to a row is in its tenant's trail, whoever did it."""
        instance = self.get_object(request, object_id)
        tenant_id = trail.tenant_id_of(instance) if instance is not None else None
        if tenant_id is None or not self.has_view_permission(request, instance):
            return super().history_view(request, object_id, extra_context)
        query = urlencode({"tenant__id__exact": str(tenant_id), "subject_id": object_id})
        return HttpResponseRedirect(f"{reverse('admin:tenants_auditevent_changelist')}?{query}")

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        columns = [name for name in form.changed_data if not obj._meta.get_field(name).many_to_many]
        if not change:
            obj.save(force_insert=True)
            trail.note(request, "ops.added", obj)
        elif form.changed_data:
            before = type(obj)._base_manager.filter(pk=obj.pk).values(*columns).get() if columns else {}
            if columns:
                obj.save(update_fields=columns)
            changes = {name: [_plain(before[name]), _plain(getattr(obj, name))] for name in columns}
            others = {
                name: _plain(form.cleaned_data[name]) for name in form.changed_data if name not in columns
            }
            trail.note(request, "ops.changed", obj, changes=changes | others)

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

    @display(description="lists")
    def first_lists(self, obj: Any) -> SafeString:
        """For tables that are wide already; the row's page has all of them."""
        return registry.links_of(obj, most=3)

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

    hide_title = True
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
    """What a trail can hold of a value."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, QuerySet):
        return [str(item) for item in value]
    return str(value)
