"""What must not happen to events on their way, whatever receivers, name servers, tenants and we ourselves do wrong."""

import pytest

from integrations.webhooks.sender import send_due
from tenants.models import Tenant
from tests.integrations.receiver import Receiver
from tests.integrations.telling import deliveries, endpoint_of, listen, log, tell

pytestmark = pytest.mark.usefixtures("committed")


@pytest.mark.parametrize(
    "asked",
    [
        "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
        "Mon, 01 Jan 2027 00:00:00 +99999999999999",
        "Fri, 31 Dec 9999 23:59:59 -2359",
        "1e400",
        "\u0663\u0660",
    ],
)
def test_a_retry_after_that_is_no_date_is_an_attempt_all_the_same(
    tenant: Tenant, receiver: Receiver, asked: str
) -> None:
    listen(tenant, receiver.url)
    receiver.answer = lambda got: (503, {"Retry-After": asked.encode().decode("latin-1")}, b"")
    tell(tenant)
    assert send_due() == 1
    (delivery,) = deliveries(tenant)
    assert (delivery.status, delivery.tries, delivery.attempts, delivery.holder) == ("waiting", 1, 1, None)
    assert [attempt.http_status for attempt in log(tenant)] == [503]
    assert endpoint_of(tenant).failures == 1
