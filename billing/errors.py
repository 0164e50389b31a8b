"""The errors of the billing app."""

from tenants.errors import Conflict, InvalidInput, WeirError


class UnknownPlan(InvalidInput):
    """No plan has this slug."""

    code = "unknown_plan"
    title = "There is no such plan"


class BillingOff(Conflict):
    """No keys of Stripe are set: operators set plans."""

    code = "billing_off"
    title = "Billing is off"


class StripeAway(WeirError):
    """Stripe did not answer, or not yet, or does not take a key of ours: the same again later may do."""

    code = "stripe_away"
    status = 503
    title = "Stripe does not answer"


class StripeRefused(WeirError):
    """Stripe answered that it will not; the same again will not do. `data` has `http_status`, `code` and `param`."""

    code = "stripe_refused"
    status = 502
    title = "Stripe refused"


class CardRefused(WeirError):
    """The card was to be charged at once, and was not; everything is as it was."""

    code = "card_refused"
    status = 402
    title = "The card was refused"


class QuotaExceeded(WeirError):
    """The plan's records of this month do not suffice, and it has no overage."""

    code = "quota_exceeded"
    status = 402
    title = "The month's records are used up"


class NoLaneLeft(WeirError):
    """The plan has no lane for another live connection."""

    code = "no_lane_left"
    status = 402
    title = "The plan has no lane left"


class NoSeatLeft(WeirError):
    """The plan has no seat for another person."""

    code = "no_seat_left"
    status = 402
    title = "The plan has no seat left"
