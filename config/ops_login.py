"""The door of the ops console: signing in goes through the accounts' own pages, with a second factor where it matters."""

from urllib.parse import urlencode

from allauth.account.authentication import get_authentication_records
from allauth.mfa.adapter import get_adapter
from allauth.mfa.models import Authenticator
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from tenants.web.confirmed import ask_again, is_confirmed


def is_staff(request: HttpRequest) -> bool:
    user = request.user
    return bool(user.is_authenticated and user.is_active and user.is_staff)


def sign_in(request: HttpRequest) -> HttpResponse:
    """Send whoever wants in to the accounts' sign-in, and back. Raises PermissionDenied for people who are not staff."""
    wanted = request.GET.get("next") or ""
    if not url_has_allowed_host_and_scheme(wanted, allowed_hosts=None):
        wanted = reverse("admin:index")
    if is_staff(request):
        return HttpResponseRedirect(wanted)
    if request.user.is_authenticated:
        raise PermissionDenied("The ops console is for staff. Sign out, and in again with a staff account.")
    return redirect_to_login(wanted)


def missing_proof(request: HttpRequest) -> HttpResponse | None:
    """Where a member of staff has to go first: to set up or use a second factor, or, to change something, to confirm.

    None when nothing is missing, and where STAFF_SECOND_FACTOR is off (local and test).
    """
    if not settings.STAFF_SECOND_FACTOR:
        return None
    # What was to be sent is not kept: after the proof the person sees the page and decides again.
    here = request.get_full_path()
    if not any(record["method"] == "mfa" for record in get_authentication_records(request, request.user)):
        return _to_second_factor(request, here)
    if request.method not in ("GET", "HEAD") and not is_confirmed(request):
        return ask_again(request, here)
    return None


def _to_second_factor(request: HttpRequest, then: str) -> HttpResponse:
    adapter, kinds = get_adapter(), Authenticator.Type
    if adapter.is_mfa_enabled(request.user, [kinds.TOTP]):
        return HttpResponseRedirect(f"{reverse('mfa_reauthenticate')}?{urlencode({'next': then})}")
    if adapter.is_mfa_enabled(request.user, [kinds.WEBAUTHN]):
        return HttpResponseRedirect(f"{reverse('mfa_reauthenticate_webauthn')}?{urlencode({'next': then})}")
    messages.warning(
        request,
        "The ops console takes a second factor. Set up an authenticator app or a passkey, then return to it.",
    )
    return redirect("mfa_index")
