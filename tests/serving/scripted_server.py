"""Servers of REST and gRPC that answer `Predict` by one script."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np

from attention_zoo.serving.runtime import protos
from attention_zoo.serving.runtime.tensor_protos import fill_tensor

GOOD = {"text": ["x"], "score": [1.0]}


class Script:
    """Steps to answer with, one a call; the last one again and again.

    A step is a dict of columns, an error `(code, message)` or `(code, message, seconds to wait)`,
    or an event to wait for in silence.
    """

    def __init__(self, *steps):
        self.steps = steps
        self.calls = 0
        self.headers = []

    def next(self, headers):
        self.headers.append({name.lower(): value for name, value in headers})
        step = self.steps[min(self.calls, len(self.steps) - 1)]
        self.calls += 1
        if isinstance(step, threading.Event):
            step.wait(10)
            return GOOD
        return step


def serve_rest(script, tls=None):
    """Starts a server over REST; returns its address and a function that stops it."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            step = script.next(self.headers.items())
            status, wait = 200, None
            if isinstance(step, dict):
                rows = zip(*step.values(), strict=False)
                names = list(step)
                document = {"predictions": [dict(zip(names, row, strict=True)) for row in rows]}
            else:
                status, document = step[0].http_status, {"error": step[1]}
                wait = step[2] if len(step) > 2 else None
            body = json.dumps(document).encode()
            self.send_response(status)
            if wait is not None:
                self.send_header("Retry-After", str(wait))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments):
            pass

    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tls["ca"])
        context.load_cert_chain(tls["cert"], tls["key"])
        context.verify_mode = ssl.CERT_REQUIRED
        made.socket = context.wrap_socket(made.socket, server_side=True)
    made.handle_error = lambda *arguments: None  # a client that is not let in
    threading.Thread(target=made.serve_forever, daemon=True).start()

    def stop():
        made.shutdown()
        made.server_close()

    return f"http{'s' if tls else ''}://localhost:{made.server_address[1]}", stop


def serve_grpc(script, tls=None):
    """Starts a server over gRPC; returns its address and a function that stops it."""

    def predict(request, context):
        script.time_left = context.time_remaining()
        step = script.next(context.invocation_metadata())
        if not isinstance(step, dict):
            if len(step) > 2:
                context.set_trailing_metadata([("grpc-retry-pushback-ms", str(1000 * step[2]))])
            code = next(c for c in grpc.StatusCode if c.value[0] == step[0])
            context.abort(code, step[1])
        reply = protos.PredictResponse()
        for name, column in step.items():
            text = isinstance(column[0], str)
            array = np.array([c.encode() for c in column], object) if text else np.float32(column)
            fill_tensor(reply.outputs[name], array)
        return reply.SerializeToString()

    limits = [("grpc.max_receive_message_length", 10_000)]
    server = grpc.server(ThreadPoolExecutor(4), options=limits)
    method = grpc.unary_unary_rpc_method_handler(predict)
    service = "tensorflow.serving.PredictionService"
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(service, {"Predict": method})]
    )
    if tls is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        read = {name: path.read_bytes() for name, path in tls.items()}
        pairs = [(read["key"], read["cert"])]
        credentials = grpc.ssl_server_credentials(pairs, read["ca"], require_client_auth=True)
        port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    return f"grpc{'s' if tls else ''}://localhost:{port}", lambda: server.stop(0).wait()


SERVE = {"rest": serve_rest, "grpc": serve_grpc}
