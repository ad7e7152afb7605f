// The explorer: every view shows the same image and the same pixel.

import { difference, unpackView } from "./arrays.js";
import { createPlot } from "./curves.js";
import { createDeletion } from "./deletion.js";
import { h, setText } from "./dom.js";
import { download } from "./download.js";
import { createPanel } from "./panel.js";
import { createPixel } from "./pixel.js";
import { readState, stateWriter } from "./state.js";
import { createSteps } from "./steps.js";
import { createTable } from "./tables.js";

async function pictureOf(address) {
  if (!address) return null;
  const picture = new Image();
  picture.src = address;
  await picture.decode();
  return picture;
}

// The first of the wishes that is one of the choices.
function oneOf(choices, ...wishes) {
  return wishes.find((wish) => choices.includes(wish)) ?? choices[0];
}

function header(model) {
  const about = Object.entries(model.get("about")).map(([name, value]) =>
    h("div", {}, h("dt", {}, name), h("dd", {}, value)));
  return h("header", {}, h("h1", {}, model.get("title")), h("dl", {}, ...about),
    ...model.get("notes").map((note) => h("p", { class: "note" }, note)));
}

function results(model) {
  const [plots, tables] = [model.get("plots"), model.get("tables")];
  if (!plots.length && !tables.length) return null;
  return h("section", { class: "results", "aria-labelledby": "results" },
    h("h2", { id: "results" }, "Of all images"),
    h("div", { class: "plots" }, ...plots.map(createPlot)), ...tables.map(createTable));
}

export function render({ model, el }) {
  const images = model.get("images");
  const views = new Map();
  const write = stateWriter();
  const state = { image: 0, estimator: 0, row: null, column: null, share: 0, epsilon: 0,
    ...readState() };
  let pinned = false;
  let shown = null; // what `load` gives, of the image on the screen

  const handlers = {
    moved(row, column, how) {
      if (!shown || (how === "hover" && pinned)) return;
      if (how === "press") pinned = !pinned;
      Object.assign(state, { row, column });
      mark(how === "key");
    },
    released() {
      pinned = false;
      mark(false);
    },
  };
  const choose = (name) => (key) => {
    state[name] = key;
    draw();
  };
  const panels = {
    image: createPanel("Image", handlers),
    a: createPanel("Map A", { ...handlers, chosen: choose("a") }),
    b: createPanel("Map B", { ...handlers, chosen: choose("b") }),
    difference: createPanel("Difference A − B", handlers),
  };
  const pixel = createPixel({ chosen: choose("a"), released: handlers.released });
  const deletion = createDeletion({
    changed(part) {
      Object.assign(state, part);
      drawDeletion();
    },
  });
  const steps = createSteps({
    changed(part) {
      Object.assign(state, part);
      drawSteps();
    },
  });
  const thumbnails = images.map((image, index) => h("label", { class: "thumbnail" },
    h("input", {
      type: "radio",
      name: "image",
      value: String(index),
      onchange: () => open({ image: index }),
    }),
    h("img", { src: image.picture, alt: "" }), h("span", {}, image.title)));
  const estimator = h("select", {
    id: "estimator",
    onchange: () => open({ estimator: Number(estimator.value) }),
  });
  const chooser = h("div", { class: "estimator" },
    h("label", { for: "estimator" }, "Estimator "), estimator);
  const subtitle = h("p", { class: "subtitle" });
  const invalid = h("p", { class: "note" }, "Some numbers of this image are not finite. They are"
    + " shown as zero.");
  const unsigned = h("p", { class: "note" }, "This estimator gives magnitudes: its numbers have no"
    + " sign.");
  const save = (format) => () => download(format, shown.image, shown.view,
    [...shown.classes, ...shown.maps]);
  const explorer = h("main", {},
    h("fieldset", { class: "images" }, h("legend", {}, "Image"), ...thumbnails),
    h("div", { class: "line" }, subtitle, chooser), invalid, unsigned,
    h("div", { class: "views" },
      h("div", { class: "maps" }, ...Object.values(panels).map(({ element }) => element)),
      pixel.element, deletion.element, steps.element),
    h("footer", {}, h("p", {}, "Hover, tap, or focus a map and use the arrow keys (with Shift, five"
      + " at a time). A click holds the pixel, Escape releases it. A class's bar opens its map."
      + " The address of the page restores the view."),
    h("p", {}, "Numbers of this image: ",
      h("button", { type: "button", onclick: save("csv") }, "CSV"), " ",
      h("button", { type: "button", onclick: save("json") }, "JSON"))));
  const summary = results(model);
  el.replaceChildren(header(model), explorer, ...(summary ? [summary] : []));
  if (!images.length) {
    explorer.replaceChildren(h("p", {}, "No image was kept to explore."));
    return;
  }

  async function load(index, place) {
    const key = `${index} ${place}`;
    if (!views.has(key)) {
      const image = images[index];
      const view = image.views[place];
      views.set(key, Promise.all([pictureOf(image.picture), pictureOf(image.blurred),
        unpackView(image, view)]).then(([picture, blurred, unpacked]) =>
        ({ image, view, picture, blurred, ...unpacked })));
    }
    return views.get(key);
  }

  async function open(change) {
    // The explained class of one image is not that of the next.
    if ("image" in change && shown && state.a === shown.classes[shown.image.target].key) {
      delete state.a;
    }
    Object.assign(state, change);
    state.image = Math.min(state.image, images.length - 1);
    const image = images[state.image];
    state.estimator = Math.min(state.estimator, image.views.length - 1);
    thumbnails[state.image].firstChild.checked = true;
    const asked = [state.image, state.estimator].join();
    explorer.setAttribute("aria-busy", "true");
    const loaded = await load(state.image, state.estimator);
    if (asked !== [state.image, state.estimator].join()) return; // another was asked for since
    shown = loaded;
    estimator.replaceChildren(...image.views.map((view, index) =>
      h("option", { value: String(index) }, view.estimator)));
    estimator.value = String(state.estimator);
    chooser.hidden = image.views.length < 2;
    invalid.hidden = shown.view.finite;
    unsigned.hidden = shown.view.signed;
    const [best, target] = [image.classes[0], image.classes[image.target]];
    setText(subtitle, `The network says ${best.name}`
      + (best.probability === null ? "" : ` (${(100 * best.probability).toFixed(1)} %)`)
      + (image.label ? `; labelled ${image.label}` : "")
      + (target === best ? "." : `. The maps explain ${target.name}.`));
    panels.image.showPicture(image, shown.picture);
    pixel.show(image, shown.classes);
    deletion.show(image, shown.view.deleted);
    draw();
    drawDeletion();
    drawSteps();
    explorer.setAttribute("aria-busy", "false");
  }

  function draw() {
    const { image, layers, classes, maps } = shown;
    const keys = [...layers.keys()];
    const target = classes[image.target].key;
    const signed = maps.find(({ kind }) => kind === "signed")?.key;
    const rival = classes.find(({ key }) => key !== target)?.key;
    state.a = oneOf(keys, state.a, target);
    state.b = oneOf(keys, state.b, signed, rival);
    const named = ({ key, label }) => [key, label];
    const groups = [["Gradient of the score of", classes.map(named)],
      [`Maps of ${classes[image.target].label}`, maps.map(named)]];
    for (const name of ["a", "b"]) {
      panels[name].menu(groups, state[name]);
      panels[name].showLayer(image, layers.get(state[name]));
    }
    panels.difference.showLayer(image, difference(layers.get(state.a), layers.get(state.b)));
    pixel.select(state.a);
    mark(false);
  }

  function mark(aloud) {
    const rows = Math.ceil(shown.image.height / shown.image.cell);
    const columns = Math.ceil(shown.image.width / shown.image.cell);
    state.row = Math.min(state.row ?? Math.floor(rows / 2), rows - 1);
    state.column = Math.min(state.column ?? Math.floor(columns / 2), columns - 1);
    for (const panel of Object.values(panels)) panel.mark(state.row, state.column);
    pixel.mark(state.row, state.column, state.row * columns + state.column, pinned, aloud);
    write(state);
  }

  function drawDeletion() {
    const { deleted } = shown.view;
    if (!deleted) return;
    state.order = oneOf(deleted.methods, state.order, "active");
    state.fill = oneOf(deleted.fills, state.fill);
    state.share = Math.min(state.share, deleted.fractions.length - 1);
    deletion.draw(shown.image, deleted, shown.picture, shown.blurred, shown.first, state);
    write(state);
  }

  function drawSteps() {
    steps.draw(shown.image, shown.view.steps, state);
    write(state);
  }

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw());
  addEventListener("hashchange", () => open(readState()));
  open({});
}
