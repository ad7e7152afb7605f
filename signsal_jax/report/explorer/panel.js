// A map with its menu and its scale, and the marked pixel.

import { formatter } from "./arrays.js";
import { drawLayer, scaleGradient } from "./colors.js";
import { fillSelect, h, setText, uniqueId } from "./dom.js";

const ARROWS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
const FAR = 5;
const UNITS = {
  score: "score per unit of brightness",
  share: "share of the map's maximum",
  scales: "each in units of its scale",
};

// `moved(row, column, how)` is called as the pixel moves, by "hover", "press" or "key"; `released()`
// on Escape; `chosen(key)` when the menu changes.
export function createPanel(name, { moved, released, chosen }) {
  const canvas = h("canvas", { "aria-hidden": "true" });
  const cursor = h("div", { class: "cursor" });
  const frame = h("div", {
    class: "frame",
    tabindex: "0",
    role: "application",
    "aria-label": `${name}: arrow keys move the pixel`,
  }, canvas, cursor);
  const id = uniqueId("menu");
  const select = chosen ? h("select", { id, onchange: () => chosen(select.value) }) : null;
  const heading = h(select ? "label" : "span", { class: "name", for: select ? id : null }, name);
  const bar = h("div", { class: "bar" });
  const ends = [h("span"), h("span"), h("span")];
  const unit = h("span", { class: "unit" });
  const here = h("output", { class: "here" });
  const legend = h("div", { class: "legend" }, bar, h("div", { class: "ends" }, ...ends), unit);
  const element = h("section", { class: "panel", "aria-label": name },
    h("div", { class: "head" }, heading, select, here), frame, legend);
  let rows = 1;
  let columns = 1;
  let layer = null;
  let mark = [0, 0];

  function pixelAt(event) {
    const box = frame.getBoundingClientRect();
    const place = (share, count) => Math.max(0, Math.min(count - 1, Math.floor(share * count)));
    return [
      place((event.clientY - box.top) / box.height, rows),
      place((event.clientX - box.left) / box.width, columns),
    ];
  }

  frame.addEventListener("pointermove", (event) => moved(...pixelAt(event), "hover"));
  frame.addEventListener("pointerdown", (event) => moved(...pixelAt(event), "press"));
  frame.addEventListener("keydown", (event) => {
    if (event.key === "Escape") released();
    if (!(event.key in ARROWS) || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    const [down, right] = ARROWS[event.key].map((way) => way * (event.shiftKey ? FAR : 1));
    const inside = (value, count) => Math.max(0, Math.min(count - 1, value));
    moved(inside(mark[0] + down, rows), inside(mark[1] + right, columns), "key");
  });

  function resize(image) {
    rows = Math.ceil(image.height / image.cell);
    columns = Math.ceil(image.width / image.cell);
    frame.style.aspectRatio = `${columns} / ${rows}`;
    cursor.style.width = `${100 / columns}%`;
    cursor.style.height = `${100 / rows}%`;
  }

  return {
    element,
    menu: (groups, value) => fillSelect(select, groups, value),
    showPicture(image, picture) {
      resize(image);
      canvas.width = image.width;
      canvas.height = image.height;
      canvas.getContext("2d").drawImage(picture, 0, 0);
      legend.classList.add("without");
      setText(unit, `${image.width} × ${image.height} pixels`
        + (image.cell > 1 ? `, maps in cells of ${image.cell} × ${image.cell}` : ""));
    },
    showLayer(image, shown) {
      resize(image);
      layer = shown;
      drawLayer(canvas, layer, columns, rows);
      bar.style.backgroundImage = scaleGradient(layer.kind);
      const format = formatter(layer.scale);
      const [low, high] = [layer.kind === "positive" || layer.kind === "any" ? 0 : -layer.scale,
        layer.kind === "negative" ? 0 : layer.scale];
      setText(ends[0], format(low).trim());
      setText(ends[1], layer.kind === "signed" ? "0" : "");
      setText(ends[2], format(high).trim());
      setText(unit, layer.scale ? UNITS[layer.unit] : "empty: nothing to see");
    },
    mark(row, column) {
      mark = [row, column];
      cursor.style.left = `${(100 * column) / columns}%`;
      cursor.style.top = `${(100 * row) / rows}%`;
      if (layer) setText(here, formatter(layer.scale)(layer.at(row * columns + column)));
    },
  };
}
