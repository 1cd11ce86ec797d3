"""The structure of the package: its rooms have an order, and imports go one way."""

import ast
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
# Each room imports from itself and from those before it. Modules directly in a folder are a room
# of the folder's name.
ROOMS = [
    "layers.ops",
    "layers.attention",
    "layers.transformer",
    "layers",
    "layers.testing",
    "zoo",
    "zoo.text",
    "zoo.training",
    "zoo.models",
    "zoo.decoding",
    "zoo.visualization",
    "zoo.pipeline",
    "zoo.presets",
    "zoo.interchange",
    "serving.runtime",
    "serving.export",
    "serving.rest_json",
    "serving.server",
    "serving.client",
    "serving",
    "recipes.data.files",
    "recipes.data",
    "recipes.metrics",
    "recipes.core",
    "recipes.distribute",
    "recipes.tensorboard",
    "recipes.training",
    "recipes.analysis",
    "recipes.presets",
    "recipes.cli",
    "recipes",
]
# Names that the field has other words for, and what took their place.
RETIRED = {
    "Sight": "MaskSpec",
    "small_products": "low_latency_matmul",
    "small_softmax": "low_latency_softmax",
    "LawSubject": "LayerUnderTest",
    "DoesNotApply": "NotApplicable",
    "side_by_side": "parallel_batches",
    "meeting": "rendezvous",
    "Placement": "DistributionContext",
    "from_chief": "broadcast_from_chief",
    "mended_fit": "patched_fit",
    "task_runs": "launch",
    "joining": "concatenation",
    "row_scores": "row_statistics",
    "target_scores": "scoring",
    "places": "positions",
    "options_of": "kwargs_from_tokenizer",
    "set_spent": "set_progress",
    "run_in_phases": "decode_loop",
    "IMPOSSIBLE": "NEG_INF",
    "nameable": "can_copy_unknown",
    "nonfinite": "nan_guard",
    "attention_health": "attention_metrics",
    "embedding_power": "embedding_scale_power",
    "subwords": "tokenizer",
    "subword_dropout": "bpe_dropout",
    "wiring": "attention_query",
    "SubwordTokenizer": "Tokenizer",
}
FOLDERS = ("layers", "zoo", "serving", "recipes")
MODULES = {
    ".".join(path.relative_to(CHECKOUT).with_suffix("").parts): path
    for folder in FOLDERS
    for path in sorted((CHECKOUT / folder).rglob("*.py"))
}


def import_nodes(node):
    """The import statements under a node, but for those that only a type checker reads."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        if isinstance(child, (ast.Import, ast.ImportFrom)):
            yield child
        else:
            yield from import_nodes(child)


def imported_names(module):
    """The dotted names that a module imports anywhere in it; own ones without the package."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    for node in import_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
            continue
        parts = module.split(".")
        base = ["attention_zoo", *parts[: len(parts) - node.level]] if node.level else []
        base += node.module.split(".") if node.module else []
        yield from (".".join([*base, alias.name]) for alias in node.names)


def own_imports(module):
    """The modules of the package that a module imports."""
    for name in imported_names(module):
        top, _, rest = name.partition(".")
        while top == "attention_zoo" and rest:
            found = rest if rest in MODULES else f"{rest}.__init__"
            if found in MODULES:
                yield found
                break
            rest = rest.rpartition(".")[0]


def room_of(module):
    return module.rpartition(".")[0]


def test_every_module_is_in_a_room_of_the_list():
    assert {room_of(module) for module in MODULES} == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_from_itself_and_those_before_it(room):
    allowed = set(ROOMS[: ROOMS.index(room) + 1])
    for module in MODULES:
        # What a folder exports is no arrow of the folder's.
        if room_of(module) == room and not module.endswith("__init__"):
            backward = {name for name in own_imports(module) if room_of(name) not in allowed}
            assert not backward, f"{module} imports from a later room: {backward}"


def test_no_files_import_each_other_in_a_cycle():
    # What a folder exports imports its files, and they take names from it: no cycle of files.
    files = {module for module in MODULES if not module.endswith("__init__")}
    imports = {module: set(own_imports(module)) & files - {module} for module in files}
    # A file that imports nothing, or that nothing imports, is in no cycle: it is taken away, and
    # again, until what is left is cycles and what lies between them.
    while imports:
        imported = set().union(*imports.values()) & imports.keys()
        inner = {file for file in imported if imports[file] & imports.keys()}
        if inner == imports.keys():
            break
        imports = {file: imports[file] & inner for file in inner}
    assert not imports, f"files that import each other: {imports}"


def test_layers_need_keras_and_numpy_and_nothing_else():
    for module in MODULES:
        if module.startswith("layers."):
            # One operation is TensorFlow's alone: imported in a function, where Keras runs on it.
            more = ["tensorflow"] if module == "layers.ops.low_latency" else []
            names = {name.partition(".")[0] for name in imported_names(module)}
            foreign = (
                names - set(sys.stdlib_module_names) - {"attention_zoo", "keras", "numpy", *more}
            )
            assert not foreign, f"{module} imports {foreign}"


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_has_no_more_modules_than_a_person_overlooks(room):
    names = [m for m in MODULES if room_of(m) == room and not m.endswith("__init__")]
    assert len(names) <= 16, f"{room} has {len(names)} modules"


def identifiers(tree):
    """The names that a module defines, imports or uses: functions, arguments, attributes, ..."""
    for node in ast.walk(tree):
        for field in ("id", "attr", "arg", "name", "asname"):
            name = getattr(node, field, None)
            if isinstance(name, str):
                yield from name.split(".")


def test_retired_names_stay_away():
    for module, path in MODULES.items():
        names = {*identifiers(ast.parse(path.read_text(encoding="utf-8"))), *module.split(".")}
        found = names & RETIRED.keys()
        assert not found, f"{module} has {found}; write {[RETIRED[name] for name in found]}"


def test_what_a_text_is_made_of_is_called_tokens():
    # Words of version 0.1 that its files still have.
    formats = {"recipes.data.prepared"}
    for module, path in MODULES.items():
        told = path.read_text(encoding="utf-8").lower()
        assert module in formats or "subword" not in told, f"{module}; write token"


def test_a_docstring_opens_with_what_a_thing_is_or_does():
    questions = {"What", "Which", "Whether", "How", "Where", "Who", "When"}
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            text = ast.get_docstring(node) if isinstance(node, kinds) else None
            assert not text or text.split()[0] not in questions, f"{module}: {text[:60]}"
