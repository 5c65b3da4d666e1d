/* ---- Drawing: dots or thumbnails, class names, lines to neighbors ---- */
const MIN_THUMBNAIL = 13, MAX_THUMBNAILS = 2500; // CSS pixels of a side; how many at once
let spriteSheets = [], showsThumbnails = false;

function draw() {
  const side = getThumbnailSide(), visible = findVisible(Math.max(12, side / 2)), active = getActivePoint();
  showsThumbnails = spriteSheets.length > 0 && side >= MIN_THUMBNAIL && visible.length <= MAX_THUMBNAILS;
  if (showsThumbnails) drawThumbnails(active === null ? visible : [...visible, active], side);
  else drawDots(visible);
  context.setTransform(pixelRatio, 0, 0, pixelRatio, 0, 0);
  if (pinned !== null && neighbors) drawNeighborLines();
  if (!isMoving && view.scale < 6 * getFitScale()) drawClassNames();
  context.setTransform(1, 0, 0, 1, 0, 0);
  placeCard();
}

function drawDots(visible) {
  const radius = pixelRatio * clamp(Math.round(2 * grid.spacing * view.scale * .5) / 2, 1.5, 5);
  if (radius !== markRadius) { markRadius = radius; markCache = []; }
  frame.pixels.fill(0xffffffff);
  for (const i of visible) {
    const { x, y } = getScreenPosition(i), mark = getMark(markKeys[i], pixelRatio);
    stampMark(frame, mark, Math.round(x * pixelRatio), Math.round(y * pixelRatio));
  }
  context.putImageData(frame.image, 0, 0);
}

function drawThumbnails(visible, side) {
  const inner = Math.round(side * pixelRatio * .82), border = Math.max(1, Math.round(side * pixelRatio * .09));
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  for (const i of visible) {
    const { x, y } = getScreenPosition(i), key = markKeys[i];
    const left = Math.round(x * pixelRatio - inner / 2), top = Math.round(y * pixelRatio - inner / 2);
    if (key & FADED) context.globalAlpha = .15;
    if (key & (MISCLASSIFIED | UNLABELED)) fillSquare(INK, left, top, inner, border + 2 * pixelRatio);
    fillSquare(getColor(getColorClass(i)), left, top, inner, border);
    drawImage(context, i, left, top, inner);
    if (key & UNLABELED) drawMark(context, key & ~ANNOTATED, left, top, 3 * pixelRatio, pixelRatio);
    if (key & ANNOTATED) drawDiamond(left + inner, top, 5 * pixelRatio);
    context.globalAlpha = 1;
  }
}

function fillSquare(color, left, top, side, border) {
  context.fillStyle = color;
  context.fillRect(left - border, top - border, side + 2 * border, side + 2 * border);
}

function drawDiamond(x, y, r) {
  tracePath(context, "diamond", x, y, r);
  context.fillStyle = "#fff";
  context.strokeStyle = INK;
  context.lineWidth = 1.3 * pixelRatio;
  context.fill();
  context.stroke();
}

/* Image i from its sprite sheet: every sheet but the last is full, and all are as wide as the first. */
function drawImage(pen, i, x, y, side) {
  const cell = thumbnailSide, columns = spriteSheets[0].width / cell;
  const perSheet = columns * (spriteSheets[0].height / cell), k = i % perSheet;
  pen.imageSmoothingEnabled = side < cell || cell > 48;
  pen.drawImage(spriteSheets[i / perSheet | 0], k % columns * cell, (k / columns | 0) * cell, cell, cell,
    x, y, side, side);
}

function drawNeighborLines() {
  const from = getScreenPosition(pinned);
  context.strokeStyle = "#D55E00";
  context.lineWidth = 1;
  context.beginPath();
  for (const j of getNeighbors(pinned)) {
    const to = getScreenPosition(j);
    context.moveTo(from.x, from.y);
    context.lineTo(to.x, to.y);
  }
  context.stroke();
}
