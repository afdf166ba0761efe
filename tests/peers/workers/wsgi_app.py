"""A WSGI application whose requests are jobs, and which has fiveobs at work before any fork."""

from __future__ import annotations

import os
import threading
from urllib.parse import parse_qs

from fiveobs import observe_job

#: With ``--preload`` this runs in the master: its pipeline must be of no concern to the workers.
with observe_job("load-settings", service="shop"):
    pass


@observe_job(
    "checkout",
    service="shop",
    carrier=lambda environ: {"traceparent": environ.get("HTTP_TRACEPARENT", "")},
    request_id=lambda environ: environ["HTTP_X_REQUEST_ID"],
)
def checkout(environ):
    """The work of a request."""
    asked = parse_qs(environ["QUERY_STRING"])
    if "hang" in asked:
        threading.Event().wait()
    if "fail" in asked:
        raise ValueError("the cart is empty")
    return os.getpid()


def application(environ, start_response):
    """The server's side."""
    try:
        status, body = "200 OK", str(checkout(environ)).encode()
    except ValueError as error:
        status, body = "400 Bad Request", str(error).encode()
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
