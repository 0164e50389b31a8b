"""A double of Stripe: it holds state as Stripe does, is asked through the real SDK, and signs and sends its webhooks.

Served by the sandbox under /stripe/: `STRIPE_API_BASE=http://127.0.0.1:8001/stripe`. Objects have the shapes of API version
2026-10-28.endive, the one that stripe==16.1.0 pins. Facts: docs.stripe.com as of November 2026, and the SDK's own types.
No card is ever charged: it knows cards by their last four digits, as Stripe's test mode does.
"""
