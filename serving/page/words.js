/** Tokens to words: what a reader sees of tokens, and the weights between words. */

const SPACE_MARK = "\u2581"; // SentencePiece writes the space before a word as this block
const BARE_SPACE = "\u2423"; // a token that is nothing but a space has to be seen: open box
const CONTINUATION = "\u00b7"; // put before a piece that goes on inside a word: un \u00b7break \u00b7able
const SYMBOLS = new Map([
  ["</s>", "end"],
  ["<sep>", "\u00b6"],
]);
const LENGTH = /^<length=(\d+)>$/;
const UNKNOWN = "<unk>"; // letters that the vocabulary lacks
const LACKING = "\ufffd"; // what is shown of them inside a word

// Letters, marks and digits of scripts that put spaces between words; and what stands inside words.
const UNSPACED = /[\p{sc=Han}\p{sc=Hira}\p{sc=Kana}\p{sc=Bopo}\p{sc=Thai}\p{sc=Laoo}\p{sc=Khmr}\p{sc=Mymr}\p{sc=Tibt}\u30fc]/u;
const IN_WORD = /[\p{L}\p{M}\p{N}'\u2019\u200c\u200d\ufffd]/u;

/**
 * @typedef {Object} Word
 * @property {string} text what is shown
 * @property {number[]} tokens places of its tokens
 * @property {boolean} spaced whether there is a space before it
 * @property {boolean} symbol whether it is none of the text, such as the end of it
 */

/** Whether a piece that ends with `before` goes on in one that starts with `after`. */
function goesOn(before, after) {
  const joins = (character) => IN_WORD.test(character) && !UNSPACED.test(character);
  return Boolean(before && after) && joins(before) && joins(after);
}

/** What is shown of a token that is no part of the text, or nothing. */
function symbolOf(token) {
  const length = LENGTH.exec(token);
  return length ? `length ${length[1]}` : SYMBOLS.get(token);
}

/** What is shown of a token that is part of the text. */
function textOf(token, whole) {
  if (token === UNKNOWN) return whole ? LACKING : UNKNOWN;
  const body = token.startsWith(SPACE_MARK) ? token.slice(1) : token;
  return body.replaceAll(SPACE_MARK, " ");
}

/**
 * Words of SentencePiece tokens. A piece that begins with the mark of a space begins a word; one
 * that goes on inside a word belongs to it. Pieces of scripts without spaces, such as Chinese, and
 * tokens of vocabularies without marks stand for themselves; letters where all are letters have no dot.
 *
 * Example: `▁un break able` is one word, `unbreakable`, or the pieces `un`, `·break` and `·able`.
 *
 * @param {string[]} tokens in reading order, without padding
 * @param {boolean} whole false leaves every token as it is
 * @returns {Word[]}
 */
export function joinTokens(tokens, whole = true) {
  const marked = tokens.some((token) => token.startsWith(SPACE_MARK));
  const letters = tokens.every((token) => symbolOf(token) !== undefined || [...token].length < 2);
  const words = [];
  tokens.forEach((token, place) => {
    const symbol = symbolOf(token);
    const begins = token.startsWith(SPACE_MARK);
    const text = symbol ?? textOf(token, whole);
    const last = words.at(-1);
    const open = marked && last && !last.symbol && symbol === undefined && !begins;
    const inside = open && goesOn(last.text.at(-1), [...text][0]);
    // A mark that stands alone is the space before the next piece, of whatever script.
    if (whole && (inside || (open && last.text === ""))) {
      last.text += text;
      last.tokens.push(place);
    } else {
      const spaced = !marked || begins || symbol !== undefined || Boolean(last?.symbol);
      const shown = inside && !letters ? CONTINUATION + text : text;
      words.push({ text: shown, tokens: [place], spaced, symbol: symbol !== undefined });
    }
  });
  for (const word of words) word.text ||= BARE_SPACE;
  return words;
}

/** The mean of the numbers of each word's tokens. */
export function joinShares(shares, words) {
  return words.map(({ tokens }) => tokens.reduce((sum, t) => sum + shares[t], 0) / tokens.length);
}

/**
 * Weights between words: a target word pays the mean of what its tokens pay, and a source word gets
 * the sum of what its tokens get, so that what a word pays in all stays the same.
 *
 * @param {number[][]} weights by target token and source token
 * @param {Word[]} targets
 * @param {Word[]} sources
 * @returns {number[][]} by target word and source word
 */
export function joinWeights(weights, targets, sources) {
  return targets.map((target) =>
    sources.map((source) => {
      let sum = 0;
      for (const t of target.tokens) for (const s of source.tokens) sum += weights[t][s];
      return sum / target.tokens.length;
    }),
  );
}
