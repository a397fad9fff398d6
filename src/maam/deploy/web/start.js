// Unpack the page's code and run it. The page's policy allows this script and that code, by their
// hashes, and no other.

try {
  const script = document.createElement("script");
  script.textContent = new TextDecoder().decode(unpack("code"));
  document.body.append(script);
} catch (error) {
  document.getElementById("problem").textContent = `This page is damaged (${error.message}): copy or export it again.`;
}
