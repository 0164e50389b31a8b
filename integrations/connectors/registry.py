"""The connectors that Weir has, by provider name."""

from integrations.connectors.base import Connector
from integrations.connectors.findymail import Findymail
from integrations.connectors.hunter import Hunter
from integrations.connectors.jobs import Jobs
from integrations.connectors.prospeo import Prospeo
from integrations.connectors.zerobounce import ZeroBounce


class UnknownProvider(ValueError):
    """There is no connector of this name; the message lists those there are."""

    def __init__(self, provider: str) -> None:
        super().__init__(
            f"unknown provider {provider!r}; known providers: {', '.join(sorted(c.provider for c in offered()))}"
        )
        self.provider = provider


CONNECTORS: dict[str, Connector] = {
    connector.provider: connector for connector in (Prospeo(), Findymail(), ZeroBounce(), Hunter())
}


def add_sandbox_only() -> None:
    """Have the vendors of the sandbox alone too; for development and tests."""
    CONNECTORS.setdefault(Jobs.provider, Jobs())


def offered() -> list[Connector]:
    """The vendors that people are shown."""
    return [connector for connector in CONNECTORS.values() if not connector.sandbox_only]


def get(provider: str) -> Connector:
    """The connector of this name. Raises UnknownProvider, a ValueError, that names the known ones."""
    try:
        return CONNECTORS[provider]
    except KeyError:
        raise UnknownProvider(provider) from None
