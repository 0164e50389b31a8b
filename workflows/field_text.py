"""Any value of a contact's field as text that can be kept, with a fault for each that could not be taken as it is."""

import json
import re
import unicodedata
from collections.abc import Container, Mapping
from dataclasses import dataclass

MAX_FIELD_CHARS = 200
MAX_EXTRA_CHARS = 2_000
MAX_EXTRA_FIELDS = 200
MAX_EMAIL_CHARS = 254
# Cleaning shortens a link, so its raw form may be longer than a field; past this it is not worth parsing.
MAX_LINK_CHARS = 2_000

LABELS = {
    "first_name": "first name",
    "last_name": "last name",
    "full_name": "full name",
    "company": "company",
    "domain": "domain",
    "linkedin_url": "LinkedIn link",
    "email": "e-mail address",
}

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
# Joiners (U+200C, U+200D) are left alone: names in Persian and several Indic scripts need them.
_INVISIBLE = re.compile(
    "[\x01-\x08\x0e-\x1b\x7f\u0080-\u0084\u0086-\u009f\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]"
)
_PLACEHOLDERS = frozenset(
    ("n/a", "#n/a", "#ref!", "#value!", "#name?", "(none)", "(empty)", "[not provided]", "not provided")
)
_LINK_PLACEHOLDERS = _PLACEHOLDERS | {"na", "none", "null", "nil", "unknown"}


@dataclass(frozen=True, slots=True)
class FieldFault:
    """One thing wrong with one field: `code` for programs, `message` for the person who can put it right."""

    field: str
    code: str
    message: str


def storable(text: str) -> str:
    """The same text with what PostgreSQL cannot hold (NUL, half a Unicode character) replaced by U+FFFD."""
    return _UNSTORABLE.sub("\ufffd", text)


def known_text(field: str, value: object, faults: list[FieldFault]) -> str:
    """The tidied text of a known field; what is wrong with it is added to `faults`."""
    if value is None:
        return ""
    text = _as_text(field, value, faults, flags_are_text=False)
    text = text if text.isascii() and text.isprintable() else _composed(text)
    text = " ".join(text.split())
    if not text:
        return ""
    is_link = field in ("domain", "linkedin_url", "email")
    if text.casefold() in (_LINK_PLACEHOLDERS if is_link else _PLACEHOLDERS) or _only_punctuation(text):
        return ""
    limit = MAX_EMAIL_CHARS if field == "email" else MAX_LINK_CHARS if is_link else MAX_FIELD_CHARS
    if len(text) > limit:
        faults.append(_too_long(field, LABELS[field], len(text), limit))
    return text


def _as_text(field: str, value: object, faults: list[FieldFault], *, flags_are_text: bool) -> str:
    """Any JSON value as text that can be stored; what could not be taken as it is, is added to `faults`."""
    if isinstance(value, bool) and flags_are_text:
        return "true" if value else "false"
    if isinstance(value, str):
        text = value
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return str(value)
        except ValueError:  # Python refuses to write out integers of more than 4,300 digits
            text = "a very large number"
            faults.append(_not_text(field, text))
    else:
        text = _as_json(value)
        faults.append(_not_text(field, "a list" if isinstance(value, list | tuple) else f"“{shown(text)}”"))
    if text.isascii() and "\x00" not in text:
        return text
    if "\x00" in text:
        message = f"The {_label(field)} contains a NUL byte, which no text may hold. Remove it."
        faults.append(FieldFault(field, "nul_byte", message))
    if _SURROGATE.search(text):
        message = f"The {_label(field)} contains characters that could not be read. Save the source as UTF-8."
        faults.append(FieldFault(field, "bad_text", message))
    return storable(text)


def _as_json(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, TypeError, RecursionError):
        return f"({type(value).__name__})"


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", _INVISIBLE.sub("", text))


def _only_punctuation(text: str) -> bool:
    return len(text) < 10 and all(unicodedata.category(char)[0] in "PS" for char in text)


def clean_extras(
    raw: Mapping[str, object], known: tuple[str, ...], faults: list[FieldFault]
) -> dict[str, str]:
    """All fields but the known ones, to the letter; what is wrong with them is added to `faults`."""
    extras: dict[str, str] = {}
    for key, value in raw.items():
        if key in known:
            continue
        name = key
        if len(key) > MAX_FIELD_CHARS or not key.isascii() or "\x00" in key:
            name = _clean_extra_name(key, {*raw, *extras}, faults)
        if type(value) is str and len(value) <= MAX_EXTRA_CHARS and value.isascii() and "\x00" not in value:
            text = value  # nearly every cell of nearly every file
        else:
            text = "" if value is None else _as_text(name, value, faults, flags_are_text=True)
            if len(text) > MAX_EXTRA_CHARS:
                faults.append(_too_long(name, f"field “{shown(name)}”", len(text), MAX_EXTRA_CHARS))
        extras[name] = text
    if len(extras) > MAX_EXTRA_FIELDS:
        message = f"This contact has {len(extras):,} extra fields; {MAX_EXTRA_FIELDS} are allowed."
        faults.append(FieldFault("", "too_many_fields", message))
    return extras


def _clean_extra_name(name: str, taken: Container[str], faults: list[FieldFault]) -> str:
    clean = storable(name)
    if clean != name:
        message = f"The field name “{shown(clean)}” contains characters that cannot be stored. Rename it."
        faults.append(FieldFault(clean, "bad_text", message))
    if len(name) > MAX_FIELD_CHARS:
        faults.append(_too_long(clean, f"field name “{shown(clean)}”", len(name), MAX_FIELD_CHARS))
    return clean if clean == name else free_name(clean, taken)


def free_name(wanted: str, taken: Container[str]) -> str:
    """`wanted`, or the first of `wanted (2)`, `wanted (3)`, … that is not taken."""
    name, number = wanted, 2
    while name in taken:
        name, number = f"{wanted} ({number})", number + 1
    return name


def _not_text(field: str, what: str) -> FieldFault:
    return FieldFault(field, "not_text", f"The {_label(field)} is {what}, not text. Give it as text.")


def _too_long(field: str, label: str, length: int, limit: int) -> FieldFault:
    return FieldFault(
        field, "too_long", f"The {label} is {length:,} characters long; {limit:,} are allowed. Shorten it."
    )


def _label(field: str) -> str:
    return LABELS.get(field) or f"field “{shown(field)}”"


def shown(text: str) -> str:
    """As much of a value as fits into a message."""
    text = storable(text)
    return text if len(text) <= 60 else text[:57] + "…"
