"""The connectors that Weir has, by provider name."""

from integrations.connectors.base import Connector
from integrations.connectors.findymail import Findymail
from integrations.connectors.hunter import Hunter
from integrations.connectors.prospeo import Prospeo
from integrations.connectors.zerobounce import ZeroBounce


class UnknownProvider(ValueError):
    """There is no connector of this name; the message lists those there are."""

    def __init__(self, provider: str) -> None:
        super().__init__(f"unknown provider {provider!r}; known providers: {', '.join(sorted(CONNECTORS))}")
        self.provider = provider


CONNECTORS: dict[str, Connector] = {
    connector.provider: connector for connector in (Prospeo(), Findymail(), ZeroBounce(), Hunter())
}


def get(provider: str) -> Connector:
    """The connector of this name. Raises UnknownProvider, a ValueError, that names the known ones."""
    try:
        return CONNECTORS[provider]
    except KeyError:
        raise UnknownProvider(provider) from None
