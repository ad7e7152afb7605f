// Elements. Text is only ever set as text, so that names of classes and files are never markup.

export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, value);
    }
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// A menu with groups: [[label, [[value, text], ...]], ...].
export function fillSelect(select, groups, value) {
  select.replaceChildren(...groups.map(([label, options]) =>
    h("optgroup", { label }, ...options.map(([key, text]) =>
      h("option", { value: key }, text)))));
  select.value = value;
}

let used = 0;

export function uniqueId(name) {
  used += 1;
  return `${name}-${used}`;
}
