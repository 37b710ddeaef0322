"""What a browser may do with an answer: headers that hold even where an answer has what a stranger wrote."""

from collections.abc import Awaitable, Callable, Mapping

from fastapi import Request, Response

OF_ALL: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
POLICY = "Content-Security-Policy"
OF_DATA: Mapping[str, str] = {POLICY: "default-src 'none'; frame-ancestors 'none'"}
OF_DOCS: Mapping[str, str] = {POLICY: "frame-ancestors 'none'"}  # Swagger UI has its script in the page
OF_PAGE: Mapping[str, str] = {
    POLICY: "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "frame-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}
"""The service's page: scripts and styles are files of the service, and nothing else is asked for anything."""
OF_REPORT: Mapping[str, str] = {
    POLICY: "sandbox allow-scripts allow-downloads; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
}
"""A report: a document of no origin, which can read nothing of the service and ask nobody. Vega makes functions."""


async def guard(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
    """Add the headers of all answers, and a policy to an answer that has none."""
    response = await answer(request)
    docs = request.url.path.rstrip("/").endswith(("/docs", "/redoc", "/docs/oauth2-redirect"))
    for name, value in {**OF_ALL, **(OF_DOCS if docs else OF_DATA)}.items():
        response.headers.setdefault(name, value)
    return response
