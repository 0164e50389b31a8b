"""The sandbox vendors over HTTP: what they ask of a request, what they enforce, and what they note."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from contextlib import asynccontextmanager

import aiohttp
import pytest

from tests.integrations.rig import sandbox_server

FINDYMAIL_HEADERS = {"Authorization": "Bearer k", "Accept": "application/json"}


class Desk:
    """A client of one sandbox."""

    def __init__(self, session, url):
        self.session = session
        self.url = url

    async def ask(self, method, path, **options):
        async with self.session.request(
            method, self.url + path, allow_redirects=False, **options
        ) as response:
            return response.status, (await response.read()).decode(errors="replace"), response.headers

    async def control(self, method, path, body=None):
        async with self.session.request(method, f"{self.url}/_sandbox/{path}", json=body) as response:
            return await response.json()

    async def prospeo(self, last="Everyone", key="k", domain="example.com", **flags):
        data = {"first_name": "Ada", "last_name": last, "company_website": domain}
        body = {"only_verified_email": True, "data": data} | flags
        status, text, headers = await self.ask(
            "POST", "/prospeo/enrich-person", json=body, headers={"X-KEY": key}
        )
        return status, json.loads(text), headers

    async def findymail(self, name="Ada Everyone", key="k"):
        headers = FINDYMAIL_HEADERS | {"Authorization": f"Bearer {key}"}
        body = {"name": name, "domain": "example.com"}
        return await self.ask("POST", "/findymail/api/search/name", json=body, headers=headers)

    async def profile(self, slug):
        path = "/findymail/api/search/business-profile"
        body = {"linkedin_url": f"https://www.linkedin.com/in/{slug}"}
        return await self.ask("POST", path, json=body, headers=FINDYMAIL_HEADERS)

    async def zerobounce(self, address, key="k"):
        params = {"api_key": key, "email": address}
        status, text, _ = await self.ask("GET", "/zerobounce/v2/validate", params=params)
        return status, json.loads(text)

    async def hunter(self, what="email-finder", key="k", **params):
        status, text, _ = await self.ask(
            "GET", f"/hunter/v2/{what}", params=params, headers={"X-API-KEY": key}
        )
        return status, json.loads(text) if text else None


@asynccontextmanager
async def open_desk(latency_scale=0.0, **options):
    async with (
        sandbox_server(latency_scale, **options) as (_, url),
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        yield Desk(session, url)


def at_desk(work, **options):
    async def run():
        async with open_desk(**options) as desk:
            return await work(desk)

    return asyncio.run(run())


def test_all_finders_give_the_same_address_for_the_same_person():
    async def work(desk):
        _, prospeo, _ = await desk.prospeo()
        _, findymail, _ = await desk.findymail()
        _, hunter = await desk.hunter(domain="www.example.com", first_name="ada", last_name="EVERYONE")
        return (
            prospeo["person"]["email"]["email"],
            json.loads(findymail)["contact"]["email"],
            hunter["data"]["email"],
        )

    assert len(set(at_desk(work))) == 1


def overflows(let_in, at, rate, period):
    """Whether one more call at `at` puts more than `rate` into some window, by counting each of them."""
    moments = sorted([*let_in, at])
    return any(sum(start <= moment < start + period for moment in moments) > rate for start in moments)


def test_exactly_the_rate_gets_through_in_any_window():
    rate, period = 5, 0.4

    async def work(desk):
        windows = [{"rate": rate, "period": period}]
        await desk.control("POST", "keys", {"provider": "prospeo", "key": "k", "windows": windows})
        statuses = []
        for pause in (0.0, 0.1, 0.2, 0.35, 0.45, 0.0):
            await asyncio.sleep(pause)
            answers = await asyncio.gather(*[desk.prospeo(f"Person{number}") for number in range(4)])
            statuses += [status for status, _, _ in answers]
        return statuses, await desk.control("GET", "summary"), await desk.control("GET", "calls")

    statuses, summary, calls = at_desk(work)
    let_in: list[float] = []
    for call in calls:
        assert call["over_limit"] == overflows(let_in, call["mono"], rate, period)
        if not call["over_limit"]:
            let_in.append(call["mono"])
    refused = statuses.count(429)
    assert 0 < refused < len(statuses) - rate
    assert summary["prospeo"]["over_limit"] == summary["prospeo"]["rate_limited"] == refused
    assert sum(call["over_limit"] for call in calls) == refused
    assert list(summary["prospeo"]["max_per_window"]) == ["5/0.4s"]


def test_prospeo_tells_what_is_left_and_when_it_comes_back():
    async def work(desk):
        windows = [{"rate": 10, "period": 1}, {"rate": 2, "period": 60}, {"rate": 100, "period": 86400}]
        await desk.control("POST", "keys", {"provider": "prospeo", "key": "k", "windows": windows})
        return [await desk.prospeo(f"Person{number}") for number in range(3)]

    (_, _, first), (_, _, second), (status, body, third) = at_desk(work)
    assert [headers["x-minute-request-left"] for headers in (first, second, third)] == ["1", "0", "0"]
    assert [headers["x-daily-request-left"] for headers in (first, second, third)] == ["99", "98", "98"]
    assert 58 <= int(third["x-minute-reset-seconds"]) <= 60
    assert (status, body) == (429, {"error": True, "error_code": "RATE_LIMITED"})
    assert first["x-second-rate-limit"] == "10"


def test_hunter_answers_403_over_the_rate_and_counts_finder_and_verifier_apart():
    async def work(desk):
        person = {"domain": "example.com", "first_name": "Ada", "last_name": "Everyone"}
        checks = [desk.hunter("email-verifier", email="ada@example.com") for _ in range(11)]
        finder = await asyncio.gather(*[desk.hunter(**person) for _ in range(16)])
        verifier = await asyncio.gather(*checks)
        return sorted(status for status, _ in finder), sorted(status for status, _ in verifier)

    finder, verifier = at_desk(work)
    assert finder == [200] * 15 + [403]
    assert verifier == [200] * 10 + [403]


def test_calls_in_flight_are_capped():
    async def work(desk):
        await desk.control("POST", "keys", {"provider": "findymail", "key": "k", "parallelism": 3})
        answers = await asyncio.gather(*[desk.findymail(f"Ada Everyone{number}") for number in range(5)])
        again = [(await desk.findymail())[0] for _ in range(4)]
        return sorted(status for status, _, _ in answers), again, await desk.control("GET", "summary")

    statuses, again, summary = at_desk(work, latency_scale=0.2)
    assert statuses == [200, 200, 200, 429, 429]
    assert again == [200] * 4
    assert summary["findymail"]["max_in_flight"] == 4
    assert summary["findymail"]["over_limit"] == 2


def test_findymail_takes_thirty_profiles_at_once_and_hundreds_of_names():
    async def work(desk):
        profiles = await asyncio.gather(*[desk.profile(f"ada-everyone-{number}") for number in range(35)])
        names = await asyncio.gather(*[desk.findymail(f"Ada Everyone{number}") for number in range(60)])
        return [status for status, _, _ in profiles].count(429), [status for status, _, _ in names].count(429)

    assert at_desk(work, latency_scale=0.6) == (5, 0)


def test_a_repeat_is_free_at_prospeo_and_hunter_and_charged_elsewhere():
    async def work(desk):
        for _ in range(3):
            await desk.prospeo()
            await desk.findymail()
            await desk.hunter(domain="example.com", first_name="Ada", last_name="Everyone")
            await desk.hunter("email-verifier", email="everyone@x.example")
            await desk.zerobounce("everyone@x.example")
        return await desk.control("GET", "summary"), (await desk.prospeo())[1]["free_enrichment"]

    summary, free = at_desk(work)
    assert free is True
    spent = {name: total["credits"] for name, total in summary.items()}
    assert spent == {"prospeo": 1.0, "findymail": 3.0, "hunter": 1.5, "zerobounce": 3.0}
    assert (summary["findymail"]["distinct"], summary["findymail"]["repeated"]) == (1, 2)
    assert (summary["hunter"]["distinct"], summary["hunter"]["repeated"]) == (2, 4)


def test_credits_run_out():
    async def work(desk):
        await desk.control("POST", "keys", {"provider": "findymail", "key": "k", "credits": 2})
        await desk.control("POST", "keys", {"provider": "prospeo", "key": "k", "credits": 1})
        await desk.control("POST", "keys", {"provider": "zerobounce", "key": "k", "credits": 1})
        await desk.control("POST", "keys", {"provider": "hunter", "key": "k", "credits": 1})
        find = [(await desk.findymail(f"Ada Everyone{number}"))[0] for number in range(3)]
        enrich = [(await desk.prospeo(f"Everyone{number}"))[0] for number in range(2)]
        verify = [(await desk.zerobounce(f"everyone{number}@x.example"))[1] for number in range(2)]
        params = {"domain": "x.example", "first_name": "Ada"}
        hunt = [(await desk.hunter(last_name=f"Everyone{number}", **params))[0] for number in range(2)]
        return find, enrich, "error" in verify[0], "error" in verify[1], hunt

    assert at_desk(work) == ([200, 200, 402], [200, 400], False, True, [200, 429])


@pytest.mark.parametrize(
    ("local", "status", "sub_status"),
    [
        ("valid", "valid", ""),
        ("invalid", "invalid", "mailbox_not_found"),
        ("catch_all", "catch-all", ""),
        ("unknown", "unknown", "mail_server_temporary_error"),
        ("greylisted", "unknown", "greylisted"),
        ("spamtrap", "spamtrap", ""),
        ("abuse", "abuse", ""),
        ("toxic", "do_not_mail", "toxic"),
        ("donotmail", "do_not_mail", "role_based"),
    ],
)
def test_zerobounces_sandbox_addresses_answer_as_documented_and_for_nothing(local, status, sub_status):
    async def work(desk):
        _, body = await desk.zerobounce(f"{local}@example.com")
        return body, await desk.control("GET", "summary")

    body, summary = at_desk(work)
    assert (body["status"], body["sub_status"]) == (status, sub_status)
    assert summary["zerobounce"]["credits"] == 0


def test_unknown_is_free():
    async def work(desk):
        for number in range(300):
            _, body = await desk.zerobounce(f"user{number}@x.example")
            if body["status"] == "unknown":
                break
        before = await desk.control("GET", "summary")
        await desk.zerobounce(f"user{number}@x.example")
        return before, await desk.control("GET", "summary")

    before, after = at_desk(work)
    assert (
        before["zerobounce"]["credits"] == after["zerobounce"]["credits"] == after["zerobounce"]["calls"] - 2
    )


def test_two_hundred_calls_with_a_bad_key_get_blocked():
    async def work(desk):
        return [(await desk.zerobounce("a@x.example", key="bad-key"))[0] for _ in range(202)]

    assert at_desk(work) == [200] * 200 + [429] * 2


def test_without_the_flag_prospeo_charges_for_people_without_an_address():
    async def work(desk):
        for key in ("k", "k2"):
            await desk.control("POST", "keys", {"provider": "prospeo", "key": key, "windows": []})
        answers = []
        for number in range(40):
            with_flag, _, _ = await desk.prospeo("nobody", domain=f"c{number}.example")
            status, body, _ = await desk.prospeo(
                "nobody", "k2", f"c{number}.example", only_verified_email=False
            )
            answers.append((with_flag, status, body))
        return (
            answers,
            await desk.control("GET", "summary?key=k"),
            await desk.control("GET", "summary?key=k2"),
        )

    answers, strict, loose = at_desk(work)
    assert {with_flag for with_flag, _, _ in answers} == {400}
    known = [body["person"]["email"] for _, status, body in answers if status == 200]
    assert 5 < len(known) < 35
    assert all(email["status"] == "UNAVAILABLE" and "***@" in email["email"] for email in known)
    assert strict["prospeo"]["credits"] == 0
    assert loose["prospeo"]["credits"] == len(known)


def test_what_findymail_demands_of_a_request():
    async def work(desk):
        page = await desk.ask(
            "POST", "/findymail/api/search/name", json={}, headers={"Authorization": "Bearer k"}
        )
        path = "/findymail/api/search/name"
        nobody = await desk.ask("POST", path, json={}, headers={"Accept": "application/json"})
        missing = await desk.ask("POST", path, json={"name": "Ada"}, headers=FINDYMAIL_HEADERS)
        broken = await desk.ask("POST", path, data=b"{", headers=FINDYMAIL_HEADERS)
        return [answer[0] for answer in (page, nobody, missing, broken)], json.loads(missing[1])["errors"]

    statuses, errors = at_desk(work)
    assert statuses == [302, 401, 422, 422]
    assert list(errors) == ["domain"]


def test_hunters_rarer_answers_can_be_had():
    async def work(desk):
        ada = {"first_name": "Ada", "domain": "example.com"}
        slow = [(await desk.hunter("email-verifier", email="slowcheck@x.example"))[0] for _ in range(3)]
        return slow, [
            (await desk.hunter(last_name="Claimed", **ada))[0],
            (await desk.hunter(last_name="L", **ada))[0],
            (await desk.hunter(last_name="Byron", first_name="Ada", domain="no-mx.example"))[0],
            (await desk.hunter(**ada))[0],
            (await desk.hunter("email-verifier", email="smtpfault@x.example"))[0],
            (await desk.hunter("email-verifier", email="claimed@x.example"))[0],
            (await desk.hunter("email-verifier", email="nonsense"))[0],
        ]

    assert at_desk(work) == ([202, 202, 200], [451, 400, 400, 400, 222, 451, 400])


FAULT_ANSWERS = {
    "status_500": 500,
    "html": 502,
    "garbage": 200,
    "rate_limit": 429,
    "bad_key": 401,
    "no_credits": 402,
    "reset": None,
    "drop_after_charge": None,
    "hang": None,
}


@pytest.mark.parametrize(("kind", "status"), FAULT_ANSWERS.items())
def test_each_fault_strikes_as_often_as_asked(kind, status):
    async def work(desk):
        await desk.control("POST", "faults", {"provider": "findymail", "kind": kind, "count": 1})
        try:
            first, _, _ = await asyncio.wait_for(desk.findymail(), 0.4 if kind == "hang" else 10)
        except (aiohttp.ClientError, TimeoutError):
            first = None
        await asyncio.sleep(0.3)
        second, _, _ = await desk.findymail()
        return first, second, await desk.control("GET", "summary"), await desk.control("GET", "calls")

    first, second, summary, calls = at_desk(work)
    assert (first, second) == (status, 200)
    assert [call["fault"] for call in calls] == [kind, ""]
    charged = kind == "drop_after_charge"
    assert summary["findymail"]["credits"] == 1 + charged
    assert summary["findymail"]["repeated"] == charged
    assert summary["findymail"]["over_limit"] == 0
    assert summary["findymail"]["hits"] == 1 + charged


def test_a_slow_fault_adds_its_seconds():
    async def work(desk):
        fault = {"provider": "findymail", "kind": "slow", "seconds": 0.3, "count": 1}
        await desk.control("POST", "faults", fault)
        started = time.monotonic()
        await desk.findymail()
        slow = time.monotonic() - started
        await desk.findymail()
        return slow, time.monotonic() - started - slow

    slow, normal = at_desk(work)
    assert slow > 0.29
    assert normal < slow


def test_faults_strike_a_share_of_one_keys_calls_until_cleared():
    async def work(desk):
        fault = {"provider": "findymail", "kind": "status_500", "rate": 0.3, "key": "k"}
        await desk.control("POST", "faults", fault)
        struck = [(await desk.findymail())[0] for _ in range(200)].count(500)
        other = [(await desk.findymail(key="other"))[0] for _ in range(20)].count(500)
        await desk.control("DELETE", "faults")
        return struck, other, [(await desk.findymail())[0] for _ in range(20)].count(500)

    struck, other, after = at_desk(work)
    assert 35 < struck < 90
    assert (other, after) == (0, 0)


def test_the_summary_is_the_sum_of_the_calls():
    async def work(desk):
        for number in range(60):
            await desk.prospeo(f"Person{number % 40}", key="a" if number % 2 else "b")
        await desk.prospeo(key="bad")
        everything = await desk.control("GET", "summary")
        calls = await desk.control("GET", "calls?provider=prospeo")
        part = await desk.control("GET", "calls?key=a&since=10&limit=5")
        return everything["prospeo"], calls, part, await desk.control("GET", "summary?key=a")

    total, calls, part, of_a = at_desk(work)
    answered = [call for call in calls if call["outcome"] in ("hit", "miss")]
    pairs = [(call["person"], call["key_hint"]) for call in answered]
    assert total["calls"] == len(calls) == 61
    assert total["hits"] == sum(call["outcome"] == "hit" for call in calls)
    assert total["misses"] == sum(call["outcome"] == "miss" for call in calls)
    assert total["errors"] == 1
    assert total["credits"] == sum(call["credits"] for call in calls)
    assert (total["distinct"], total["repeated"]) == (len(set(pairs)), len(pairs) - len(set(pairs)))
    assert of_a["prospeo"]["calls"] == 30
    assert len(part) == 5
    assert all(call["seq"] > 10 and call["key_hint"] == "a" for call in part)
    assert [call["seq"] for call in calls] == sorted(call["seq"] for call in calls)


def test_a_reset_forgets_everything():
    async def work(desk):
        await desk.control("POST", "faults", {"provider": "prospeo", "kind": "status_500"})
        await desk.control("POST", "faults", {"provider": "findymail", "kind": "slow", "seconds": 0.5})
        slow = asyncio.create_task(desk.findymail("Ada Nobody"))
        await asyncio.sleep(0.1)
        await desk.control("POST", "reset")
        status, _, _ = await desk.prospeo()
        await slow
        return status, await desk.control("GET", "summary"), await desk.control("GET", "calls")

    status, summary, calls = at_desk(work)
    assert status == 200
    assert [(call["provider"], call["outcome"]) for call in calls] == [("prospeo", "hit")]
    assert list(summary) == ["prospeo"]


@pytest.mark.parametrize(
    ("path", "body", "complaint"),
    [
        ("keys", {"provider": "clearbit", "key": "k"}, "unknown provider"),
        ("keys", {"provider": "prospeo"}, "key is missing"),
        ("keys", {"provider": "prospeo", "key": "k", "windows": [{"rate": "x", "period": 1}]}, "rate"),
        ("keys", {"provider": "prospeo", "key": "k", "windows": [{"rate": 1, "period": 0}]}, "period"),
        ("keys", {"provider": "prospeo", "key": "k", "windows": {}}, "windows"),
        ("keys", {"provider": "prospeo", "key": "k", "parallelism": 0}, "parallelism"),
        ("faults", {"provider": "prospeo", "kind": "meteor"}, "unknown kind"),
    ],
)
def test_the_control_api_names_what_is_wrong(path, body, complaint):
    async def work(desk):
        return await desk.control("POST", path, body)

    assert complaint in at_desk(work)["error"]


@asynccontextmanager
async def process(*arguments):
    """The sandbox as a process of its own, ready; yields it and its URL."""
    command = [sys.executable, "-m", "integrations.sandbox", "--port", "0", *arguments]
    child = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    try:
        line = (await asyncio.wait_for(child.stdout.readline(), 20)).decode()
        yield child, line.split()[-1], line
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()


def test_the_process_says_when_it_is_ready_and_stops_within_a_second(tmp_path):
    record = tmp_path / "deep" / "calls.jsonl"

    async def run():
        async with (
            process("--latency-scale", "0", "--record", str(record)) as (child, url, line),
            aiohttp.ClientSession() as session,
        ):
            desk = Desk(session, url)
            assert line == f"sandbox vendors ready on {url}\n"
            assert await desk.control("GET", "health") == {"status": "ok"}
            await desk.findymail()
            await desk.prospeo("nobody")
            await desk.control("POST", "faults", {"provider": "prospeo", "kind": "hang"})
            hanging = asyncio.create_task(desk.prospeo())
            await asyncio.sleep(0.2)
            stopped = time.monotonic()
            child.send_signal(signal.SIGTERM)
            code = await asyncio.wait_for(child.wait(), 5)
            seconds = time.monotonic() - stopped
            with pytest.raises(aiohttp.ClientError):
                await hanging
            return code, seconds, (await child.stderr.read()).decode()

    code, seconds, complaints = asyncio.run(run())
    assert code == 0
    assert seconds < 2  # one, on a machine that has nothing else to do
    assert complaints == ""
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    assert [(line["provider"], line["outcome"], line["credits"]) for line in lines[:2]] == [
        ("findymail", "hit", 1.0),
        ("prospeo", "miss", 0.0),
    ]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", ""])
def test_the_process_listens_on_loopback_alone(host):
    command = [sys.executable, "-m", "integrations.sandbox", "--port", "0", "--host", host]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=20)
    assert done.returncode == 2
    assert "loopback" in done.stderr


def test_a_taken_port_gets_a_plain_message():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "integrations.sandbox", "--port", port]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1
    assert done.stderr == f"cannot listen on 127.0.0.1:{port}: Address already in use\n"
