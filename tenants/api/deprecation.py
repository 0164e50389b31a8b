"""What a route says that is to go: `Deprecation` (RFC 9745), `Sunset` (RFC 8594), and where to read on."""

from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime

CHANGELOG = "/api/docs/changelog/"


@dataclass(frozen=True, slots=True)
class Going:
    """Deprecated since a moment (UTC), gone at another, replaced by `instead`, a path of the API."""

    since: datetime
    gone: datetime | None = None
    instead: str = ""

    def headers(self) -> dict[str, str]:
        links = [f'<{CHANGELOG}>; rel="deprecation"; type="text/html"']
        if self.instead:
            links.append(f'<{self.instead}>; rel="successor-version"')
        found = {"Deprecation": f"@{int(self.since.timestamp())}", "Link": ", ".join(links)}
        if self.gone is not None:
            found["Sunset"] = format_datetime(self.gone, usegmt=True)
        return found
