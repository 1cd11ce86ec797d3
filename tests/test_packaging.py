"""The package as a user gets it: what is in the wheel, and what importing it loads."""

import configparser
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import attention_zoo

CHECKOUT = Path(__file__).resolve().parent.parent
NOT_PACKAGES = {"tests", "benchmarks", "docs"}

SETTINGS = configparser.ConfigParser()
SETTINGS.read(CHECKOUT / "setup.cfg", encoding="utf-8")


def tracked_files(suffix=""):
    """The files of the repository as git knows them, or, without git, as they lie."""
    listed = subprocess.run(
        ["git", "-C", CHECKOUT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not in a git checkout")
    paths = [Path(name) for name in listed.stdout.decode().split("\0") if name]
    return [path for path in paths if path.suffix == suffix and (CHECKOUT / path).is_file()]


def data_files():
    """The files beside modules that come with a package, as `package_data` lists them."""
    found = set()
    for package, patterns in SETTINGS["options.package_data"].items():
        folder = CHECKOUT.joinpath(*package.split(".")[1:])
        for pattern in patterns.split():
            matches = {path for path in folder.glob(pattern) if path.is_file()}
            # Of the trained models there may be none in a branch that builds them.
            assert matches or pattern == "*.zip", f"{package} has no file {pattern}"
            found |= {path.relative_to(CHECKOUT) for path in matches}
    return found


def modules():
    """Every module that should be in the wheel, as a path from the checkout."""
    return {path for path in tracked_files(".py") if path.parts[0] not in NOT_PACKAGES}


def test_package_list_equals_the_folders():
    listed = set(SETTINGS["options"]["packages"].split())
    folders = {path.parent for path in tracked_files(".py")}
    folders = {
        folder for folder in folders if not folder.parts[:1] or folder.parts[0] not in NOT_PACKAGES
    }
    assert listed == {".".join(("attention_zoo", *folder.parts)) for folder in folders}
    for folder in folders:
        assert (CHECKOUT / folder / "__init__.py").is_file(), f"{folder} is no package"


def test_nothing_else_lies_at_the_root():
    """A module at the root would be importable under two names."""
    at_root = {path.name for path in tracked_files(".py") if len(path.parts) == 1}
    assert at_root == {"__init__.py", "__main__.py"}


def test_installed_metadata():
    assert importlib.metadata.version("attention-zoo") == attention_zoo.__version__
    (command,) = importlib.metadata.distribution("attention-zoo").entry_points
    assert (command.name, command.value) == ("attention-zoo", "attention_zoo.recipes.cli.main:main")


def test_tensorflow_and_its_text_share_their_minor_version():
    versions = {
        name: ".".join(importlib.metadata.version(name).split(".")[:2])
        for name in ("tensorflow", "tensorflow-text", "tensorflow-serving-api")
        if importlib.util.find_spec("tensorflow")
    }
    assert len(set(versions.values())) <= 1, versions


def test_constraints_pin_all_that_is_required():
    """A pinned version for each requirement, by name, extras included."""
    packaging = pytest.importorskip("packaging.requirements")
    pinned = {
        packaging.Requirement(line).name.lower()
        for line in (CHECKOUT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    }
    lists = [SETTINGS["options"]["install_requires"], *SETTINGS["options.extras_require"].values()]
    required = {
        packaging.Requirement(line).name.lower()
        for lines in lists
        for line in lines.splitlines()
        if line and not line.startswith("#")
    }
    assert required <= pinned


# The wheel, built once from the files of the repository


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with the source distribution and the wheel made from it."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("built")
    source = folder / "source"
    kept = {"setup.cfg", "pyproject.toml", "README.md", "LICENSE", "NOTICE"}
    for path in {*tracked_files(".py"), *data_files(), *map(Path, kept)}:
        target = source / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((CHECKOUT / path).read_bytes())
    # The build tools of this environment, where they are new enough, save a download.
    subprocess.run(
        [sys.executable, "-m", "build", "--outdir", folder / "dist", source],
        check=True,
        capture_output=True,
    )
    return folder / "dist"


def test_wheel_has_every_module_and_nothing_else(built):
    (wheel,) = built.glob("*.whl")
    names = {Path(name) for name in zipfile.ZipFile(wheel).namelist()}
    names = {name for name in names if ".dist-info" not in name.parts[0]}
    assert names == {Path("attention_zoo") / path for path in modules() | data_files()}


def test_wheel_carries_its_licenses(built):
    (wheel,) = built.glob("*.whl")
    files = zipfile.ZipFile(wheel)
    for file in ("LICENSE", "NOTICE"):
        (name,) = [n for n in files.namelist() if n.endswith(f"licenses/{file}")]
        assert files.read(name) == (CHECKOUT / file).read_bytes()
    (metadata,) = [n for n in files.namelist() if n.endswith("/METADATA")]
    expression = SETTINGS["metadata"]["license_expression"]
    assert f"\nLicense-Expression: {expression}\n".encode() in files.read(metadata)


def test_source_distribution_has_what_the_build_needs(built):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        names = {Path(*Path(name).parts[1:]) for name in files.getnames()}
    assert modules() | {Path("setup.cfg"), Path("pyproject.toml"), Path("README.md")} <= names


# What an import loads, in a fresh process


def loaded_by(code, **environment):
    """The names of the top-level modules that are loaded after `code`."""
    code += (
        "\nimport json, sys; print(json.dumps(sorted({n.partition('.')[0] for n in sys.modules})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_root_import_is_light():
    loaded = loaded_by("import attention_zoo; attention_zoo.__version__")
    assert "attention_zoo" in loaded
    assert not loaded & {"tensorflow", "keras", "jax", "torch", "numpy"}


def test_layers_load_no_tensorflow_on_another_backend():
    pytest.importorskip("jax")
    loaded = loaded_by("import attention_zoo.layers", KERAS_BACKEND="jax")
    assert {"attention_zoo", "keras", "jax"} <= loaded
    assert "tensorflow" not in loaded


# What a user imports; a change of it is a decision.
PUBLIC = {
    *("load", "train", "build", "generate", "explain", "export", "Client", "MODELS"),
    *("TextToText", "GenerationOptions", "Tokenizer"),
    *("EncoderDecoder", "Encoder", "Decoder", "Output"),
    *("register_model", "register_task", "register_attention"),
    *("register_metric", "register_schedule"),
}


def test_public_names():
    assert set(attention_zoo.__all__) == {*PUBLIC, "__version__"}
    assert attention_zoo.layers.Attention.__name__ == "Attention"  # without an import of its own
    for name in PUBLIC:
        assert getattr(attention_zoo, name) is not None
