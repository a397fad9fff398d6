// Pictures: opened from a file, from the clipboard or from the camera; read row by row, and shown.

const SHOWN_SIDE = 640; // pixels of the longer side of what is shown
const CRISP_BELOW = 160; // smaller pictures are shown in crisp pixels
const NO_TYPE = "of an unknown type";

/** A problem that the reader of the page can mend; its message is for them. */
class PictureError extends Error {}

/**
 * A picture, turned upright as its EXIF block says, its colours as they are in the file: so does
 * Pillow, with which the network was trained.
 * @param {Blob} file
 */
async function openPicture(file) {
  const name = file.name || "the picture";
  if (!file.size) throw new PictureError(`${name} is empty`);
  try {
    return await createImageBitmap(file, { colorSpaceConversion: "none" });
  } catch {
    throw new PictureError(
      `${name} (${file.type || NO_TYPE}) can't be read: it is damaged, too large, or in a format that ` +
        "this browser doesn't know. JPEG and PNG always work.",
    );
  }
}

/** A function that gives RGBA of `count` rows from `top`; what is transparent is white. */
function rowReader(bitmap) {
  const canvas = makeCanvas(bitmap.width, Math.min(BAND, bitmap.height));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new PictureError("The picture is too large for this browser.");
  context.imageSmoothingEnabled = false;
  context.fillStyle = "white";
  return (top, count) => {
    context.fillRect(0, 0, bitmap.width, count);
    context.drawImage(bitmap, 0, top, bitmap.width, count, 0, 0, bitmap.width, count);
    return context.getImageData(0, 0, bitmap.width, count).data;
  };
}

function makeCanvas(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

/** Whether this browser gives a picture's pixels as they are: against tracking, some alter them. */
function givesTruePixels() {
  const colours = Uint8ClampedArray.from({ length: 256 }, (_, index) =>
    index % 4 === 3 ? 255 : (index * 37) % 256,
  );
  const canvas = makeCanvas(8, 8);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.putImageData(new ImageData(colours, 8, 8), 0, 0);
  const seen = context.getImageData(0, 0, 8, 8).data;
  return colours.every((value, index) => value === seen[index]);
}

/** Draw a picture on a canvas that takes its shape; the pixels that it then has. */
function drawPicture(canvas, bitmap) {
  const longest = Math.max(bitmap.width, bitmap.height);
  const factor = SHOWN_SIDE / longest;
  canvas.width = Math.max(1, Math.round(bitmap.width * factor));
  canvas.height = Math.max(1, Math.round(bitmap.height * factor));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingEnabled = longest >= CRISP_BELOW;
  context.imageSmoothingQuality = "high";
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return context.getImageData(0, 0, canvas.width, canvas.height);
}

/**
 * Show on a `<video>` what the camera sees.
 * @returns {Promise<MediaStream>} to be ended by `closeCamera`
 */
async function openCamera(video) {
  let stream;
  try {
    const wanted = { facingMode: "environment", width: { ideal: 1280 }, height: { ideal: 960 } };
    stream = await navigator.mediaDevices.getUserMedia({ video: wanted });
    video.srcObject = stream;
    await video.play();
    return stream;
  } catch (error) {
    if (stream) closeCamera(video, stream);
    throw new PictureError(cameraProblem(error));
  }
}

function closeCamera(video, stream) {
  stream.getTracks().forEach((track) => track.stop());
  video.srcObject = null;
}

function cameraProblem(error) {
  if (error.name === "NotAllowedError" || error.name === "SecurityError") {
    return "The camera was refused. Allow it in the browser's settings for this page, or choose a picture.";
  }
  if (error.name === "NotFoundError" || error.name === "OverconstrainedError") {
    return "No camera was found. Choose a picture instead.";
  }
  return `The camera gives no picture (${error.name}). Another program may use it; choose a picture instead.`;
}
