// What small steps along and against the sign that a map claims change, where it was evaluated.

import { formatter } from "./arrays.js";
import { h, setText, uniqueId } from "./dom.js";

const WAYS = {
  along: "along the map's sign",
  against: "against it",
  random_signs: "by random signs",
  random_pixels: "random pixels, along",
};

// `changed({steps, epsilon})` is called with the part of the state that changes.
export function createSteps({ changed }) {
  const [mapId, sliderId] = [uniqueId("steps"), uniqueId("epsilon")];
  const map = h("select", { id: mapId, onchange: () => changed({ steps: map.value }) });
  const slider = h("input", {
    id: sliderId,
    type: "range",
    min: "0",
    step: "1",
    oninput: () => changed({ epsilon: Number(slider.value) }),
  });
  const length = h("output", { for: sliderId });
  const says = h("p", { class: "says", "aria-live": "polite" });
  const list = h("ol", { class: "ways" });
  const foot = h("p", { class: "foot" });
  const element = h("section", { class: "steps", "aria-labelledby": "steps" },
    h("h2", { id: "steps" }, "Small steps"),
    h("div", { class: "controls" },
      h("div", {}, h("label", { for: mapId }, "Most salient pixels of "), map),
      h("div", { class: "slide" }, h("label", { for: sliderId }, "moved by "), length, slider)),
    says, list, foot);

  function draw(image, steps, state) {
    element.hidden = !steps;
    if (!steps) return;
    if (map.childElementCount !== steps.methods.length) {
      map.replaceChildren(...steps.methods.map((name) => h("option", { value: name }, name)));
    }
    const method = Math.max(0, steps.methods.indexOf(state.steps));
    const last = steps.epsilons.length - 1;
    const place = Math.min(state.epsilon, last);
    map.value = steps.methods[method];
    slider.max = String(last);
    slider.value = String(place);
    const text = `${+(255 * steps.epsilons[place]).toPrecision(3)}/255 of brightness`;
    setText(length, text);
    slider.setAttribute("aria-valuetext", text);
    const change = steps.ways.map((_, way) => steps.change[method][way][place]);
    // One scale for all lengths, so that bars grow with the step.
    const scale = Math.max(...steps.change[method].flat().map(([logit]) => Math.abs(logit)));
    const format = formatter(scale);
    const name = image.classes[image.target].name;
    const [along, against] = change;
    setText(says, along[0] > 0 && against[0] < 0
      ? `The sign holds: ${name} rises along it and falls against it.`
      : `The sign does not hold for ${name} at this length.`);
    list.replaceChildren(...steps.ways.map((way, index) => {
      const [logit, probability] = change[index];
      const fill = h("span", { class: logit < 0 ? "fill below" : "fill" });
      fill.style.transform = `scaleX(${scale ? logit / scale : 0})`;
      return h("li", {}, h("span", { class: "class" }, WAYS[way] ?? way),
        h("span", { class: "track" }, fill), h("span", { class: "value" }, format(logit)),
        h("span", { class: "number" }, `${probability < 0 ? "−" : "+"}${
          (100 * Math.abs(probability)).toFixed(1)} %`));
    }));
    setText(foot, `Change of the score and of the probability of ${name}; ${
      (100 * steps.moved[method]).toFixed(1)} % of the pixels are moved.`);
  }

  return { element, draw };
}
