"""The client of a wmserve server."""
