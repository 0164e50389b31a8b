"""Headlines, figures and descriptions: the words that the pages say."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from tenants.web import figures
from workflows.catalog import TEMPLATES
from workflows.lane_queries import RunLane
from workflows.models import Run
from workflows.queries import Finish
from workflows.web import describe, progress

LANE = RunLane("00000000-0000-7000-8000-000000000000", "zerobounce", 34, 3, "rate")  # type: ignore[arg-type]


def a_run(**values: object) -> Run:
    return Run(**{"status": "running", "total": 1000, "found": 812, "pending": 60, **values})


def test_a_running_run_says_what_it_found_what_it_waits_for_and_when_it_ends():
    tomorrow_noon = (timezone.now() + timedelta(days=1)).replace(hour=14, minute=32)
    words = progress.headline(a_run(), [LANE], tomorrow_noon)
    assert words.startswith("812 of 1,000 found, 34 waiting for ZeroBounce's rate, done about ")
    assert words.endswith("14:32")


def test_the_end_is_in_the_viewers_zone():
    noon = timezone.now().replace(hour=12, minute=0) + timedelta(days=2)
    with timezone.override("Asia/Tokyo"):
        assert progress.done_about(noon).endswith("21:00")


def test_an_end_within_a_minute_names_no_time_that_is_over_when_it_is_read():
    assert progress.done_about(timezone.now() + timedelta(seconds=20)) == "done within a minute"


def test_the_band_of_nine_in_ten_names_both_ends_where_they_differ():
    noon = (timezone.now() + timedelta(days=2)).replace(hour=12, minute=0)
    finish = Finish(noon, noon - timedelta(minutes=10), noon + timedelta(minutes=25))
    words = progress.done_between(finish)
    assert words.startswith("nine in ten such runs end from ")
    assert "11:50 to " in words
    assert words.endswith("12:25")
    assert progress.done_between(Finish(noon, noon, noon)) == ""


def test_without_a_reason_to_wait_it_says_how_many_are_under_way():
    assert progress.headline(a_run()) == "812 of 1,000 found, 60 under way"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"status": "completed", "pending": 0}, "812 of 1,000 found"),
        ({"status": "paused"}, "Paused with 812 of 1,000 found, 60 left"),
        ({"status": "cancelled", "pending": 0}, "Cancelled with 812 of 1,000 found"),
        ({"status": "failed"}, "The run stopped with 812 of 1,000 found"),
    ],
)
def test_a_run_that_stands_still_says_how(values: dict[str, object], words: str):
    assert progress.headline(a_run(**values), [LANE]) == words


def test_the_details_name_every_other_outcome():
    began = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
    run = a_run(
        not_found=100,
        failed=14,
        skipped=3,
        cancelled=0,
        started_at=began,
        finished_at=began + timedelta(seconds=252),
    )
    assert progress.details(run) == "100 not found, 14 failed, 3 skipped, took 4 min 12 s"


def test_cancelled_records_do_not_lower_the_share_of_found_ones():
    assert progress.finding_rate(a_run(found=50, total=1000, pending=0, cancelled=900)) == "50%"


def test_the_segments_of_the_bar_lie_end_to_end_and_fill_it():
    parts = progress.segments(a_run(not_found=100, failed=28, running=20, queued=40))
    assert [(p.x, p.width) for p in parts if p.count and p.status != "queued"] == [
        ("0.000%", "81.200%"),
        ("81.200%", "10.000%"),
        ("91.200%", "2.800%"),
        ("94.000%", "2.000%"),
    ]


def test_a_run_without_records_has_an_empty_bar():
    assert {p.width for p in progress.segments(Run(total=0))} <= {"0.000%", "0%"}


@pytest.mark.parametrize(
    ("thousandths", "words"),
    [
        (0, "0"),
        (1000, "1"),
        (1204500, "1,204.5"),
        (1, "0.001"),
        (-500, "-0.5"),
        (None, "–"),
        (10**12, "1,000,000,000"),
    ],
)
def test_credits_are_shown_without_empty_decimals(thousandths: int | None, words: str):
    assert figures.credit(thousandths) == words


@pytest.mark.parametrize(
    ("part", "whole", "words"),
    [(0, 0, "–"), (0, 10, "0%"), (10, 10, "100%"), (1, 1000, "<1%"), (999, 1000, ">99%"), (1, 2, "50%")],
)
def test_a_share_is_never_nothing_or_all_where_it_is_not_quite(part: int, whole: int, words: str):
    assert figures.percent(part, whole) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.25, "250 ms"),
        (1.25, "1.2 s"),
        (59, "59 s"),
        (60, "1 min"),
        (252, "4 min 12 s"),
        (7260, "2 h 1 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_a_length_of_time_has_its_two_largest_units(seconds: float, words: str):
    assert figures.span(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (3, "just now"),
        (59, "59 seconds ago"),
        (60, "1 minute ago"),
        (7200, "2 hours ago"),
        (200000, "2 days ago"),
    ],
)
def test_an_age_is_in_words(seconds: float, words: str):
    assert figures.ago(seconds) == words


def test_limits_are_in_words():
    windows = [{"rate": 5, "period": 1.0}, {"rate": 300, "period": 60.0}, {"rate": 50_000, "period": 10.0}]
    assert describe.limits(windows, 30) == "5 per second, 300 per minute, 50,000 per 10 seconds; 30 at once"
    assert describe.limits([], 10) == "No rate limit; 10 at once"


def test_limits_of_groups_are_told_apart():
    windows = [{"rate": 15, "period": 1, "group": "find"}, {"rate": 10, "period": 1, "group": "verify"}]
    assert describe.limits(windows, 30) == "finding 15 per second; verifying 10 per second; 30 at once"


def test_every_reason_to_wait_has_words_and_an_explanation():
    from workflows.states import WaitReason

    for reason in WaitReason.values:
        assert describe.wait_words(reason, "zerobounce").startswith("ZeroBounce's ")
        assert describe.wait_explained(reason).endswith(".")


def test_a_workflow_says_what_it_does_in_order():
    template = TEMPLATES["email-waterfall"]
    sentences = describe.workflow_sentences(template.slug, template.default_config())
    assert sentences[:3] == [
        "Asks Prospeo first, then Findymail, and stops at the first good answer.",
        "ZeroBounce verifies each address.",
        "An address counts as found when it is valid.",
    ]


@pytest.mark.parametrize("slug", sorted(TEMPLATES))
def test_every_template_has_words(slug: str):
    assert all(s.endswith(".") for s in describe.workflow_sentences(slug, TEMPLATES[slug].default_config()))


def test_every_status_of_the_product_has_looks_of_its_own():
    from integrations.models import Connection
    from tenants.web.icons import PATHS
    from tenants.web.statuses import _SHOWN
    from workflows.states import RecordStatus, RunStatus, StepOutcome, StepStatus

    known = {
        *RunStatus.values,
        *RecordStatus.values,
        *StepStatus.values,
        *StepOutcome.values,
        *Connection.Status.values,
    }
    assert known <= set(_SHOWN)
    assert {shown.icon for shown in _SHOWN.values()} <= set(PATHS)
