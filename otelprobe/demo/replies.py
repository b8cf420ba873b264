"""Answers that provider and API give alike."""

from flask import Response, jsonify, make_response


def challenge(status: int, parameters: str) -> Response:
    """Refuse with a Bearer challenge (RFC 6750, section 3); without parameters it says only that a token is due."""
    response = make_response(jsonify(error="unauthorized" if status == 401 else "refused"), status)
    response.headers["WWW-Authenticate"] = ", ".join(filter(None, ('Bearer realm="demo"', parameters)))
    return private(response)


def private(response: Response) -> Response:
    """Forbid caches to keep the answer."""
    response.headers["Cache-Control"] = "no-store"
    return response
