"""/api/docs/: the guide for integrators, the errors, the changelog and the reference, all served from here."""

import itertools
import re
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token

from config.env import BASE_DIR

# Name in the address -> file in docs, title.
PAGES: Final = {
    "": ("api/guide", "Guide"),
    "webhooks": ("webhooks", "Webhooks"),
    "errors": ("api/errors", "Errors"),
    "changelog": ("api/changelog", "Changelog"),
}
ORIGIN: Final = "{{origin}}"
_LANGUAGES: Final = {"bash": "curl", "sh": "curl", "python": "Python"}


def page(request: HttpRequest, name: str = "") -> HttpResponse:
    """A page of the documentation for integrators as HTML."""
    if name not in PAGES:
        raise Http404
    file, title = PAGES[name]
    html, headings = rendered(file)
    origin = settings.BASE_URL or f"{request.scheme}://{request.get_host()}"
    context = {
        "here": name,
        "title": title,
        "pages": [(key, words) for key, (_, words) in PAGES.items()],
        "headings": headings if name == "" else [],
        # What is put in comes from our settings, and stands in a block of code.
        "html": mark_safe(html.replace(ORIGIN, origin.rstrip("/"))),  # noqa: S308
    }
    return render(request, "api_docs/page.html", context)


@cache
def rendered(file: str) -> tuple[SafeString, list[tuple[str, str]]]:
    """(HTML of docs/<file>.md, [(anchor, heading)]). The text is ours; what looks like HTML in it is shown as text."""
    reader = MarkdownIt("commonmark", {"html": False}, renderer_cls=_Renderer).enable("table")
    tokens = reader.parse((BASE_DIR / "docs" / f"{file}.md").read_text())
    headings = []
    for token, inner in itertools.pairwise(tokens):
        if token.type == "heading_open" and token.tag == "h2":
            anchor = re.sub(r"\W+", "-", inner.content.lower()).strip("-")
            token.attrSet("id", anchor)
            headings.append((anchor, inner.content))
    return mark_safe(reader.renderer.render(tokens, reader.options, {})), headings  # noqa: S308 - ours


class _Renderer(RendererHTML):
    """Blocks of code with a name and a button to copy them; tables that scroll by themselves."""

    def fence(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        language, _, name = tokens[idx].info.partition(" file=")
        label = name or _LANGUAGES.get(language, "")
        text = tokens[idx].content.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        head = f'<p class="code-name">{label}</p>' if label else ""
        return (
            f'{head}<div class="code"><pre id="code-{idx}" tabindex="0">{text}</pre>'
            f'<button class="btn btn-small" type="button" data-copy="code-{idx}" hidden><span>Copy</span></button></div>'
        )

    def table_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        return '<div class="table-wrap" tabindex="0"><table>'

    def table_close(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        return "</table></div>"
