// The image without its most salient pixels, and what the network then says.

import { createTrace } from "./curves.js";
import { h, setText, uniqueId } from "./dom.js";

const NAMED = 3;

function percent(share) {
  return `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;
}

function pixelsOf(context, picture, { width, height }) {
  context.drawImage(picture, 0, 0);
  return context.getImageData(0, 0, width, height).data;
}

// `changed({order, fill, share})` is called with the part of the state that changes.
export function createDeletion({ changed }) {
  const canvas = h("canvas", { role: "img", "aria-label": "The image after deletion" });
  const [orderId, sliderId] = [uniqueId("order"), uniqueId("share")];
  const order = h("select", { id: orderId, onchange: () => changed({ order: order.value }) });
  const slider = h("input", {
    id: sliderId,
    type: "range",
    min: "0",
    step: "1",
    oninput: () => changed({ share: Number(slider.value) }),
  });
  const share = h("output", { for: sliderId });
  const fills = h("fieldset", {}, h("legend", {}, "Replaced by"));
  const says = h("p", { class: "says", "aria-live": "polite" });
  const list = h("ol", { class: "shares" });
  const controls = h("div", { class: "controls" },
    h("div", {}, h("label", { for: orderId }, "Pixels deleted first: those of "), order), fills,
    h("div", { class: "slide" }, h("label", { for: sliderId }, "Deleted: "), share, slider));
  const trace = createTrace("Probability of the explained class over the share of deleted pixels");
  const traced = h("figcaption");
  const found = h("div", { class: "found" }, canvas, controls, says, list,
    h("figure", {}, traced, trace.element));
  const absent = h("p", {}, "What the network says as pixels are deleted was not computed for"
    + " this page: signsal explain and signsal evaluate do it while the network is at hand.");
  const element = h("section", { class: "deletion", "aria-labelledby": "deletion" },
    h("h2", { id: "deletion" }, "Deletion"), found, absent);
  let radios = [];

  function show(image, deleted) {
    found.hidden = !deleted;
    absent.hidden = Boolean(deleted);
    if (!deleted) return;
    order.replaceChildren(...deleted.methods.map((name) => h("option", { value: name }, name)));
    slider.max = String(deleted.fractions.length - 1);
    const name = uniqueId("fill");
    radios = deleted.fills.map((fill) => h("input",
      { type: "radio", name, value: fill, onchange: () => changed({ fill }) }));
    fills.replaceChildren(fills.firstChild,
      ...radios.map((radio) => h("label", {}, radio, ` ${radio.value}`)));
    canvas.width = image.width;
    canvas.height = image.height;
  }

  // `first`: for every pixel, by the order shown, the fraction at which it goes.
  // `blurred`: the picture that fills deleted pixels by blur, null where no fill is one.
  function draw(image, deleted, picture, blurred, first, state) {
    const method = deleted.methods.indexOf(state.order);
    const fill = deleted.fills.indexOf(state.fill);
    order.value = state.order;
    slider.value = String(state.share);
    radios.forEach((radio) => { radio.checked = radio.value === state.fill; });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(picture, 0, 0);
    const pixels = context.getImageData(0, 0, image.width, image.height);
    const level = state.fill === "white" ? 255 : 0;
    const inFront = state.fill === "blur" ? pixelsOf(context, blurred, image) : null;
    first[method].forEach((place, pixel) => {
      if (place > state.share) return;
      const [from, to] = [4 * pixel, 4 * pixel + 3];
      if (inFront) pixels.data.set(inFront.subarray(from, to), from);
      else pixels.data.fill(level, from, to);
    });
    context.putImageData(pixels, 0, 0);
    const really = deleted.shares[method][state.share];
    const asked = deleted.fractions[state.share];
    // A map that is zero at most pixels cannot rank them.
    const less = asked - really > 0.005 ? ` (not ${percent(asked)}: the map marks no more)` : "";
    const text = `${percent(really)} of the pixels${less}`;
    setText(share, text);
    slider.setAttribute("aria-valuetext", text);
    const before = deleted.probabilities[method][fill][0];
    const after = deleted.probabilities[method][fill][state.share];
    const predicted = deleted.predicted[method][fill];
    const now = deleted.names[predicted[state.share]];
    const same = predicted[state.share] === predicted[0];
    setText(says, same ? `The network still says ${now}.`
      : `The network now says ${now} instead of ${deleted.names[predicted[0]]}.`);
    element.classList.toggle("changed", !same);
    setText(traced, `Probability of ${image.classes[image.target].name}`);
    trace.draw(deleted.shares[method], deleted.probabilities[method][fill].map((values) =>
      values[image.target]), state.share);
    const shown = before.map((_, index) => index).sort((a, b) => after[b] - after[a] || a - b);
    list.replaceChildren(...shown.slice(0, NAMED).map((index) => {
      const bar = h("span", { class: "amount" });
      bar.style.width = `${100 * after[index]}%`;
      return h("li", {}, h("span", { class: "class" }, image.classes[index].name),
        h("span", { class: "number" },
          `${percent(after[index])} (before ${percent(before[index])})`),
        h("span", { class: "whole" }, bar));
    }));
  }

  return { element, show, draw };
}
