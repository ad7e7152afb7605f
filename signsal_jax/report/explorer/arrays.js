// Arrays as the page holds them: bytes, compressed, in base64 (see pack.py).

export async function unpackBytes(text) {
  const packed = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function unpackSigned({ data, width }) {
  const bytes = await unpackBytes(data);
  const values = new Int32Array(bytes.length / width);
  const left = 8 * (4 - width);
  for (let plane = 0; plane < width; plane += 1) {
    for (let i = 0; i < values.length; i += 1) {
      values[i] |= bytes[plane * values.length + i] << (8 * plane + left);
    }
  }
  // Back to the right, with the sign.
  return values.map((value) => value >> left);
}

// What can be drawn: `at(cell)` is the number there, `scale` that of the last color, `unit` what
// it counts, and `kind` which signs it has: signed, positive, negative, or any (a magnitude).
function layer(key, label, kind, packed, values, offset = 0) {
  const sign = kind === "negative" ? -1 : 1;
  return {
    key,
    label,
    kind,
    scale: packed.scale,
    step: packed.step,
    unit: kind === "signed" ? "score" : "share",
    at: (cell) => sign * values[offset + cell] * packed.step,
  };
}

// The layers of one estimator's view of an image, by key, and its deletion order.
export async function unpackView(image, view) {
  const cells = Math.ceil(image.height / image.cell) * Math.ceil(image.width / image.cell);
  const gradients = await unpackSigned(view.gradients);
  const classes = image.classes.map(({ index, name }, place) =>
    layer(`class-${index}`, name, "signed", view.gradients, gradients, place * cells));
  const maps = await Promise.all(view.maps.map(async (map) => {
    const values = await (map.kind === "signed" ? unpackSigned(map) : unpackBytes(map.data));
    return layer(`map-${map.name}`, map.name, map.kind, map, values);
  }));
  const first = view.deleted ? await Promise.all(view.deleted.first.map(unpackBytes)) : [];
  const layers = new Map([...classes, ...maps].map((each) => [each.key, each]));
  return { classes, maps, layers, first };
}

// A minus B; of numbers that count different things, each in units of its own scale.
export function difference(a, b) {
  const alike = a.unit === b.unit;
  const [unitA, unitB] = alike ? [1, 1] : [a.scale || 1, b.scale || 1];
  const scale = alike ? Math.max(a.scale, b.scale) : 1;
  return {
    key: "difference",
    label: "A − B",
    kind: "signed",
    scale,
    step: a.step / unitA + b.step / unitB,
    unit: alike ? a.unit : "scales",
    at: (cell) => a.at(cell) / unitA - b.at(cell) / unitB,
  };
}

// Numbers of one scale, all with the same digits, so that they stand under each other.
export function formatter(scale) {
  const exponent = scale > 0 ? Math.floor(Math.log10(scale)) : 0;
  const written = (value) =>
    exponent < -4 || exponent > 5
      ? Math.abs(value).toExponential(2)
      : Math.abs(value).toFixed(Math.max(0, 2 - exponent));
  return (value) => (value < 0 ? "−" : value > 0 ? "+" : " ") + written(value);
}
