"""The stage ``faces``: found, cut out, parsed into regions and given landmarks."""
