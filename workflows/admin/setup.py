"""What tenants set up: workflows and uploads."""

from django.contrib import admin
from django.utils.safestring import SafeString
from unfold.decorators import display

from tenants.ops_console import cells
from tenants.ops_console.base import ReadOnlyAdmin
from tenants.ops_console.filters import TENANT, MadeFilter, yes_or_no
from workflows.models import Upload, Workflow


@admin.register(Workflow)
class WorkflowAdmin(ReadOnlyAdmin):
    list_display = ("name", "tenant_link", "template", "slug", "version", "enabled", "changed", "lists")
    list_filter = (TENANT, yes_or_no("enabled"), MadeFilter)
    search_fields = ("id", "slug__startswith", "name__istartswith")
    search_help_text = "The start of a name or slug, or an id"
    fields = (
        "name", "tenant_link", "template", "slug", "config", "version", "enabled", "created_at", "updated_at", "id",
        "lists",
    )  # fmt: skip
    readonly_fields = ("tenant_link", "id", "lists")

    @display(description="changed")
    def changed(self, obj: Workflow) -> SafeString | str:
        return cells.when(obj.updated_at)


@admin.register(Upload)
class UploadAdmin(ReadOnlyAdmin):
    """Files by their name and shape. The sample rows are contact data: on the page alone."""

    list_display = (
        "filename",
        "tenant_link",
        "rows",
        "error_count",
        "kilobytes",
        "created_by",
        "created",
        "lists",
    )
    list_filter = (TENANT, MadeFilter)
    search_fields = ("id", "filename__istartswith")
    search_help_text = "The start of a file's name, or an id"
    fields = (
        "filename", "tenant_link", "size", "rows", "blank_lines", "error_count", "dialect", "columns", "mapping",
        "sample", "errors", "template", "created_by", "created_at", "id", "lists",
    )  # fmt: skip
    readonly_fields = ("tenant_link", "id", "lists")

    @display(description="size")
    def kilobytes(self, obj: Upload) -> str:
        return f"{obj.size / 1024:,.0f} KB"
