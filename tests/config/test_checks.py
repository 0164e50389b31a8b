"""What `manage.py check --deploy` says beside what Django says."""

import pytest
from django.core.checks import run_checks

from config.checks import NO_PROXY


@pytest.mark.parametrize(
    ("hardened", "proxies", "said"), [(True, 0, True), (True, 1, False), (False, 0, False)]
)
def test_where_no_proxy_stands_before_the_web_process_the_deployment_check_says_so(
    settings, hardened, proxies, said
):
    settings.HARDENED, settings.TRUSTED_PROXIES = hardened, proxies
    assert (NO_PROXY in run_checks(include_deployment_checks=True)) == said
    assert NO_PROXY not in run_checks()
