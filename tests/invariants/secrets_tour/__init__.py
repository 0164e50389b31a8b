"""A tour through a whole running Weir with planted secrets, and a search for them everywhere that it leaves traces."""
