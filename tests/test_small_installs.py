"""Parts of the package alone, and commands that must not wait for TensorFlow."""

import configparser
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import attention_zoo
from attention_zoo.recipes.cli.main import app, run_command

CHECKOUT = Path(attention_zoo.__file__).parent
# Lets nothing in but what is named, and the standard library.
BLOCK = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if {condition}:
            raise ImportError(f"{{name}} is not installed here", name=name)
sys.meta_path.insert(0, Blocker())
"""


def output(code, *arguments, **environment):
    """What a fresh process prints that runs this code."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "command",
    [
        ["--help"],
        ["-h"],
        ["--version"],
        ["list"],
        ["settings"],
        ["predict", "-h"],
        ["serve", "--help"],
        ["presets", "build", "-h"],
    ],
    ids=" ".join,
)
def test_what_only_tells_loads_no_tensorflow(command):
    code = (
        "import atexit, sys\n"
        "from attention_zoo.recipes.cli.main import main\n"
        "heavy = ('tensorflow', 'keras', 'sentencepiece', 'matplotlib')\n"
        "atexit.register(lambda: print('loaded', [m for m in heavy if m in sys.modules]))\n"
        "main(sys.argv[1:])\n"
    )
    assert output(code, *command).splitlines()[-1] == "loaded []"


def test_the_version_is_that_of_the_package(capsys):
    assert run_command(app, ["--version"]) == 0
    assert capsys.readouterr().out == f"attention-zoo {attention_zoo.__version__}\n"
    citation = (CHECKOUT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {attention_zoo.__version__}\n" in citation


def test_the_shell_completes_commands_and_presets(monkeypatch):
    """As bash asks: the words so far, and the number of the one to complete."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from attention_zoo.zoo.presets import names\n"
        "names.FOLDER = Path('shelf')\n"
        "sys.argv[0] = 'attention-zoo'\n"
        "from attention_zoo.recipes.cli.main import main\n"
        "main()\n"
    )
    Path("shelf").mkdir()
    for name in ("everyday-zh-en", "everyday-en-zh", "dates-en-zh"):
        Path(f"shelf/{name}.zip").touch()

    def completions(line):
        words = line.split(" ")
        return output(
            code,
            _ATTENTION_ZOO_COMPLETE="complete_bash",
            COMP_WORDS="\n".join(words),
            COMP_CWORD=str(len(words) - 1),
        ).split()

    assert completions("attention-zoo pre") == ["prepare", "predict", "presets"]
    assert completions("attention-zoo predict every") == ["everyday-en-zh", "everyday-zh-en"]


def requirements_but(*kept):
    """Import names of what the package requires, but for some."""
    settings = configparser.ConfigParser()
    settings.read(CHECKOUT / "setup.cfg", encoding="utf-8")
    lines = settings["options"]["install_requires"].splitlines()
    names = [re.split("[<>=]", line)[0] for line in lines if line and not line.startswith("#")]
    modules = {name.replace("-", "_").replace("grpcio", "grpc") for name in names}
    assert {"sentencepiece", "tensorflow_text", "typer", "grpc", *kept} <= modules
    return modules - set(kept)


def test_the_layers_need_keras_and_a_backend():
    other = requirements_but("keras", "numpy", "tensorflow", "rich")  # Keras needs rich itself
    code = BLOCK.format(condition=f"top in {other!r}") + (
        "import numpy as np\n"
        "from attention_zoo.layers import BahdanauAttention\n"
        "context = BahdanauAttention(4)(np.ones((1, 2, 3)), np.ones((1, 5, 3)))\n"
        "print(tuple(context.shape))\n"
    )
    assert output(code).splitlines()[-1] == "(1, 2, 3)"


def test_the_client_of_rest_needs_numpy_and_aiohttp():
    other = requirements_but("numpy", "aiohttp", "yarl")  # aiohttp needs yarl itself
    code = BLOCK.format(condition=f"top in {other!r}") + (
        "import http.server, json, threading\n"
        "class Handler(http.server.BaseHTTPRequestHandler):\n"
        "    def do_POST(self):\n"
        "        body = self.rfile.read(int(self.headers['Content-Length']))\n"
        "        texts = [row['text'] for row in json.loads(body)['instances']]\n"
        "        rows = [{'text': text[::-1], 'score': -0.5} for text in texts]\n"
        "        reply = json.dumps({'predictions': rows}).encode()\n"
        "        self.send_response(200)\n"
        "        self.send_header('Content-Length', str(len(reply)))\n"
        "        self.end_headers()\n"
        "        self.wfile.write(reply)\n"
        "    def log_message(self, *_):\n"
        "        pass\n"
        "server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)\n"
        "threading.Thread(target=server.serve_forever, daemon=True).start()\n"
        "from attention_zoo import Client\n"
        "with Client(f'http://127.0.0.1:{server.server_port}', model='m') as client:\n"
        "    answer = client.predict(['abc'])[0]\n"
        "print(json.dumps([answer.text, answer.score]))\n"
    )
    assert json.loads(output(code)) == ["cba", -0.5]


def test_a_client_for_rest_needs_no_tensorflow():
    code = (
        "import sys\n"
        "from attention_zoo.serving import Client\n"
        "Client('http://127.0.0.1:1', model='m')\n"
        "heavy = {'tensorflow', 'keras', 'grpc'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
