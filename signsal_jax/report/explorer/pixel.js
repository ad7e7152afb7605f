// The marked pixel: the signed gradient of every class as bars, who leads and by how much.

import { formatter } from "./arrays.js";
import { h, setText } from "./dom.js";

const PERCENTILE = 99.5; // see pack.py

// `chosen(key)` is called with the layer of a class whose bar is pressed.
export function createPixel({ chosen, released }) {
  const place = h("h2");
  const pin = h("button", { class: "pin", type: "button", hidden: true, onclick: released },
    "Release");
  const says = h("p", { class: "says" });
  const list = h("ol", { class: "bars" });
  const foot = h("p", { class: "foot" });
  const spoken = h("p", { class: "spoken", "aria-live": "polite" });
  const element = h("section", { class: "pixel", "aria-label": "Classes at this pixel" },
    h("div", { class: "head" }, place, pin), says, list, foot, spoken);
  let bars = [];
  let classes = [];
  let image = null;

  function show(shownImage, layers) {
    image = shownImage;
    classes = layers;
    bars = layers.map((layer, index) => {
      const { probability } = image.classes[index];
      const fill = h("span", { class: "fill" });
      const rank = h("span", { class: "rank" });
      const value = h("span", { class: "value" });
      const target = index === image.target;
      const button = h("button", {
        type: "button",
        class: target ? "target" : null,
        onclick: () => chosen(layer.key),
      }, rank,
      h("span", { class: "label" }, h("span", { class: "class", title: layer.label }, layer.label),
        h("span", { class: "probability" },
          probability === null ? "" : `${(100 * probability).toFixed(1)} %`)),
      h("span", { class: "track" }, fill), value);
      return { button, fill, rank, value };
    });
    list.replaceChildren(...bars.map(({ button }) => h("li", {}, button)));
    const all = image.classes.length === image.count
      ? "All classes"
      : `The ${image.classes.length} classes with the highest scores of ${image.count}`;
    setText(foot, `${all}, by score; the explained one in bold. Gradients are summed over channels`
      + `${image.cell > 1 ? ` and over cells of ${image.cell} × ${image.cell} pixels` : ""}: the`
      + ` change of the score per unit of brightness. Colors and bars end at the ${PERCENTILE}th`
      + ` percentile of the magnitudes. Numbers are within ${
        layers[0].step.toExponential(1)} of the computed ones, signs are exact.`);
  }

  // Called on every move, so it only writes what has changed.
  function mark(row, column, cell, pinned, aloud) {
    const values = classes.map((layer) => layer.at(cell));
    const order = values.map((_, index) => index).sort((a, b) => values[b] - values[a]);
    const [first, second] = order;
    const scale = classes[0].scale;
    const format = formatter(scale);
    bars.forEach(({ fill, rank, value }, index) => {
      const size = scale ? Math.max(-1, Math.min(1, values[index] / scale)) : 0;
      fill.style.transform = `scaleX(${size})`;
      fill.classList.toggle("below", size < 0);
      setText(value, format(values[index]));
      setText(rank, index === first ? "1st" : index === second ? "2nd" : "");
    });
    setText(place, `Row ${row}, column ${column}`);
    pin.hidden = !pinned;
    const silent = values.every((value) => value === 0);
    const name = (index) => classes[index].label;
    setText(says, silent || second === undefined
      ? "No class responds to this pixel."
      : `${name(first)} leads; runner-up ${name(second)}; margin ${
        format(values[first] - values[second]).slice(1)}.`);
    if (aloud) setText(spoken, `${place.textContent}. ${says.textContent}`);
  }

  function select(key) {
    bars.forEach(({ button }, index) =>
      button.setAttribute("aria-pressed", String(classes[index].key === key)));
  }

  return { element, show, mark, select };
}
