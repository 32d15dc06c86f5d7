"""Endpoints: definitions that turn what was observed into one shape."""
