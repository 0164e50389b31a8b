"""The one icon set of the pages: strokes on a 16 px grid, each drawn beside a word."""

from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

PATHS = {
    "home": '<path d="M2.5 7 8 2.5 13.5 7v6.5h-4v-4h-3v4h-4z"/>',
    "runs": '<path d="M2.5 3.5h11M2.5 8h6M2.5 12.5h6"/><path d="m11 8 3 2.25L11 12.5z"/>',
    "workflows": (
        '<circle cx="4" cy="3.5" r="1.75"/><circle cx="4" cy="12.5" r="1.75"/><circle cx="12" cy="8" r="1.75"/>'
        '<path d="M4 5.25v5.5M4 8h6.25"/>'
    ),
    "vendors": '<path d="M5.5 2v3.5M10.5 2v3.5M3.5 5.5h9v2a4.5 4.5 0 0 1-9 0zM8 12v2"/>',
    "insights": '<path d="M2.5 13.5h11M4.5 11V8M8 11V3.5M11.5 11V6"/>',
    "developers": '<path d="m5 4.5-3 3.5 3 3.5M11 4.5l3 3.5-3 3.5M9.25 3l-2.5 10"/>',
    "settings": (
        '<path d="M2 4.5h6M12 4.5h2M2 11.5h2M8 11.5h6"/><circle cx="10" cy="4.5" r="1.75"/>'
        '<circle cx="6" cy="11.5" r="1.75"/>'
    ),
    "search": '<circle cx="7" cy="7" r="4.25"/><path d="m10.25 10.25 3.25 3.25"/>',
    "plus": '<path d="M8 3v10M3 8h10"/>',
    "check": '<path d="m3 8.5 3.25 3.25L13 4.75"/>',
    "x": '<path d="m4 4 8 8M12 4l-8 8"/>',
    "minus": '<path d="M3.5 8h9"/>',
    "clock": '<circle cx="8" cy="8" r="5.75"/><path d="M8 4.75V8l2.25 1.5"/>',
    "pause": '<path d="M5.5 3.5v9M10.5 3.5v9"/>',
    "play": '<path d="m5 3 7.5 5L5 13z"/>',
    "stop": '<rect x="3.75" y="3.75" width="8.5" height="8.5" rx="1"/>',
    "alert": '<path d="M8 2.25 14.25 13H1.75zM8 6.5v3M8 11.25v.01"/>',
    "info": '<circle cx="8" cy="8" r="5.75"/><path d="M8 7.25v3.5M8 5v.01"/>',
    "download": '<path d="M8 2.5v7.5M4.75 7 8 10.25 11.25 7M2.5 13.5h11"/>',
    "upload": '<path d="M8 10V2.5M4.75 5.5 8 2.25l3.25 3.25M2.5 13.5h11"/>',
    "file": '<path d="M3.5 1.75h5.75l3.25 3.25v9.25h-9zM9 1.75V5.25h3.5"/>',
    "right": '<path d="m6 3.5 4.5 4.5L6 12.5"/>',
    "left": '<path d="M10 3.5 5.5 8l4.5 4.5"/>',
    "down": '<path d="m3.5 6 4.5 4.5L12.5 6"/>',
    "copy": '<rect x="5.5" y="5.5" width="8" height="8" rx="1"/><path d="M10.5 5.5v-3h-8v8h3"/>',
    "key": '<circle cx="5" cy="11" r="2.75"/><path d="m7 9 6-6M10.5 5.5l2 2"/>',
    "user": '<circle cx="8" cy="5.25" r="2.75"/><path d="M2.75 13.75c.5-3 2.6-4.25 5.25-4.25s4.75 1.25 5.25 4.25"/>',
    "sign-out": '<path d="M6.5 2.5h-4v11h4M6 8h7.5M10.75 5.25 13.5 8l-2.75 2.75"/>',
    "theme": '<circle cx="8" cy="8" r="5.75"/><path d="M8 2.25v11.5a5.75 5.75 0 0 0 0-11.5z" fill="currentColor"/>',
    "skip": '<path d="m3.5 3.5 6 4.5-6 4.5zM12.5 3.5v9"/>',
    "more": '<path d="M3.5 8h.01M8 8h.01M12.5 8h.01" stroke-width="2.5"/>',
    "sandbox": (
        '<path d="M6.25 2h3.5M7 2v4.25L2.75 13a.75.75 0 0 0 .6 1.25h9.3a.75.75 0 0 0 .6-1.25L9 6.25V2"/>'
        '<path d="M4.75 10h6.5"/>'
    ),
    "team": (
        '<circle cx="6" cy="5.5" r="2.5"/><path d="M1.5 13.5c.4-2.75 2.1-4 4.5-4s4.1 1.25 4.5 4"/>'
        '<path d="M10.5 3.25a2.5 2.5 0 0 1 0 4.5M12 9.75c1.5.5 2.25 1.75 2.5 3.75"/>'
    ),
    "refresh": '<path d="M13.5 8a5.5 5.5 0 1 1-1.75-4M13.5 2v3.25h-3.25"/>',
    "arrow": '<path d="M2.5 8h11M9.5 4l4 4-4 4"/>',
}


def icon(name: str) -> SafeString:
    """The icon as inline SVG, hidden from assistive technology: a word always stands beside it."""
    return format_html(
        '<svg class="icon" viewBox="0 0 16 16" aria-hidden="true" focusable="false">{}</svg>',
        mark_safe(PATHS[name]),  # noqa: S308 - constants of this module
    )
