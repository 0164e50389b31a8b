"""The errors of the billing app."""

from tenants.errors import InvalidInput


class UnknownPlan(InvalidInput):
    """No plan has this slug."""

    code = "unknown_plan"
    title = "There is no such plan"
