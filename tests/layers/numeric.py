"""Numbers for the tests of the layers, on every Keras backend."""

import keras
import numpy as np
from keras import ops


def array(tensor):
    return ops.convert_to_numpy(tensor)


def softmax(scores, mask=None):
    """Softmax written row by row; a row without anything to attend to is a row of zeros."""
    mask = np.ones_like(scores, bool) if mask is None else np.broadcast_to(mask, scores.shape)
    weights = np.zeros_like(scores)
    for place in np.ndindex(scores.shape[:-1]):
        allowed = mask[place]
        if allowed.any():
            exponentials = np.exp(scores[place][allowed] - scores[place][allowed].max())
            weights[place][allowed] = exponentials / exponentials.sum()
    return weights


def random_weights(layer, seed=0):
    """Gives a built layer weights that are all different from zero, biases too."""
    generator = np.random.default_rng(seed)
    layer.set_weights([generator.normal(0, 0.5, w.shape) for w in layer.weights])
    return {weight.name: array(weight).astype("float64") for weight in layer.weights}


# Keras calculates in float64 on TensorFlow alone; elsewhere the differences are coarser.
DOUBLE = keras.backend.backend() == "tensorflow"
DTYPE = "float64" if DOUBLE else "float32"
STEP, TOLERANCE = (1e-5, 1e-6) if DOUBLE else (1e-2, 1e-2)


def check_gradients(layer, *inputs, **options):
    """Compares the gradients of a layer with finite differences, along random directions.

    Checked for every weight and every input, through a function of the outputs that depends on
    each of them in its own way.
    """
    layer = type(layer).from_config({**layer.get_config(), "dtype": DTYPE})
    layer.build(*(tensor.shape for tensor in inputs))
    random_weights(layer)
    points = [array(weight) for weight in layer.trainable_weights]
    points += [tensor.astype(DTYPE) for tensor in inputs]
    number_of_weights = len(layer.trainable_weights)
    generator = np.random.default_rng(1)

    def function(*tensors):
        weights, sequences = tensors[:number_of_weights], tensors[number_of_weights:]
        outputs, _ = layer.stateless_call(
            weights, layer.non_trainable_variables, *sequences, **options
        )
        coefficients = ops.cos(ops.arange(int(np.prod(outputs.shape)), dtype=DTYPE))
        return ops.mean(coefficients * ops.square(ops.reshape(outputs, (-1,)) + 0.5))

    if keras.backend.backend() == "jax":
        import jax

        function = jax.jit(function)  # else every operation is compiled apart
    gradients = gradients_of(function, points)
    for place, point in enumerate(points):
        for _ in range(2):
            direction = generator.normal(size=point.shape)
            direction /= np.sqrt(np.sum(direction**2))
            ahead, behind = (
                _value(function, points, place, point + step * direction) for step in (STEP, -STEP)
            )
            numerical = (ahead - behind) / (2 * STEP)
            analytical = float(np.sum(gradients[place] * direction))
            size = np.sqrt(np.sum(gradients[place] ** 2))
            assert abs(analytical - numerical) <= TOLERANCE * size + 1e-3 * TOLERANCE


def _value(function, points, place, changed):
    points = [changed if index == place else point for index, point in enumerate(points)]
    return float(array(function(*(ops.convert_to_tensor(p, dtype=DTYPE) for p in points))))


def gradients_of(function, points):
    """The gradients of a scalar function of tensors, at points that are arrays."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        tensors = [tf.constant(point) for point in points]
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            value = function(*tensors)
        return [np.array(gradient) for gradient in tape.gradient(value, tensors)]
    if backend == "jax":
        import jax

        gradients = jax.jit(jax.grad(function, argnums=tuple(range(len(points)))))(*points)
        return [np.array(gradient) for gradient in gradients]
    import torch

    tensors = [torch.tensor(point, requires_grad=True) for point in points]
    return [np.array(gradient) for gradient in torch.autograd.grad(function(*tensors), tensors)]


def outputs_and_gradients(layer, inputs, options):
    """What a built layer gives, and the gradients of all its weights and inputs."""
    weights = [array(weight) for weight in layer.trainable_weights]

    def function(*tensors):
        own, given = tensors[: len(weights)], tensors[len(weights) :]
        outputs, _ = layer.stateless_call(own, [], *given, **options)
        return ops.sum(ops.square(outputs + 0.5))

    return [array(layer(*inputs, **options)), *gradients_of(function, [*weights, *inputs])]


def require_close(results, others):
    """Array by array, to what float32 can hold."""
    for one, other in zip(results, others, strict=True):
        np.testing.assert_allclose(one, other, atol=2e-5 * max(1, abs(other).max()))
