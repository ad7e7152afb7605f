// What is shown, kept in the fragment of the page's address, so that a link restores it.

const NUMBERS = ["image", "estimator", "row", "column", "share", "epsilon"];
const TEXTS = ["a", "b", "order", "fill", "steps"];
const SETTLED = 250; // milliseconds; browsers refuse more than a few changes a second

export function readState() {
  const found = {};
  const parameters = new URLSearchParams(location.hash.slice(1));
  for (const name of NUMBERS) {
    const value = Number(parameters.get(name));
    if (parameters.has(name) && Number.isInteger(value) && value >= 0) found[name] = value;
  }
  for (const name of TEXTS) {
    if (parameters.has(name)) found[name] = parameters.get(name);
  }
  return found;
}

export function fragmentOf(state) {
  const parameters = new URLSearchParams();
  for (const name of [...NUMBERS, ...TEXTS]) {
    if (state[name] !== undefined && state[name] !== null) parameters.set(name, state[name]);
  }
  return `#${parameters}`;
}

// Returns a function that writes the state once it has settled.
export function stateWriter() {
  let timer = null;
  return (state) => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      // A page inside of a notebook has no address of its own.
      if (location.protocol !== "about:") history.replaceState(null, "", fragmentOf(state));
    }, SETTLED);
  };
}
