/** Elements of the page, made without any text ever being read as markup. */

/** The element of the page with this id. */
export const byId = (id) => document.getElementById(id);

/**
 * A new element.
 *
 * @param {string} tag
 * @param {Object} properties set on it, such as `className`; names with a dash are attributes
 * @param {...(Node|string)} children a string becomes text
 */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || !(name in made)) made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children);
  return made;
}

/**
 * Fills a list of choices.
 *
 * @param {HTMLSelectElement} select
 * @param {{value: string, text: string}[]} options
 * @param {string} chosen the value to choose; the first option if there is none of that value
 * @returns {string} the value that is chosen now
 */
export function fillSelect(select, options, chosen) {
  select.replaceChildren(...options.map(({ value, text }) => element("option", { value }, text)));
  const found = options.some(({ value }) => value === chosen);
  select.value = found ? chosen : (options[0]?.value ?? "");
  select.disabled = options.length < 2;
  return select.value;
}
