"""The REST interface of TensorFlow Serving: which address does what, and how it answers."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from ipaddress import ip_address
from typing import Any
from urllib.parse import unquote, urlsplit

from aiohttp import web

from ..rest_json.json_parser import encode
from ..runtime.errors import Code, ServingError, invalid_argument
from ..runtime.session import Signature, TensorSpec
from ..runtime.versions import MAX_VERSION
from .connections import Connections, max_connections
from .inference import InferenceCore, ModelSpec, deadline_after
from .model_state import Version
from .page_files import DemoPage
from .request_bodies import RequestBodies
from .server_options import ServerOptions

_LOG = logging.getLogger("attention_zoo.serving")
_JSON = "application/json"
_MODEL = r"(?:/v1/models)(?:/([^/:]+))"
_VERSION = r"(?:(?:/versions/([0-9]+))|(?:/labels/([^/:]+)))?"
_API = re.compile(r"/v1/.*", re.IGNORECASE | re.DOTALL)
_PREDICT = re.compile(rf"{_MODEL}{_VERSION}:predict", re.IGNORECASE)
_STATUS = re.compile(rf"{_MODEL}?{_VERSION}(?:/(metadata))?", re.IGNORECASE)
_LONGEST_LINE = 4096
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
# A page from elsewhere whose name was made to lead here would be in a browser what this one is.
_OTHER_HOST = (
    "This server can be reached from its own machine alone, so it is asked under the name "
    "localhost or its address; `--host` makes it one for others"
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
        self.connections: Connections | None = None
        self._hosts = _own_hosts(options.host)
        self._headers = {"Server": "attention-zoo", **(_CORS_HEADERS if options.cors else {})}
        self._bodies = RequestBodies(
            options.max_body_bytes, options.max_bodies_bytes, options.receive_timeout
        )
        self._page = DemoPage(core.manager) if options.page else None
        self.stopping = False  # from then on every reply is the last one of its connection

    def application(self) -> web.Application:
        """The aiohttp application that answers every address."""
        app = web.Application()
        app.router.add_route("*", "/{address:.*}", self.handle)
        return app

    def protocols(self, server: web.Server) -> Connections:
        """Makes the protocol of each connection of an aiohttp server, within limits."""
        most = max_connections(self._options.max_pending)
        seconds = self._options.receive_timeout
        too_slow = _error_body(self._too_slow)
        self.connections = Connections(server, self._refusal, most, seconds, too_slow)
        return self.connections

    def _refusal(self, data: bytes) -> bytes | None:
        """Refuses the request that begins a connection, if its first line shows that it must be."""
        line = data.partition(b" HTTP/")[0][:_LONGEST_LINE].decode("latin-1")
        method, _, address = line.partition(" ")
        match = _PREDICT.fullmatch(address) if method == "POST" else None
        if match is None:
            return None
        try:
            spec = _spec_of(*match.group(1, 2, 3))
            self._core.check_load(spec, deadline_after(self._options.timeout))
        except ServingError as error:
            if error.code != Code.UNAVAILABLE:
                return None  # it is told with all the others
            self._core.count_request(spec.name, "predict", "REST", 0.0, error.code)
            return _error_body(error.message)
        return None

    async def handle(self, request: web.Request) -> web.Response:
        """Answers one request; whatever goes wrong becomes a reply."""
        if self.connections is not None:
            self.connections.heard(request.protocol)
        response = await self._respond(request)
        response.headers.update(self._headers)
        if self.stopping:
            response.force_close()
        return response

    async def _respond(self, request: web.Request) -> web.Response:
        address = _address_of(request)
        path = address.partition("?")[0]
        if self._hosts and not _names(request.headers.get("Host"), self._hosts):
            return _reply(403, _error_body(_OTHER_HOST))
        if path == self._options.metrics_path and request.method == "GET":
            return web.Response(text=self._core.metrics.page(), content_type="text/plain")
        if not _API.fullmatch(path):
            page = self._page.answer(request.method, path) if self._page is not None else None
            if page is not None:
                return page
            return web.Response(status=404, text=_NOT_FOUND_PAGE, content_type="text/html")
        if request.method == "OPTIONS":
            allowed = _ORIGIN.search(request.headers.get("Origin", ""))
            return web.Response(status=200 if allowed else 400)
        start = time.perf_counter()
        code = Code.CANCELLED  # unless there is an answer
        try:
            response, code = await self._answer_or_explain(request, address)
        finally:
            predict, status = _PREDICT.fullmatch(address), _STATUS.fullmatch(address)
            match = predict or status
            name = unquote(match.group(1) or "") if match else ""
            verb = "predict" if predict else (status.group(4) or "").lower() if status else ""
            self._core.count_request(name, verb, "REST", time.perf_counter() - start, code)
        return response

    async def _answer_or_explain(
        self, request: web.Request, address: str
    ) -> tuple[web.Response, Code]:
        try:
            return _reply(200, await self._answer(request, address)), Code.OK
        except ServingError as error:
            return _reply(error.code.http_status, _error_body(error.message)), error.code
        except web.HTTPRequestEntityTooLarge as error:
            return _reply(413, _error_body(error.text or error.reason)), Code.INVALID_ARGUMENT
        except asyncio.TimeoutError:
            return _reply(408, _error_body(self._too_slow)), Code.DEADLINE_EXCEEDED
        except ConnectionResetError:
            # Nobody is there to read this; aiohttp only has to be handed something.
            return _reply(Code.CANCELLED.http_status, b""), Code.CANCELLED
        except web.RequestPayloadError as error:
            message = f"The body of the request cannot be read: {error}"
            return _reply(400, _error_body(message)), Code.INVALID_ARGUMENT
        except web.HTTPException as error:
            return _reply(error.status, _error_body(error.reason)), Code.INVALID_ARGUMENT
        except Exception:
            _LOG.exception("Cannot answer %s %s", request.method, address)
            message = "The server failed to answer; its log says why"
            return _reply(500, _error_body(message)), Code.INTERNAL

    async def _answer(self, request: web.Request, address: str) -> bytes:
        method = request.method
        if method == "POST" and (match := _PREDICT.fullmatch(address)):
            spec = _spec_of(*match.group(1, 2, 3))
            deadline = deadline_after(self._options.timeout)
            with self._core.admit(spec, deadline):
                async with self._bodies.read(request) as body:
                    return await self._core.answer_json(spec, body, deadline)
        if method == "GET" and (match := _STATUS.fullmatch(address)):
            spec = _spec_of(*match.group(1, 2, 3))
            if not spec.name:
                raise invalid_argument("Missing model name in request.")
            return self._metadata(spec) if match.group(4) else self._status(spec)
        raise invalid_argument(f"Malformed request: {method} {address}")

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


def _reply(status: int, body: bytes) -> web.Response:
    return web.Response(status=status, body=body, content_type=_JSON)


def _address_of(request: web.Request) -> str:
    """The path and the query as the client wrote them; the official server reads both as one."""
    return re.sub(r"^https?://[^/]*", "", request.raw_path.partition("#")[0])


def _own_hosts(host: str) -> frozenset[str]:
    """The names of a server that only this machine can reach; empty where others may, too."""
    try:
        loopback = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        loopback = False
    return frozenset({"localhost", "127.0.0.1", "::1", host}) if loopback else frozenset()


def _names(header: str | None, hosts: frozenset[str]) -> bool:
    """Tells if a `Host` header names one of some hosts; a client without one is no browser."""
    try:
        return header is None or urlsplit(f"//{header}").hostname in hosts
    except ValueError:
        return False


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
