"""The script of the page with all layers and heads; a module of its own for its length."""

# Bytes of weights are in the order of the arrays: layer, head, row, column. As on the page of a
# single map each row of tokens is one stop of the tab key, and arrows, Home and End move within.
SCRIPT = """
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const pick = id => document.getElementById(id);
  const [kindChoice, layerChoice, headChoice] = ["kind", "layer", "head"].map(pick);
  const [said, map] = ["said", "map"].map(pick);
  const groups = ["source", "target"].map(pick);
  const invitation = "Point at a token, or reach one with Tab and the arrow keys, to see its "
    + "weights.";
  const decode = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  for (const kind of Object.values(data)) {
    kind.weights = decode(kind.weights);
    kind.rollouts = decode(kind.rollouts);
  }
  let view, weights, chosen = null;

  function element(tag, text, attributes = {}) {
    const made = document.createElement(tag);
    made.textContent = text;
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  }
  function fill(select, options) {
    const kept = select.value;
    select.replaceChildren(...options.map(([value, text]) => element("option", text, {value})));
    if (options.some(([value]) => value === kept)) select.value = kept;
  }
  const upTo = (count, name) =>
    Array.from({length: count}, (_, i) => [String(i + 1), name + " " + (i + 1)]);

  // The mean of the chosen layers and heads, or the rollout up to the chosen layer.
  function compute() {
    const [height, width] = [view.rows.length, view.columns.length];
    const cells = height * width;
    const layer = layerChoice.value === "all" ? null : Number(layerChoice.value) - 1;
    let bytes = view.weights, maps = [];
    if (headChoice.value === "rollout") {
      bytes = view.rollouts;
      maps = [layer === null ? view.layers - 1 : layer];
    } else {
      const head = headChoice.value === "mean" ? null : Number(headChoice.value) - 1;
      for (let l = 0; l < view.layers; l++)
        for (let h = 0; h < view.heads; h++)
          if ((layer === null || l === layer) && (head === null || h === head))
            maps.push(l * view.heads + h);
    }
    return Array.from({length: height}, (_, row) => Array.from({length: width}, (_, column) => {
      let sum = 0;
      for (const each of maps) sum += bytes[each * cells + row * width + column];
      return sum / maps.length / 255;
    }));
  }

  function drawTable() {
    const head = element("tr", "");
    head.append(element("td", ""));
    for (const label of view.columns) {
      const wide = /^[\\u2e80-\\u9fff\\uac00-\\ud7af\\uf900-\\ufaff\\uff00-\\uffef]+$/.test(label);
      const cell = element("th", "", wide ? {scope: "col"} : {scope: "col", class: "turned"});
      cell.append(element("bdi", label));
      head.append(cell);
    }
    const heads = element("thead", ""), body = element("tbody", "");
    heads.append(head);
    weights.forEach((row, number) => {
      const line = element("tr", "");
      const name = element("th", "", {scope: "row"});
      name.append(element("bdi", view.rows[number]));
      line.append(name);
      for (const weight of row) {
        const cell = element("td", Math.round(100 * weight) || "");
        if (weight > .0005) cell.style.setProperty("--w", weight.toFixed(3));
        line.append(cell);
      }
      body.append(line);
    });
    map.replaceChildren(heads, body);
  }
  function drawTokens() {
    [view.columns, view.rows].forEach((labels, side) => {
      pick(groups[side].id + "-title").textContent = view.titles[side];
      groups[side].dir = view.rightToLeft[side] ? "rtl" : "ltr";
      groups[side].replaceChildren(...labels.map((label, index) => element("button", label,
        {type: "button", dir: "auto", "aria-pressed": "false", tabindex: index ? -1 : 0})));
    });
  }

  const tokensOf = side => [...groups[side].children];
  const name = token => "\\u2068" + token.textContent + "\\u2069";  // directions do not mix
  function marks() {
    return [[...map.querySelectorAll("thead th")], [...map.querySelectorAll("tbody tr")]];
  }
  function clear() {
    for (const token of tokensOf(0).concat(tokensOf(1))) {
      token.style.removeProperty("--w");
      token.setAttribute("aria-pressed", "false");
    }
    for (const mark of marks().flat()) mark.classList.remove("on");
    said.textContent = invitation;
  }
  function show(side, index) {
    clear();
    const [own, others] = [tokensOf(side), tokensOf(1 - side)];
    const shares = side ? weights[index] : weights.map(row => row[index]);
    own[index].setAttribute("aria-pressed", "true");
    marks()[side][index].classList.add("on");
    others.forEach((token, other) => token.style.setProperty("--w", shares[other]));
    const best = shares.map((share, other) => [share, other]).filter(([share]) => share >= .01)
      .sort((a, b) => b[0] - a[0]).slice(0, 3)
      .map(([share, other]) => name(others[other]) + " " + Math.round(100 * share) + "%");
    said.textContent = name(own[index]) + (side ? " \\u2190 " : " \\u2192 ")
      + (best.join(", ") || "\\u2013");
  }
  function restore() { if (chosen) show(...chosen); else clear(); }

  groups.forEach((group, side) => {
    const placed = event => tokensOf(side).indexOf(event.target);
    group.addEventListener("mouseover", event => {
      if (placed(event) >= 0) show(side, placed(event));
    });
    group.addEventListener("mouseleave", restore);
    group.addEventListener("focusin", event => {
      tokensOf(side).forEach(each => { each.tabIndex = each === event.target ? 0 : -1; });
      chosen = [side, placed(event)];
      restore();
    });
    group.addEventListener("click", event => { if (placed(event) >= 0) event.target.focus(); });
    group.addEventListener("keydown", event => {
      const tokens = tokensOf(side), index = placed(event);
      const forth = getComputedStyle(group).direction === "rtl" ? -1 : 1;
      const step = {ArrowRight: forth, ArrowLeft: -forth, ArrowDown: 1, ArrowUp: -1}[event.key];
      const next = event.key === "Home" ? 0 : event.key === "End" ? tokens.length - 1
        : step ? Math.min(Math.max(index + step, 0), tokens.length - 1) : -1;
      if (event.key === "Escape") { chosen = null; event.target.blur(); clear(); }
      if (next < 0) return;
      event.preventDefault();
      tokens[next].focus();
    });
  });

  function drawWeights() {
    weights = compute();
    drawTable();
    restore();
  }
  function drawKind() {
    view = data[kindChoice.value];
    chosen = null;
    fill(layerChoice, [["all", "all"], ...upTo(view.layers, "layer")]);
    fill(headChoice, [["mean", "mean"], ...upTo(view.heads, "head"), ["rollout", "rollout"]]);
    drawTokens();
    drawWeights();
  }
  kindChoice.addEventListener("change", drawKind);
  layerChoice.addEventListener("change", drawWeights);
  headChoice.addEventListener("change", drawWeights);
  drawKind();
})();
"""
