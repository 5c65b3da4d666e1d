/* ---- Card: the hovered or pinned image, its label, prediction and nearest neighbors ---- */
let pinned = null, hovered = null;
const getActivePoint = () => pinned ?? hovered;

/* Move the ring and the card to their image. */
function placeCard() {
  const i = getActivePoint(), card = getElement("card"), ring = getElement("ring");
  ring.hidden = card.hidden = i === null;
  if (i === null) return;
  const { x, y } = getScreenPosition(i), side = showsThumbnails ? getThumbnailSide() + 8 : 20, gap = side / 2 + 10;
  Object.assign(ring.style, { width: `${side}px`, height: `${side}px`,
    transform: `translate(${x - side / 2}px, ${y - side / 2}px)` });
  const width = card.offsetWidth, height = card.offsetHeight;
  const left = x + gap + width < viewWidth ? x + gap : x - gap - width;
  card.style.transform = `translate(${clamp(left, 4, Math.max(4, viewWidth - width - 4))}px, ${
    clamp(y - height / 2, 4, Math.max(4, viewHeight - height - 4))}px)`;
}

function paintImage(target, i) {
  target.width = target.height = thumbnailSide;
  target.style.imageRendering = thumbnailSide > 48 ? "auto" : "pixelated";
  if (spriteSheets.length) drawImage(target.getContext("2d"), i, 0, 0, thumbnailSide);
}

/* Names written from right to left must not reorder the text beside them. */
const isolate = (name) => `\u2068${name}\u2069`;

function formatPrediction(i) {
  if (!predictions) return "";
  const probability = probabilities ? ` (${(100 * probabilities[i]).toFixed(1)}%)` : "";
  return `predicted: ${isolate(getClassName(predictions[i]))}${probability}${isMisclassified[i] ? " – misclassified" : ""}`;
}

function updateCard() {
  const i = getActivePoint();
  getElement("card").classList.toggle("pinned", pinned !== null);
  getElement("close").hidden = pinned === null;
  if (i !== null) {
    paintImage(getElement("image"), i);
    getElement("name").textContent = data.names[i];
    getElement("label").textContent = `label: ${isolate(getClassName(labels[i]))}`;
    getElement("prediction").textContent = formatPrediction(i);
    getElement("note").textContent = notes.get(i) ?? "";
    getElement("neighborhood").hidden = neighbors === null;
    getElement("neighbors").replaceChildren(
      ...[...getNeighbors(i)].map((j) => createNeighborButton(j, getColorClass(i))));
  }
  placeCard();
}

function createNeighborButton(j, label) {
  const button = document.createElement("button"), image = document.createElement("canvas");
  const isOtherClass = labels[j] >= 0 && label >= 0 && labels[j] !== label;
  paintImage(image, j);
  button.append(image, `${isOtherClass ? "≠" : ""}${getClassName(labels[j])}`);
  button.classList.toggle("other", isOtherClass);
  button.title = `${data.names[j]}${isOtherClass ? ": different class" : ""}`;
  button.onclick = () => goTo(j);
  return button;
}

function pin(i) {
  pinned = i;
  hovered = null;
  history.replaceState(null, "", i === null ? "#" : `#${i}`);
  updateCard();
  requestDraw();
}

function hover(i) {
  if (i === hovered || pinned !== null) return;
  hovered = i;
  updateCard();
  if (showsThumbnails) requestDraw();
}
