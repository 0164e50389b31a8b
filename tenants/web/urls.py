"""Pages about one's own account that allauth does not have; below /accounts/."""

from django.urls import path

from tenants.web import leaving, own_account

urlpatterns = [
    path("delete/", leaving.delete_account, name="account_delete"),
    path("deleted/", leaving.account_gone, name="account_gone"),
    path("tenant-deleted/", leaving.tenant_gone, name="tenant_gone"),
    path("workspace/", own_account.workspace, name="account_workspace"),
    path("sessions/<int:session_id>/end/", own_account.end_session, name="account_end_session"),
]
