"""The double of Stripe in the tests' sandbox process, and what tests ask of it."""

from typing import Any

import stripe

from tests.sandbox import Sandbox

DAY = 86_400
KEY = "sk_test_sandbox"


class Double:
    """`url` is for STRIPE_API_BASE; `client()` is the SDK, which tries nothing again by itself."""

    def __init__(self, process: Sandbox) -> None:
        self.process = process
        self.url = f"{process.url}/stripe"

    def client(self) -> stripe.StripeClient:
        return stripe.StripeClient(KEY, base_addresses={"api": self.url}, max_network_retries=0)

    def control(self, method: str, path: str, body: Any = None) -> Any:
        return self.process.control(method, f"stripe/{path}", body)

    def listen(self, secret: str) -> None:
        """Have an endpoint of ours whose deliveries wait to be fetched."""
        self.control("POST", "hold_hooks", {"hold": True})
        self.control("POST", "endpoint", {"url": "http://127.0.0.1:9/hooks/stripe", "secret": secret})

    def fault(self, kind: str, **options: Any) -> None:
        """`rate`, `count` and `path` narrow it down."""
        self.control("POST", "faults", {"kind": kind, **options})

    def deliveries(self) -> list[dict[str, Any]]:
        """What waits to be sent, signed just now; it is then no longer waiting."""
        return self.control("GET", "deliveries")
