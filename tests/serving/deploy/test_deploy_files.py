"""The deployment files against the schemas of what reads them, and against each other."""

from __future__ import annotations

import http.server
import json
import re
import subprocess
import threading
from importlib import resources
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")
jsonschema = pytest.importorskip("jsonschema")
kubernetes_validate = pytest.importorskip("kubernetes_validate")

DEPLOY = Path(str(resources.files("attention_zoo.serving") / "deploy"))
KUBERNETES = sorted(
    path for path in (DEPLOY / "kubernetes").glob("*.yaml") if path.name != "kustomization.yaml"
)
SCHEMAS = Path(__file__).parents[1] / "schemas"


def documents(path):
    with open(path, encoding="utf-8") as file:
        return list(yaml.safe_load_all(file))


def schema(name):
    return json.loads((SCHEMAS / name).read_text(encoding="utf-8"))


def of_kind(kind):
    return [d for path in KUBERNETES for d in documents(path) if d["kind"] == kind]


@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.name)
def test_kubernetes_takes_the_manifests(path):
    for document in documents(path):
        for version in ("1.29", "1.33"):
            kubernetes_validate.validate(document, version, strict=True)


def test_the_schema_of_kubernetes_would_find_a_mistake():
    (deployment,) = documents(DEPLOY / "kubernetes" / "deployment.yaml")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    container["readinessProbe"]["periodSecond"] = 3
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, "1.33", strict=True)


def test_compose_takes_the_file():
    (compose,) = documents(DEPLOY / "docker-compose.yaml")
    checked = schema("compose-spec.json")
    jsonschema.Draft7Validator(checked).validate(compose)
    for ports in compose["services"]["serving"]["ports"]:
        assert ports.startswith("127.0.0.1:")
    compose["services"]["serving"]["port"] = []
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(checked).validate(compose)


def test_kserve_takes_the_inference_service():
    (service,) = documents(DEPLOY / "inferenceservice.yaml")
    checked = schema("inferenceservice-v1beta1.json")
    jsonschema.Draft7Validator(checked).validate(service)
    assert service["kind"] == "InferenceService"
    service["spec"]["predictor"]["model"]["storageURI"] = "x"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(checked).validate(service)


def test_kustomization_names_what_is_there():
    (found,) = documents(DEPLOY / "kubernetes" / "kustomization.yaml")
    applied = [path.name for path in KUBERNETES if path.name != "copy-models.yaml"]
    assert sorted(found["resources"]) == applied
    written = ["batching.config", "canary.config", "models.config", "monitoring.config", "ready.sh"]
    (generator,) = found["configMapGenerator"]
    assert sorted(generator["files"]) == written


def test_the_parts_fit_each_other():
    (scaler,) = of_kind("HorizontalPodAutoscaler")
    scaled = scaler["spec"]["scaleTargetRef"]["name"]
    canary, stable = sorted(of_kind("Deployment"), key=lambda d: d["metadata"]["name"] == scaled)
    assert stable["metadata"]["name"] == scaled
    assert "replicas" not in stable["spec"]  # or each `kubectl apply` sets it back
    (claim,) = of_kind("PersistentVolumeClaim")
    (copying,) = of_kind("Pod")
    (volume,) = copying["spec"]["volumes"]
    assert volume["persistentVolumeClaim"] == {"claimName": claim["metadata"]["name"]}
    names = set()
    for deployment in (stable, canary):
        template = deployment["spec"]["template"]
        labels = template["metadata"]["labels"]
        assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
        for service in of_kind("Service"):
            assert service["spec"]["selector"].items() <= labels.items()
            ports = {p["name"] for p in template["spec"]["containers"][0]["ports"]}
            assert {p["targetPort"] for p in service["spec"]["ports"]} <= ports
        volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
        claimed = volumes["models"]["persistentVolumeClaim"]["claimName"]
        assert claimed == claim["metadata"]["name"]
        (container,) = template["spec"]["containers"]
        assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
        names.add(deployment["spec"]["selector"]["matchLabels"]["track"])
        for kind in ("startupProbe", "readinessProbe"):
            assert container[kind]["exec"]["command"][:2] == ["bash", "/config/ready.sh"]
    assert names == {"stable", "canary"}


def flags(arguments):
    return {argument.split("=")[0] for argument in arguments}


def test_flags_are_those_of_the_official_server():
    known = {
        "--allow_version_labels_for_unavailable_models",
        "--batching_parameters_file",
        "--enable_batching",
        "--enable_profiler",
        "--enable_per_model_batching_parameters",
        "--model_config_file",
        "--model_config_file_poll_wait_seconds",
        "--monitoring_config_file",
        "--port",
        "--rest_api_port",
        "--rest_api_timeout_in_ms",
        "--tensorflow_inter_op_parallelism",
        "--tensorflow_intra_op_parallelism",
    }
    (compose,) = documents(DEPLOY / "docker-compose.yaml")
    assert flags(compose["services"]["serving"]["command"]) <= known
    for deployment in of_kind("Deployment"):
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        assert flags(container["args"]) <= known
    (service,) = documents(DEPLOY / "inferenceservice.yaml")
    assert flags(service["spec"]["predictor"]["model"]["args"]) <= known


def test_nobody_can_profile_a_server_or_reach_it_unless_named():
    (compose,) = documents(DEPLOY / "docker-compose.yaml")
    off = "--enable_profiler=false"
    assert off in compose["services"]["serving"]["command"]
    (policy,) = of_kind("NetworkPolicy")
    selected = policy["spec"]["podSelector"]["matchLabels"].items()
    for deployment in of_kind("Deployment"):
        template = deployment["spec"]["template"]
        (container,) = template["spec"]["containers"]
        assert off in container["args"]
        assert selected <= template["metadata"]["labels"].items()
        ports = {port["name"] for port in container["ports"]}
        for rule in policy["spec"]["ingress"]:
            assert rule["from"] and {port["port"] for port in rule["ports"]} <= ports
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"] and not policy["spec"]["egress"]


def test_the_proxy_lets_nothing_through_that_it_does_not_name():
    """Read by hand, since nginx need not be here: every place asks for a token or is 404."""
    text = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    found = re.findall(r"location ([^{]+) {(.*?)\n        }", text, re.DOTALL)
    assert len(found) == 5
    for place, body in found:
        if place == "/":
            assert body.strip() == "return 404;"
        else:
            assert 'if ($client = "") { return 401; }' in body
            assert 'Authorization ""' in body
    assert not any("ModelService" in place for place, _ in found)
    assert text.count("limit_req zone=") == text.count("limit_conn connections") == 1
    (compose,) = documents(DEPLOY / "docker-compose.yaml")
    listened = {line.split()[1] for line in text.splitlines() if line.strip().startswith("listen")}
    assert {port.split(":")[1] for port in compose["services"]["proxy"]["ports"]} == listened


@pytest.fixture
def probe():
    """Runs `ready.sh` with some models against a port."""

    def run(port, *models):
        return subprocess.run(
            ["bash", str(DEPLOY / "ready.sh"), *models],
            env={"REST_PORT": str(port), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    return run


def test_the_probe_reads_the_state_of_every_model(probe, server):
    port = server.address.rest_port
    assert probe(port, "calc").returncode == 0
    assert probe(port, "calc", "toy").returncode == 0
    missing = probe(port, "calc", "nobody")
    assert (missing.returncode, missing.stdout) == (1, "nobody has no version that is AVAILABLE\n")
    assert probe(port).returncode == 1


def test_the_probe_does_not_believe_a_status_of_200(probe):
    class Loading(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = b'{\n "model_version_status": [\n  {\n   "state": "LOADING"\n  }\n ]\n}\n'
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *parts):
            """Says nothing."""

    listener = http.server.HTTPServer(("127.0.0.1", 0), Loading)
    thread = threading.Thread(target=listener.handle_request)
    thread.start()
    assert probe(listener.server_address[1], "m").returncode == 1
    thread.join()
    listener.server_close()
    assert probe(listener.server_address[1], "m").returncode == 1
