"""Which files take longest, so that they are begun first: a file is one worker's, and the last would be waited for alone.

In the order of what they took when the suite was last measured (`--durations=0`); whatever is not here took less.
"""

LONGEST_FIRST = (
    "tests/invariants/test_secrets.py",
    "tests/chaos/test_whole_system.py",
    "tests/journeys/test_large_run.py",
    "tests/workflows/lanes/test_outage.py",
    "tests/chaos/test_frozen.py",
    "tests/config/test_supervisor.py",
    "tests/api/test_fuzz.py",
    "tests/chaos/test_failpoints.py",
    "tests/chaos/test_kill_storm.py",
    "tests/integrations/test_vault_rotation.py",
    "tests/workflows/lanes/test_shaping.py",
    "tests/invariants/test_routes_foreign_ids.py",
    "tests/tenants/test_roles.py",
    "tests/chaos/test_servers.py",
    "tests/chaos/test_vendors.py",
    "tests/chaos/test_bulk.py",
    "tests/chaos/test_shutdown.py",
    "tests/chaos/test_clock.py",
    "tests/chaos/test_poison.py",
    "tests/workflows/lanes/test_jobs.py",
    "tests/invariants/isolation/test_mutants.py",
    "tests/invariants/test_routes_permissions.py",
    "tests/journeys/test_team_browser.py",
    "tests/workflows/lanes/test_runner.py",
    "tests/workflows/lanes/test_frozen_work.py",
    "tests/workflows/lanes/test_any_moment.py",
    "tests/workflows/lanes/test_run_model.py",
    "tests/config/test_embedded_servers.py",
    "tests/billing/test_stripe_storm.py",
    "tests/chaos/test_webhooks.py",
    "tests/integrations/test_webhook_sending.py",
    "tests/workflows/money/test_trials.py",
    "tests/workflows/lanes/test_bulk_calls.py",
    "tests/journeys/test_browser.py",
    "tests/admin/test_pages.py",
    "tests/api/test_docs.py",
    "tests/api/test_bombs.py",
    "tests/api/test_authentication.py",
    "tests/workflows/lanes/test_hand_over.py",
    "tests/workflows/lanes/test_change_run.py",
    "tests/journeys/test_billing_browser.py",
    "tests/journeys/test_browser_live.py",
    "tests/journeys/test_accounts_browser.py",
    "tests/tenants/test_bleed.py",
    "tests/workflows/csv_in/test_csv_memory.py",
    "tests/tenants/test_roles_start.py",
    "tests/tenants/test_delete_command.py",
    "tests/workflows/test_plans.py",
    "tests/admin/test_actions.py",
)
_PLACES = {name: place for place, name in enumerate(LONGEST_FIRST)}


def place(nodeid: str) -> int:
    """Where the file of a test comes; those that are not listed come after all, as they were."""
    return _PLACES.get(nodeid.partition("::")[0], len(_PLACES))
