"""Every page under /app/."""

from django.urls import path

from workflows.web import (
    actions,
    design,
    developers,
    home,
    insights,
    new_run,
    preferences,
    records,
    runs,
    vendors,
    workflow_pages,
)

urlpatterns = [
    path("", home.home, name="home"),
    path("home/recent/", home.recent, name="home_recent"),
    path("runs/", runs.run_list, name="runs"),
    path("runs/new/", new_run.choose_file, name="new_run"),
    path("uploads/<uuid:upload_id>/", new_run.check_columns, name="check_columns"),
    path("uploads/<uuid:upload_id>/start/", new_run.start, name="start_run"),
    path("runs/<uuid:run_id>/", runs.run_page, name="run"),
    path("runs/<uuid:run_id>/live/", runs.run_live, name="run_live"),
    path("runs/<uuid:run_id>/pause/", actions.pause, name="pause_run"),
    path("runs/<uuid:run_id>/resume/", actions.resume, name="resume_run"),
    path("runs/<uuid:run_id>/cancel/", actions.cancel, name="cancel_run"),
    path("runs/<uuid:run_id>/results.<str:kind>", runs.results, name="run_results"),
    path("runs/<uuid:run_id>/records/<uuid:record_id>/", records.record_page, name="record"),
    path("vendors/", vendors.vendor_list, name="vendors"),
    path("vendors/new/", vendors.connect, name="connect_vendor"),
    path("vendors/sandbox/", vendors.connect_sandbox, name="connect_sandbox"),
    path("vendors/lanes/<uuid:lane_id>/<str:verb>/", vendors.control, name="control_lane"),
    path("workflows/", workflow_pages.workflow_list, name="workflows"),
    path("workflows/<slug:slug>/", workflow_pages.workflow_page, name="workflow"),
    path("insights/", insights.insights, name="insights"),
    path("developers/", developers.keys, name="developers"),
    path("settings/", preferences.settings_page, name="settings"),
    path("settings/theme/", preferences.choose_theme, name="choose_theme"),
    path("settings/tenant/", preferences.switch_tenant, name="switch_tenant"),
    path("design/", design.design, name="design"),
]
