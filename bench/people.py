"""Contacts for the benches."""


def people(count: int, tag: str) -> list[dict[str, str]]:
    """So many contacts that the email waterfall accepts, all different; the tag keeps two benches' apart."""
    return [
        {"first_name": f"{tag}{number}", "last_name": "Smith", "domain": f"{tag}{number}.example".lower()}
        for number in range(count)
    ]
