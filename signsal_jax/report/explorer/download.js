// The numbers behind what is shown, as files.

function save(name, type, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function numbers(layer, rows, columns) {
  return Array.from({ length: rows }, (_, row) =>
    Array.from({ length: columns }, (_, column) =>
      Number(layer.at(row * columns + column).toPrecision(6))));
}

export function jsonOf(image, view, layers, rows, columns) {
  return JSON.stringify({
    image: image.title,
    estimator: view.estimator,
    cell: image.cell,
    target: image.classes[image.target],
    layers: layers.map((layer) => ({
      name: layer.label,
      kind: layer.key.startsWith("class-") ? "gradient of a class" : "map",
      within: layer.step,
      values: numbers(layer, rows, columns),
    })),
  });
}

function quoted(text) {
  // A leading = or the like would be a formula to a spreadsheet.
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return `"${safe.replaceAll('"', '""')}"`;
}

// One line per pixel, one column per class and map.
export function csvOf(layers, rows, columns) {
  const lines = [["row", "column", ...layers.map((layer) => quoted(layer.label))].join(",")];
  for (let cell = 0; cell < rows * columns; cell += 1) {
    const values = layers.map((layer) => Number(layer.at(cell).toPrecision(6)));
    lines.push([Math.floor(cell / columns), cell % columns, ...values].join(","));
  }
  return `${lines.join("\n")}\n`;
}

export function download(format, image, view, layers) {
  const rows = Math.ceil(image.height / image.cell);
  const columns = Math.ceil(image.width / image.cell);
  if (format === "json") {
    save("signsal.json", "application/json", jsonOf(image, view, layers, rows, columns));
  } else {
    save("signsal.csv", "text/csv", csvOf(layers, rows, columns));
  }
}
