// The page: takes pictures from files, drops, the clipboard and the camera, and shows the answer.

const TOP = 5; // classes that are named
const model = JSON.parse(element("model").textContent);
const picture = { bitmap: null, shown: null, name: "" };
let network = null;
let stream = null; // of the camera, while it is on
let asked = 0; // how many pictures have been given: an answer to an earlier one is not shown

start();

async function start() {
  listen();
  if (typeof WebAssembly !== "object") {
    return fail("This browser has no WebAssembly, which the network runs in. Any browser of the last years has.");
  }
  try {
    network = await loadNetwork();
  } catch (error) {
    return fail(`The network can't be loaded: ${error.message}. Copy or export the page again.`);
  }
  element("choose").disabled = element("camera").disabled = false;
  if (!givesTruePixels()) {
    note("This browser alters the pixels that pages read, against tracking: answers may be wrong.");
  }
  setState("ready");
}

function listen() {
  const file = element("file");
  element("choose").addEventListener("click", () => file.click());
  file.addEventListener("change", () => {
    take(file.files);
    file.value = ""; // so that the same file may be chosen again
  });
  element("camera").addEventListener("click", () => turnOn());
  element("shoot").addEventListener("click", () => shoot());
  element("stop").addEventListener("click", () => turnOff());
  element("heat").addEventListener("change", () => drawEvidence());
  document.addEventListener("paste", (event) => {
    if (event.clipboardData.files.length) take(event.clipboardData.files);
    else fail("What was pasted is no picture: copy a picture, not its address.");
  });
  document.addEventListener("dragover", (event) => {
    event.preventDefault(); // else the browser would open the file in place of the page
    element("stage").classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) element("stage").classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    element("stage").classList.remove("over");
    if (event.dataTransfer.files.length) take(event.dataTransfer.files);
    else fail("What was dropped is no picture file: save the picture first, then drop the file.");
  });
}

/** Classify the first of some files. */
async function take(files) {
  if (!network || !files.length) return;
  turnOff();
  const [first, ...others] = files;
  await answer(first.name, () => openPicture(first));
  if (others.length) note(`Only the first of ${files.length} files was taken.`);
}

/** Open a picture, classify it and show both; an answer that comes too late is left. */
async function answer(name, open) {
  const own = ++asked;
  setState("busy");
  fail("");
  note("");
  try {
    const begun = performance.now();
    const bitmap = await open();
    const pixels = fit(rowReader(bitmap), [bitmap.width, bitmap.height], model.size, model.channels);
    const reading = performance.now() - begun;
    if (own !== asked) return;
    const result = classify(network, pixels, model.classes.length);
    picture.bitmap?.close();
    Object.assign(picture, { bitmap, name });
    showPicture();
    showAnswer(result.probabilities);
    showTime(result.milliseconds, reading);
    setState("answered");
  } catch (error) {
    if (own !== asked) return;
    fail(error instanceof PictureError ? error.message : `The picture can't be classified: ${error.message}`);
  }
}

function showPicture() {
  const view = element("view");
  element("stage").classList.remove("empty");
  element("invitation").hidden = true;
  view.hidden = false;
  view.setAttribute("aria-label", picture.name || "The picture");
  picture.shown = drawPicture(view, picture.bitmap);
}

function showAnswer(probabilities) {
  const order = Array.from(probabilities.keys()).sort((a, b) => probabilities[b] - probabilities[a]);
  const best = order.slice(0, TOP);
  const share = probabilities[best[0]];
  const unknown = model.unknown !== null && share < model.unknown;
  const name = model.classes[best[0]];
  element("verdict").textContent = unknown ? `Unknown, perhaps ${name}` : name;
  const doubt = element("doubt");
  doubt.hidden = !unknown;
  doubt.textContent = `The likeliest class has ${percent(share)}; below ${percent(model.unknown ?? 0)} ` +
    "a picture is likely of no class that the model knows.";
  element("classes").replaceChildren(...best.map((which) => row(which, probabilities[which])));
  const named = best.slice(0, 3).map((which) => `${model.classes[which]} ${percent(probabilities[which])}`);
  element("spoken").textContent = `${unknown ? "Unknown, perhaps " : ""}${named.join(", ")}`;
  const maps = evidenceFor(network, best[0]) !== null;
  element("evidence").hidden = !maps;
  if (maps) choose(best[0]);
}

/** A class with its bar: a button that shows the evidence for it. */
function row(which, probability) {
  const item = document.createElement("li");
  const maps = evidenceFor(network, which) !== null;
  const line = document.createElement(maps ? "button" : "div");
  line.className = "class";
  const bar = document.createElement("i");
  bar.style.width = `${100 * probability}%`;
  const name = document.createElement("span");
  name.textContent = model.classes[which];
  const value = document.createElement("data");
  value.value = probability.toFixed(6);
  value.textContent = percent(probability);
  line.append(bar, name, value);
  if (maps) {
    line.type = "button";
    line.dataset.which = which;
    line.title = `Show the evidence for ${model.classes[which]}`;
    line.addEventListener("click", () => {
      element("heat").checked = true;
      choose(which);
    });
  }
  item.append(line);
  return item;
}

/** Show the evidence for a class. */
function choose(which) {
  for (const line of document.querySelectorAll("button.class")) {
    line.setAttribute("aria-pressed", String(Number(line.dataset.which) === which));
  }
  const { width, height } = picture.bitmap;
  const whole = width * model.size[1] === height * model.size[0];
  element("legend").textContent = `The brighter a place, the more it speaks for ${model.classes[which]}.` +
    (whole ? "" : " What is pale, the network doesn't see.");
  drawEvidence();
}

function drawEvidence() {
  const chosen = document.querySelector('button.class[aria-pressed="true"]');
  const context = element("view").getContext("2d");
  const { shown } = picture;
  if (!chosen || !element("heat").checked) return context.putImageData(shown, 0, 0);
  const box = coveringBox([shown.width, shown.height], model.size);
  context.putImageData(heat(shown, evidenceFor(network, Number(chosen.dataset.which)), box), 0, 0);
}

function showTime(running, reading) {
  const kernels = network.fast ? "" : ", without SIMD";
  element("time").textContent =
    `The network took ${milliseconds(running)}${kernels}; reading and fitting the picture ${milliseconds(reading)}.`;
}

async function turnOn() {
  if (!navigator.mediaDevices?.getUserMedia) {
    return fail("This browser gives a page that was opened from disk no camera. Choose a picture: phones offer their camera there; or open the page by `maam demo`.");
  }
  fail("");
  element("camera").disabled = true; // a second click would open a second stream
  try {
    stream = await openCamera(element("video"));
  } catch (error) {
    return fail(error.message);
  } finally {
    element("camera").disabled = false;
  }
  showCamera(true);
  element("shoot").focus();
}

async function shoot() {
  await answer("picture from the camera", () => createImageBitmap(element("video")));
  turnOff();
}

function turnOff() {
  if (!stream) return;
  closeCamera(element("video"), stream);
  stream = null;
  showCamera(false);
  element("camera").focus();
}

function showCamera(on) {
  element("video").hidden = element("shoot").hidden = element("stop").hidden = !on;
  element("choose").hidden = element("camera").hidden = on;
  element("view").hidden = on || !picture.bitmap;
  element("invitation").hidden = on || Boolean(picture.bitmap);
}

function element(id) {
  return document.getElementById(id);
}

function percent(share) {
  return `${(100 * share).toFixed(1)}\u00a0%`;
}

function milliseconds(value) {
  return `${value < 10 ? value.toFixed(1) : Math.round(value)}\u00a0ms`;
}

function note(text) {
  element("note").textContent = text;
}

/** Say what is wrong; an empty text takes it back. */
function fail(text) {
  element("problem").textContent = text;
  if (text) setState("failed");
}

/** Where the page is, for tests: ready, busy, answered or failed. */
function setState(state) {
  document.body.dataset.state = state;
}
