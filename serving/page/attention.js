/** The attention in an answer: the model's own alignment, and that of layers and heads. */

/**
 * @typedef {Object} Attention
 * @property {string[]} source tokens that were read
 * @property {string[]} target tokens that were written
 * @property {?number[][]} own the model's alignment (T, S)
 * @property {?number[][][][]} heads that of each layer and head (L, H, T, S)
 * @property {?number[]} copied the share of each target token that was copied, not written (T)
 */

/** The sizes of a nest of lists, such as [2, 3] for two lists of three numbers. */
export function shapeOf(nest) {
  const shape = [];
  for (let part = nest; Array.isArray(part); part = part[0]) shape.push(part.length);
  return shape;
}

/**
 * Reads the attention of one row; padding is left out.
 *
 * @param {Map<string, any>} outputs of the row, by name
 * @returns {?Attention} `null` if there is none
 */
export function readAttention(outputs) {
  const source = outputs.get("source_tokens");
  const target = outputs.get("target_tokens");
  if (!Array.isArray(source) || !Array.isArray(target)) return null;
  const fits = (value, rank) => {
    const shape = shapeOf(value);
    return shape.length === rank && shape.at(-2) === target.length && shape.at(-1) === source.length;
  };
  const values = [...outputs.values()];
  const own = outputs.get("attention");
  const heads = values.find((value) => fits(value, 4));
  if (!fits(own, 2) && !heads) return null;
  const [rows, columns] = [target, source].map((tokens) => tokens.filter(Boolean).length);
  const cut = (matrix) => matrix.slice(0, rows).map((row) => row.slice(0, columns));
  return {
    source: source.slice(0, columns),
    target: target.slice(0, rows),
    own: fits(own, 2) ? cut(own) : null,
    heads: heads ? heads.map((layer) => layer.map(cut)) : null,
    copied: readCopied(outputs.get("p_gen"), target.length)?.slice(0, rows) ?? null,
  };
}

/** What is not written is copied; nothing of a model that cannot copy. */
function readCopied(written, length) {
  const known = Array.isArray(written) && written.length === length;
  return known && written.every(Number.isFinite) ? written.map((share) => 1 - share) : null;
}

/**
 * The weights to show.
 *
 * @param {Attention} attention
 * @param {string} layer from 1; "" is the model's own alignment, or the mean of all without one
 * @param {string} head from 1; "" is the mean of the layer's heads
 * @returns {number[][]} (T, S)
 */
export function chooseWeights({ own, heads }, layer, head) {
  const chosen = heads?.[Number(layer) - 1];
  if (!chosen) return own ?? mean(heads.flat());
  return chosen[Number(head) - 1] ?? mean(chosen);
}

/** The mean of matrices of one shape. */
function mean(matrices) {
  return matrices[0].map((row, t) =>
    row.map((_, s) => matrices.reduce((sum, matrix) => sum + matrix[t][s], 0) / matrices.length),
  );
}
