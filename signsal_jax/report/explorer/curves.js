// Curves over shares of pixels.

import { h } from "./dom.js";

const SPACE = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP] = [420, 240, 40, 34, 8];
const DASHES = ["", "7 3", "2 3", "9 3 2 3", "12 4"];

function svg(tag, attributes, ...children) {
  const element = document.createElementNS(SPACE, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// Positions in a plot of shares from 0 to 1 in both directions.
const at = (x, y) => [LEFT + x * (WIDTH - LEFT - 8), TOP + (1 - y) * (HEIGHT - TOP - BOTTOM)];

function axes(label) {
  const ticks = [0, 0.25, 0.5, 0.75, 1].flatMap((share) => {
    const [x, y] = [at(share, 0), at(0, share)];
    const percent = `${100 * share} %`;
    return [
      svg("line", { class: "grid", x1: at(0, share)[0], y1: y[1], x2: at(1, share)[0], y2: y[1] }),
      svg("text", { x: LEFT - 5, y: y[1] + 4, "text-anchor": "end" }, percent),
      svg("text", { x: x[0], y: HEIGHT - BOTTOM + 15, "text-anchor": "middle" }, percent),
    ];
  });
  return [...ticks, svg("text",
    { x: (LEFT + WIDTH) / 2, y: HEIGHT - 3, "text-anchor": "middle" }, label)];
}

function points(fractions, values) {
  return fractions.map((fraction, place) => at(fraction, values[place]).map((value) =>
    value.toFixed(1)).join(",")).join(" ");
}

// One plot: its title, the label of its x axis, the fractions, and series of a name and values.
export function createPlot({ title, label, fractions, series }) {
  const lines = series.map(({ values }, place) => svg("polyline", {
    class: `series series-${place % 5}`,
    points: points(fractions, values),
    "stroke-dasharray": DASHES[Math.floor(place / 5) % DASHES.length],
  }));
  const keys = series.map(({ name }, place) => h("li", {},
    svg("svg", { viewBox: "0 0 24 8", "aria-hidden": "true" }, svg("line", {
      class: `series series-${place % 5}`, x1: 0, x2: 24, y1: 4, y2: 4,
      "stroke-dasharray": DASHES[Math.floor(place / 5) % DASHES.length],
    })), ` ${name}`));
  return h("figure", {}, h("figcaption", {}, title),
    svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": title },
      ...axes(label), ...lines), h("ul", { class: "keys" }, ...keys));
}

// A small curve of one series with a mark, for beside a slider.
export function createTrace(label) {
  const line = svg("polyline", { class: "series series-0" });
  const mark = svg("circle", { class: "mark", r: 5 });
  const element = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label },
    ...axes("pixels deleted"), line, mark);
  return {
    element,
    draw(fractions, values, place) {
      line.setAttribute("points", points(fractions, values));
      const [x, y] = at(fractions[place], values[place]);
      mark.setAttribute("cx", x);
      mark.setAttribute("cy", y);
    },
  };
}
