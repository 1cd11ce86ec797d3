"""The REST interface of TensorFlow Serving: which address does what, and how it answers."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import Callable
from typing import Any, NoReturn
from urllib.parse import unquote

from aiohttp import web

from ..rest_json.json_examples import check_examples
from ..rest_json.json_parser import encode, parse
from ..rest_json.json_tensor import read_signature_name
from ..runtime.errors import Code, ServingError, invalid_argument
from ..runtime.session import Signature, TensorSpec
from ..runtime.versions import MAX_VERSION
from .inference import DEFAULT_SIGNATURE, InferenceCore, ModelSpec, deadline_after
from .model_state import Version
from .page_files import DemoPage
from .request_bodies import RequestBodies
from .server_options import ServerOptions
from .slow_clients import HeadTimeout, TimedReply

_LOG = logging.getLogger("attention_zoo.serving")
_JSON = "application/json"
_MODEL = r"(?:/v1/models)(?:/([^/:]+))"
_VERSION = r"(?:(?:/versions/([0-9]+))|(?:/labels/([^/:]+)))?"
_API = re.compile(r"/v1/.*", re.IGNORECASE | re.DOTALL)
_PREDICT = re.compile(rf"{_MODEL}{_VERSION}:(classify|regress|predict)", re.IGNORECASE)
_STATUS = re.compile(rf"{_MODEL}?{_VERSION}(?:/(metadata))?", re.IGNORECASE)
_ORIGIN = re.compile(r"https?://")
_CORS_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}
_NOT_FOUND_PAGE = (
    "<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n"
    "<H1>Not Found</H1>\n</BODY></HTML>\n"
)


class RestApi:
    """Answers HTTP requests from an `InferenceCore`.

    Args:
        core: Runs the requests.
        options: Options of the server.
    """

    def __init__(self, core: InferenceCore, options: ServerOptions):
        self._core = core
        self._options = options
        self._too_slow = f"The request was not sent within {options.receive_timeout:g} seconds"
        self._connections: HeadTimeout | None = None
        self._headers = _CORS_HEADERS if options.cors else {}
        self._bodies = RequestBodies(
            options.max_body_bytes, options.max_bodies_bytes, options.receive_timeout
        )
        self._page = DemoPage(core.manager) if options.page else None

    def application(self) -> web.Application:
        """The aiohttp application that answers every address."""
        app = web.Application()
        app.router.add_route("*", "/{address:.*}", self.handle)
        return app

    def protocols(self, make: Callable[[], web.RequestHandler]) -> HeadTimeout:
        """Makes the protocol of each connection: `make`, with a limit on slow clients."""
        body = _error_body(self._too_slow)
        self._connections = HeadTimeout(make, self._options.receive_timeout, body)
        return self._connections

    async def handle(self, request: web.Request) -> web.Response:
        """Answers one request; whatever goes wrong becomes a reply."""
        if self._connections is not None:
            self._connections.heard(request.protocol)
        path = _path_of(request)
        if path == self._options.metrics_path and request.method == "GET":
            return web.Response(text=self._core.metrics.page(), content_type="text/plain")
        if not _API.fullmatch(path):
            page = self._page.answer(request.method, path) if self._page is not None else None
            if page is not None:
                return page
            return web.Response(status=404, text=_NOT_FOUND_PAGE, content_type="text/html")
        if request.method == "OPTIONS":
            allowed = _ORIGIN.search(request.headers.get("Origin", ""))
            return web.Response(status=200 if allowed else 400, headers=self._headers)
        start = time.perf_counter()
        response, code = await self._answer_or_explain(request, path)
        response.headers.update(self._headers)
        match = _PREDICT.fullmatch(path) or _STATUS.fullmatch(path)
        name = unquote(match.group(1) or "") if match else ""
        verb = (match.group(4) or "").lower() if match else ""
        self._core.count_request(name, verb, "REST", time.perf_counter() - start, code)
        return response

    async def _answer_or_explain(
        self, request: web.Request, path: str
    ) -> tuple[web.Response, Code]:
        try:
            return self._reply(200, await self._answer(request, path)), Code.OK
        except ServingError as error:
            return self._reply(error.code.http_status, _error_body(error.message)), error.code
        except web.HTTPRequestEntityTooLarge as error:
            return self._reply(413, _error_body(error.text or error.reason)), Code.INVALID_ARGUMENT
        except asyncio.TimeoutError:
            return self._reply(408, _error_body(self._too_slow)), Code.DEADLINE_EXCEEDED
        except ConnectionResetError:
            # Nobody is there to read this; aiohttp only has to be handed something.
            return self._reply(Code.CANCELLED.http_status, b""), Code.CANCELLED
        except web.RequestPayloadError as error:
            message = f"The body of the request cannot be read: {error}"
            return self._reply(400, _error_body(message)), Code.INVALID_ARGUMENT
        except web.HTTPException as error:
            return self._reply(error.status, _error_body(error.reason)), Code.INVALID_ARGUMENT
        except Exception:
            _LOG.exception("Cannot answer %s %s", request.method, path)
            message = "The server failed to answer; its log says why"
            return self._reply(500, _error_body(message)), Code.INTERNAL

    def _reply(self, status: int, body: bytes) -> web.Response:
        seconds = self._options.receive_timeout
        return TimedReply(seconds, status=status, body=body, content_type=_JSON)

    async def _answer(self, request: web.Request, path: str) -> bytes:
        method = request.method
        if method == "POST" and (match := _PREDICT.fullmatch(path)):
            spec = _spec_of(*match.group(1, 2, 3))
            self._core.check_pending()
            async with self._bodies.read(request) as body:
                return await self._call(match.group(4).lower(), spec, body)
        if method == "GET" and (match := _STATUS.fullmatch(path)):
            spec = _spec_of(*match.group(1, 2, 3))
            if not spec.name:
                raise invalid_argument("Missing model name in request.")
            if match.group(4):
                return self._metadata(spec)
            return self._status(spec)
        raise invalid_argument(f"Malformed request: {method} {path}")

    async def _call(self, verb: str, spec: ModelSpec, body: bytes) -> bytes:
        if verb == "predict":
            return await self._core.predict_json(spec, body, self._options.timeout)
        return await self._refuse_examples(verb, spec, body)

    async def _refuse_examples(self, verb: str, spec: ModelSpec, body: bytes) -> NoReturn:
        """Answers a request for a method that models from text to text do not have."""
        deadline = deadline_after(self._options.timeout)
        name = await self._core.aside(len(body), lambda: _signature_of_examples(body), deadline)
        with self._core.use(spec) as handle:
            signature = handle.session.signatures.get(name)
        if signature is None:
            raise invalid_argument(f"No signature was found with the name: {name}")
        kind = "classification" if verb == "classify" else "regression"
        raise invalid_argument(
            f"Expected {kind} signature method_name to be tensorflow/serving/{verb}. "
            f"Was: {signature.method_name}"
        )

    def _status(self, spec: ModelSpec) -> bytes:
        # A label is read and not looked at: that is how the official server does it.
        found = self._core.manager.status(spec.name, spec.version)
        document = {"model_version_status": [_version_status(status) for status in found]}
        return f"{json.dumps(document, indent=1, ensure_ascii=False)}\n".encode()

    def _metadata(self, spec: ModelSpec) -> bytes:
        with self._core.use(spec) as handle:
            signatures = handle.session.signatures
            model_spec = {
                "name": handle.name,
                "signature_name": "",
                "version": str(handle.version),
            }
        described = {name: _signature(signatures[name]) for name in sorted(signatures)}
        document = {
            "model_spec": model_spec,
            "metadata": {"signature_def": {"signature_def": described}},
        }
        return f"{json.dumps(document, indent=1, ensure_ascii=False)}\n".encode()


def _signature_of_examples(body: bytes) -> str:
    document = parse(body)
    name = read_signature_name(document) or DEFAULT_SIGNATURE
    check_examples(document)
    return name


def _path_of(request: web.Request) -> str:
    """The path as the client wrote it, without a query."""
    path = re.split(r"[?#]", request.raw_path, maxsplit=1)[0]
    return re.sub(r"^https?://[^/]*", "", path)


def _spec_of(name: str | None, version: str | None, label: str | None) -> ModelSpec:
    digits = (version or "").lstrip("0")
    if len(digits) > 19 or int(digits or 0) > MAX_VERSION:
        raise invalid_argument(f"Failed to convert version: {version} to numeric.")
    return ModelSpec(
        name=unquote(name or ""),
        version=None if version is None else int(digits or 0),
        label=None if label is None else unquote(label),
    )


def _error_body(message: str) -> bytes:
    return encode(json.dumps({"error": message}, indent=4, ensure_ascii=False))


def _version_status(status: Version) -> dict[str, Any]:
    error = status.error
    return {
        "version": str(status.number),
        "state": status.state.name,
        "status": {
            "error_code": error.code.name if error else Code.OK.name,
            "error_message": error.message if error else "",
        },
    }


def _signature(signature: Signature) -> dict[str, Any]:
    return {
        "inputs": {alias: _tensor_info(spec) for alias, spec in signature.inputs.items()},
        "outputs": {alias: _tensor_info(spec) for alias, spec in signature.outputs.items()},
        "method_name": signature.method_name,
        "defaults": {},
    }


def _tensor_info(spec: TensorSpec) -> dict[str, Any]:
    names = spec.dim_names or [""] * len(spec.shape or ())
    return {
        "dtype": spec.dtype.enum_name,
        "tensor_shape": {
            "dim": [
                {"size": str(size), "name": name}
                for size, name in zip(spec.shape or (), names, strict=True)
            ],
            "unknown_rank": spec.shape is None,
        },
        "name": spec.tensor,
    }
