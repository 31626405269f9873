"""The trial as data: the protocol document, the items a site may report, their units."""
