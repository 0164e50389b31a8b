"""What a workflow does, changed on its page."""

from typing import TYPE_CHECKING

import pytest
from django.test import Client

from tenants.scope import tenant_scope
from workflows.models import Workflow

if TYPE_CHECKING:
    from tenants.models import Tenant

AT = "/app/workflows/email-waterfall/settings/"
FORM = {
    "name": "Addresses", "finders_0": "findymail", "finders_1": "prospeo", "finders_2": "", "verifier": "",
    "accept": ["valid", "catch_all"], "max_credits_per_record": "2.5", "reuse_days": "30", "on_outage": "skip",
    "max_attempts": "5", "backoff_s": "30", "timeout_s": "20", "enabled": "on",
}  # fmt: skip


def again(tenant: "Tenant", slug: str = "email-waterfall") -> Workflow:
    with tenant_scope(tenant):
        return Workflow.objects.get(slug=slug)


def test_every_setting_is_shown_and_changed(editor: Client, tenant: "Tenant"):
    assert AT in editor.get("/app/workflows/email-waterfall/").content.decode()
    html = editor.get(AT).content.decode()
    assert '<option value="prospeo" selected>' in html
    answer = editor.post(AT, FORM, follow=True)
    assert "“Addresses” is changed" in answer.content.decode()
    workflow = again(tenant)
    assert workflow.name == "Addresses"
    assert workflow.config == {
        "finders": ["findymail", "prospeo"], "verifier": None, "accept": ["valid", "catch_all"],
        "max_credits_per_record": 2.5, "reuse_days": 30, "on_outage": "skip", "max_attempts": 5, "backoff_s": 30,
        "timeout_s": 20,
    }  # fmt: skip
    assert workflow.version == 2
    assert editor.post(AT, FORM).status_code == 302
    assert again(tenant).version == 2, "the same once more is no change"


def test_a_workflow_is_switched_off(editor: Client, tenant: "Tenant"):
    editor.post(AT, {name: value for name, value in FORM.items() if name != "enabled"})
    assert not again(tenant).enabled


def test_one_without_finders_has_none_to_choose(editor: Client, tenant: "Tenant"):
    at = AT.replace("waterfall", "verify")
    assert "finders" not in editor.get(at).content.decode()
    form = {name: value for name, value in FORM.items() if not name.startswith("finders")}
    assert editor.post(at, form | {"verifier": "zerobounce"}).status_code == 302
    assert again(tenant, "email-verify").config["verifier"] == "zerobounce"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": ""}, "This field is required"),
        ({"finders_0": ""}, "This field is required"),
        ({"finders_1": "findymail"}, "Each vendor can be named once."),
        ({"verifier": "nobody"}, "Select a valid choice"),
        ({"accept": []}, "Choose one at least."),
        ({"max_attempts": "0"}, "greater than or equal to 1"),
        ({"max_credits_per_record": "-1"}, "greater than or equal to 0"),
    ],
)
def test_what_cannot_be_used_is_named_and_nothing_changed(
    editor: Client, tenant: "Tenant", change: dict[str, object], words: str
):
    answer = editor.post(AT, FORM | change)
    assert answer.status_code == 422
    assert words in answer.content.decode()
    assert again(tenant).version == 1


def test_it_is_for_editors(viewer: Client):
    assert viewer.get(AT).status_code == 403
    assert viewer.post(AT, FORM).status_code == 403
