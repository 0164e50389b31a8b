"""The colours of the one stylesheet: text reads at 4.5:1, what carries meaning stands out at 3:1, in both modes."""

import re
from pathlib import Path

import pytest

CSS = Path(__file__).resolve().parents[2] / "templates" / "static" / "weir.css"
TOKEN = re.compile(r"--([a-z0-9-]+):\s*light-dark\((#[0-9a-f]{6}),\s*(#[0-9a-f]{6})\)")
TONES = ("green", "amber", "red", "blue", "grey")
GROUNDS = ("bg", "surface", "surface-2")
TEXTS = [
    *((text, ground) for text in ("text", "text-2", "accent", "red", "green", "amber") for ground in GROUNDS),
    *((tone, f"{tone}-tint") for tone in TONES),
    *(("text", f"{tone}-tint") for tone in TONES),
    ("accent", "amber-tint"),
    ("accent", "red-tint"),
    ("accent", "blue-tint"),
    ("text-2", "surface-3"),
    ("text-2", "accent-tint"),
    ("text", "accent-tint"),
    ("accent-strong", "accent-tint"),
    ("on-accent", "accent"),
    ("on-accent", "accent-strong"),
    ("on-danger", "danger"),
    ("on-danger", "red-fill"),
]
CONTROLS = [
    *(("line-strong", ground) for ground in GROUNDS),
    *(("accent", ground) for ground in GROUNDS),
    *((f"{tone}-fill", ground) for tone in TONES for ground in ("surface",)),
    ("red-fill", "surface"),
]


def tokens(mode: int) -> dict[str, str]:
    return {match[0]: match[1 + mode] for match in TOKEN.findall(CSS.read_text())}


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), TEXTS)
def test_text_has_enough_contrast(text: str, ground: str, mode: int):
    colours = tokens(mode)
    assert contrast(colours[text], colours[ground]) >= 4.5


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("part", "ground"), CONTROLS)
def test_what_carries_meaning_has_enough_contrast(part: str, ground: str, mode: int):
    colours = tokens(mode)
    assert contrast(colours[part], colours[ground]) >= 3.0


def test_every_colour_is_a_token_with_both_modes():
    css = CSS.read_text()
    rules = css[css.index("/* Ground */") :]
    found = set(re.findall(r"#[0-9a-fA-F]{3,8}\b", rules))
    assert found <= {"#0d131780"}, "only the dialog's backdrop may name a colour outside the tokens"
    declared = set(re.findall(r"--([a-z0-9-]+):\s*light-dark", css))
    assert declared == set(tokens(0)) == set(tokens(1))


def test_every_token_that_is_used_exists():
    css = CSS.read_text()
    declared = set(re.findall(r"--([a-z0-9-]+):", css))
    assert set(re.findall(r"var\(--([a-z0-9-]+)", css)) <= declared
