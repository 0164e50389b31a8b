"""A secret shows nothing of itself, whatever is done to it but asking."""

import copy
import dataclasses
import gc
import json
import pickle
import pprint
import traceback
from typing import Any

import orjson
import pytest
from django.core.serializers.json import DjangoJSONEncoder

from tenants.secret import MASK, SHORTEST, Secret, mask

PLAIN = "vk/plain+secret=4711"


@dataclasses.dataclass
class Holder:
    secret: Secret


SHOWN: list[Any] = [
    repr,
    str,
    lambda secret: f"{secret}",
    lambda secret: f"{secret!r:>40}",
    lambda secret: f"{secret:>40}",
    lambda secret: "%s %r" % (secret, secret),  # noqa: UP031
    "{0!s}".format,
    lambda secret: pprint.pformat({"a": [secret]}),
    lambda secret: repr(Holder(secret)),
    lambda secret: str(dataclasses.asdict(Holder(secret))),
    lambda secret: json.dumps({"a": secret}, default=str),
    lambda secret: repr(copy.copy(secret)) + repr(copy.deepcopy({"a": secret})),
    lambda secret: str(ValueError(secret)),
    lambda secret: repr(dir(secret)),
]
REFUSED: list[Any] = [
    pickle.dumps,
    lambda secret: pickle.dumps(Holder(secret)),
    lambda secret: secret.__reduce__(),
    lambda secret: secret.__getstate__(),
    json.dumps,
    lambda secret: json.dumps(secret, cls=DjangoJSONEncoder),
    orjson.dumps,
    vars,
    dict,
    list,
    hash,
    bytes,
    len,
    lambda secret: "key " + secret,
    lambda secret: setattr(secret, "_value", "other"),
    lambda secret: delattr(secret, "_value"),
]


@pytest.mark.parametrize("show", SHOWN)
def test_it_is_masked_wherever_it_is_shown(show: Any):
    shown = show(Secret(PLAIN))
    assert PLAIN not in shown
    assert "4711" not in shown


@pytest.mark.parametrize("use", REFUSED)
def test_it_refuses_what_would_carry_it_away(use: Any):
    with pytest.raises((TypeError, AttributeError)) as caught:
        use(Secret(PLAIN))
    assert "4711" not in str(caught.value)


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (pickle.dumps, "A secret cannot be pickled."),
        (lambda secret: secret.__getstate__(), "A secret cannot be pickled."),
        (lambda secret: setattr(secret, "_value", "other"), "A secret cannot be changed."),
    ],
)
def test_whoever_tries_is_told_why_not(use: Any, words: str):
    with pytest.raises((TypeError, AttributeError)) as told:
        use(Secret(PLAIN))
    assert str(told.value) == words


def test_what_is_shown_in_its_place_is_the_same_everywhere():
    secret = Secret(PLAIN)
    assert f"{secret}" == f"{secret:>40}" == repr(secret) == str(secret) == f"Secret({MASK})"
    assert Secret("x")
    assert not Secret("")


def test_it_is_there_for_whoever_asks():
    assert Secret(PLAIN).reveal() == PLAIN
    assert Secret(Secret(PLAIN)).reveal() == PLAIN
    assert Secret(f" {PLAIN}\n").strip() == Secret(PLAIN)
    assert Secret(PLAIN) != Secret("other")
    assert Secret(PLAIN) != PLAIN
    assert (bool(Secret("")), bool(Secret(PLAIN))) == (False, True)


def test_a_traceback_with_its_local_variables_does_not_show_it():
    def fails(secret: Secret) -> None:
        raise ValueError("failed")

    try:
        fails(Secret(PLAIN))
    except ValueError as error:
        shown = "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())
    assert f"Secret({MASK})" in shown
    assert "secret=4711" not in shown.replace(f'PLAIN = "{PLAIN}"', "")


@pytest.mark.parametrize(
    "text",
    [
        f"GET https://vendor.example/?api_key={PLAIN}",
        "GET https://vendor.example/?k=vk%2Fplain%2Bsecret%3D4711&email=x",
        "GET https://vendor.example/vk/plain%2Bsecret%3D4711",
        f"the vendor said: key {PLAIN}{PLAIN} is not valid",
    ],
)
def test_text_is_rid_of_the_secrets_that_are_alive(text: str):
    alive = Secret(PLAIN)
    assert "4711" not in mask(text)
    assert MASK in mask(text)
    assert alive


def test_in_json_it_is_found_as_well():
    alive = Secret('a"quoted\\key')
    assert "quoted" not in mask(json.dumps({"said": 'a"quoted\\key'}))
    assert alive


def test_nothing_is_kept_of_a_secret_that_is_gone():
    secret = Secret(PLAIN)
    assert mask(PLAIN) == MASK
    del secret
    gc.collect()
    assert mask(PLAIN) == PLAIN


def test_short_secrets_do_not_take_ordinary_words_away():
    alive = Secret("created")
    assert mask("a run was created") == "a run was created"
    assert alive


def test_all_secrets_that_are_alive_are_masked_the_shortest_too():
    one, two = Secret("eight-ch"), Secret("another secret")
    assert len(one.reveal()) == SHORTEST
    assert mask("eight-ch, another secret") == f"{MASK}, {MASK}"
    del one
    assert mask("eight-ch, another secret") == f"eight-ch, {MASK}"
    assert two
