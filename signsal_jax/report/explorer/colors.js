// Colors of signed numbers: blue below zero, red above it, the page's own color at zero. Both scales
// are even to the eye and distinguishable by the color-blind (after Fabio Crameri's vik and berlin).

const STOPS = {
  light: ["#001261", "#033e7d", "#1e6f9d", "#71a8c4", "#c9dde7", "#f4f1ee",
    "#eacebd", "#d39774", "#be6533", "#8b2706", "#590008"],
  dark: ["#9eb0ff", "#5ba4db", "#2d7597", "#1f4f69", "#193040", "#15191d",
    "#3a1c12", "#5c2411", "#97503c", "#cb7f72", "#ffadad"],
};
// Magnitudes have no sign, hence no hue.
const MAGNITUDE = { light: ["#f4f1ee", "#16181b"], dark: ["#15191d", "#f4f1ee"] };
const COLORS = 127;

function channels(color) {
  return [1, 3, 5].map((start) => parseInt(color.slice(start, start + 2), 16));
}

function table(stops, count) {
  const colors = stops.map(channels);
  return Array.from({ length: count }, (_, index) => {
    const place = (index / (count - 1)) * (colors.length - 1);
    const low = Math.min(Math.floor(place), colors.length - 2);
    const share = place - low;
    return colors[low].map((value, c) =>
      Math.round(value + share * (colors[low + 1][c] - value)));
  });
}

const cached = new Map();

function colorsOf(kind, theme) {
  const key = `${kind === "any"} ${theme}`;
  if (!cached.has(key)) {
    cached.set(key, kind === "any"
      ? table(MAGNITUDE[theme], COLORS + 1)
      : table(STOPS[theme], 2 * COLORS + 1));
  }
  return cached.get(key);
}

export function theme() {
  return matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
}

export function drawLayer(canvas, layer, columns, rows) {
  canvas.width = columns;
  canvas.height = rows;
  const context = canvas.getContext("2d");
  const image = context.createImageData(columns, rows);
  const colors = colorsOf(layer.kind, theme());
  const zero = layer.kind === "any" ? 0 : COLORS;
  const unit = layer.scale ? COLORS / layer.scale : 0;
  for (let cell = 0; cell < columns * rows; cell += 1) {
    const value = Math.round(layer.at(cell) * unit);
    const color = colors[zero + Math.max(-zero, Math.min(COLORS, value))];
    image.data.set(color, 4 * cell);
    image.data[4 * cell + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

// The part of the scale that a layer uses, as a CSS gradient.
export function scaleGradient(kind) {
  const colors = colorsOf(kind, theme());
  const part = kind === "positive" ? colors.slice(COLORS)
    : kind === "negative" ? colors.slice(0, COLORS + 1) : colors;
  const stops = part.filter((_, index) => index % 8 === 0 || index === part.length - 1);
  return `linear-gradient(to right, ${stops.map((c) => `rgb(${c.join(" ")})`).join(", ")})`;
}
