"""Requests and replies of the REST interface in JSON."""
