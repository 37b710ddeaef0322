"""The HTTP side of the service: routes, logins, bodies, streams, problems, metrics."""
