"""Trains a tiny Transformer on 1, 2 and 4 devices of JAX; a script, as Keras has one backend.

KERAS_BACKEND=jax XLA_FLAGS=--xla_force_host_platform_device_count=4 python jax_runs.py OUTPUT.npz
"""

import sys

from replica_runs import learn, make_batches, save, tiny_model

from attention_zoo.recipes.distribute.strategies import StrategyOptions, make_strategy

PLACES = {
    "single": StrategyOptions("single"),
    "mirrored 2": StrategyOptions("mirrored", replicas=2),
    "mirrored 4": StrategyOptions("mirrored", replicas=4),
    "sharded 2": StrategyOptions("sharded", replicas=2),  # of four devices: two copies
}

if __name__ == "__main__":
    batches = make_batches(bucket_count=1)
    found = {}
    for name, options in PLACES.items():
        where = make_strategy(options)
        found[name] = learn(where, "transformer", batches, static=True, jit=True)
        weights = tiny_model("transformer").weights
        kernel = next(weight for weight in weights if weight.path.endswith("expand/kernel"))
        found[name]["shards"] = kernel.value.addressable_shards[0].data.shape
    save(sys.argv[1], found)
