// Curves over shares of pixels.

import { h } from "./dom.js";

const SPACE = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP] = [420, 240, 48, 34, 10];
const DASHES = ["", "7 3", "2 3", "9 3 2 3", "12 4"];

function svg(tag, attributes, ...children) {
  const element = document.createElementNS(SPACE, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// Positions in a plot: shares from 0 to `most` to the right, from 0 to 1 upwards.
function placed(x, y, most) {
  return [LEFT + (x / most) * (WIDTH - LEFT - 8), TOP + (1 - y) * (HEIGHT - TOP - BOTTOM)];
}

function axes(label, most) {
  const ticks = [0, 0.25, 0.5, 0.75, 1].flatMap((share) => {
    const [x, y] = placed(share, share, 1);
    const anchor = share === 0 ? "start" : share === 1 ? "end" : "middle";
    return [
      svg("line", { class: "grid", x1: LEFT, y1: y, x2: WIDTH - 8, y2: y }),
      svg("text", { x: LEFT - 5, y: y + 4, "text-anchor": "end" }, `${100 * share} %`),
      svg("text", { x, y: HEIGHT - BOTTOM + 15, "text-anchor": anchor },
        `${Number((100 * share * most).toPrecision(3))} %`),
    ];
  });
  return [...ticks, svg("text",
    { x: (LEFT + WIDTH) / 2, y: HEIGHT - 3, "text-anchor": "middle" }, label)];
}

function points(fractions, values, most) {
  return fractions.map((fraction, place) =>
    placed(fraction, values[place], most).map((value) => value.toFixed(1)).join(",")).join(" ");
}

// One plot: its title, the label of its x axis, the fractions, and series of a name and values.
export function createPlot({ title, label, fractions, series }) {
  const lines = series.map(({ values }, place) => svg("polyline", {
    class: `series series-${place % 5}`,
    points: points(fractions, values, 1),
    "stroke-dasharray": DASHES[Math.floor(place / 5) % DASHES.length],
  }));
  const keys = series.map(({ name }, place) => h("li", {},
    svg("svg", { viewBox: "0 0 24 8", "aria-hidden": "true" }, svg("line", {
      class: `series series-${place % 5}`, x1: 0, x2: 24, y1: 4, y2: 4,
      "stroke-dasharray": DASHES[Math.floor(place / 5) % DASHES.length],
    })), ` ${name}`));
  return h("figure", {}, h("figcaption", {}, title),
    svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": title },
      ...axes(label, 1), ...lines), h("ul", { class: "keys" }, ...keys));
}

// A small curve of one series with a mark, for beside a slider.
export function createTrace(label) {
  const line = svg("polyline", { class: "series series-0" });
  const mark = svg("circle", { class: "mark", r: 5 });
  const scales = svg("g", {});
  const element = svg("svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label }, scales, line, mark);
  return {
    element,
    draw(fractions, values, place) {
      const last = fractions.at(-1);
      const most = [0.01, 0.05, 0.1, 0.2, 0.5].find((limit) => last <= limit) ?? 1;
      scales.replaceChildren(...axes("pixels deleted", most));
      line.setAttribute("points", points(fractions, values, most));
      const [x, y] = placed(fractions[place], values[place], most);
      mark.setAttribute("cx", x);
      mark.setAttribute("cy", y);
    },
  };
}
