"""Operations that the layers share: masks, position biases, dropout, normalization, kernels."""
