/* ---- Marks: each kind is rasterized once and copied pixel by pixel, which is fast without a GPU ---- */
const INK = "#1a1a1a", FADED_COLOR = "#e0e0e0", UNKNOWN_COLOR = "#ffffff";
const POLYGONS = {
  square: [[-.9, -.9], [.9, -.9], [.9, .9], [-.9, .9]], triangle: [[0, -1.2], [1.1, .8], [-1.1, .8]],
  plus: [[-.4, -1.1], [.4, -1.1], [.4, -.4], [1.1, -.4], [1.1, .4], [.4, .4], [.4, 1.1], [-.4, 1.1], [-.4, .4],
    [-1.1, .4], [-1.1, -.4], [-.4, -.4]],
  diamond: [[0, -1], [1, 0], [0, 1], [-1, 0]],
  star: Array.from({ length: 10 }, (_, k) => [(k % 2 ? .45 : 1) * Math.sin(k * Math.PI / 5),
    -(k % 2 ? .45 : 1) * Math.cos(k * Math.PI / 5)]),
};
const SHAPES = ["circle", "square", "triangle", "plus"]; // the next one each time the colors are used up
// A mark's key: its class + 1, shifted, and these flags.
const MISCLASSIFIED = 1, ANNOTATED = 2, UNLABELED = 4, FADED = 8, FLAG_BITS = 4;

const scratch = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
let markCache = [], markRadius = 0;

function tracePath(pen, shape, x, y, r) {
  pen.beginPath();
  if (shape === "circle") pen.arc(x, y, r, 0, 7);
  else for (const [dx, dy] of POLYGONS[shape]) pen.lineTo(x + dx * r, y + dy * r);
  pen.closePath();
}

const getColor = (label) => label < 0 ? UNKNOWN_COLOR : data.colors[label % data.colors.length];

function drawMark(pen, key, x, y, r, lineWidth) {
  const label = (key >> FLAG_BITS) - 1, isFaded = key & FADED, isUnlabeled = key & UNLABELED;
  const shape = isUnlabeled ? "star" : SHAPES[(label / data.colors.length | 0) % SHAPES.length];
  tracePath(pen, shape, x, y, isUnlabeled ? r + 5 * lineWidth : r);
  pen.lineJoin = "round";
  pen.lineWidth = lineWidth;
  pen.fillStyle = isFaded ? FADED_COLOR : getColor(label);
  pen.strokeStyle = isFaded ? "#ccc" : INK;
  pen.fill();
  if (isUnlabeled) pen.stroke();
  if (!isFaded && key & MISCLASSIFIED) { tracePath(pen, "circle", x, y, r + 1.5 * lineWidth); pen.stroke(); }
  if (!isFaded && key & ANNOTATED) { tracePath(pen, "diamond", x, y, 1.5 * r + 4 * lineWidth); pen.stroke(); }
}

function getMark(key, pixelRatio) {
  if (markCache[key]) return markCache[key];
  const lineWidth = (markRadius < 3 * pixelRatio ? 1 : 1.4) * pixelRatio;
  const center = Math.ceil(1.5 * markRadius + 6 * lineWidth), side = 2 * center + 1;
  scratch.canvas.width = scratch.canvas.height = side;
  drawMark(scratch, key, center + .5, center + .5, markRadius, lineWidth);
  const image = scratch.getImageData(0, 0, side, side);
  return markCache[key] = extractPixels(image.data, new Uint32Array(image.data.buffer), side, center);
}

/* The pixels of a mark that are not transparent: their offsets and colors. */
function extractPixels(channels, pixels, side, center) {
  const opaque = [];
  pixels.forEach((color, k) => {
    if (channels[4 * k + 3] > 8) opaque.push([k % side - center, (k / side | 0) - center, color]);
  });
  return { dx: Int32Array.from(opaque, (p) => p[0]), dy: Int32Array.from(opaque, (p) => p[1]),
    colors: Uint32Array.from(opaque, (p) => p[2]) };
}

/* Blend a mark into a frame buffer, its center at pixel (x, y). */
function stampMark(frame, mark, x, y) {
  const { dx, dy, colors } = mark, { width, height, data: channels } = frame.image, pixels = frame.pixels;
  for (let k = 0; k < colors.length; k++) {
    const px = x + dx[k], py = y + dy[k];
    if (px < 0 || py < 0 || px >= width || py >= height) continue;
    const index = py * width + px, color = colors[k], alpha = color >>> 24;
    if (alpha === 255) { pixels[index] = color; continue; }
    for (let c = 0; c < 3; c++) {
      const old = channels[4 * index + c];
      channels[4 * index + c] = old + ((color >>> 8 * c & 255) - old) * alpha / 255;
    }
  }
}
