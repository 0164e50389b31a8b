"""Pages about one's own account that allauth does not have; below /accounts/."""

from django.urls import path

from tenants.web import own_account

urlpatterns = [
    path("workspace/", own_account.workspace, name="account_workspace"),
    path("sessions/<int:session_id>/end/", own_account.end_session, name="account_end_session"),
]
