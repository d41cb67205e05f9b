"use strict";
// The filter of a section shows the entries whose prompt has the text in it.
for (const controls of document.querySelectorAll(".controls")) {
  const section = controls.closest("section");
  const [filter, shown] = [controls.querySelector(".filter"), controls.querySelector(".shown")];
  const entries = [...section.querySelectorAll(".entry")];
  controls.hidden = false;
  filter.addEventListener("input", () => {
    const text = filter.value.toLowerCase();
    for (const entry of entries) {
      const prompt = entry.querySelector(".prompt");
      entry.hidden = text !== "" && !(prompt && prompt.textContent.toLowerCase().includes(text));
    }
    const n = entries.filter((entry) => !entry.hidden).length;
    shown.textContent = text === "" ? "" : `${n} of ${entries.length}`;
  });
}
// A picture opens large. The arrow keys go to its neighbours; Escape closes it.
const large = document.getElementById("large");
if (large) {
  const all = [...document.querySelectorAll(".enlarge")];
  // Of those that the filter shows.
  let [buttons, at] = [all, 0];
  const show = (index) => {
    at = (index + buttons.length) % buttons.length;
    const [from, to] = [buttons[at].querySelector("img"), large.querySelector("img")];
    to.src = from.src;
    to.alt = from.alt;
  };
  all.forEach((button) => button.addEventListener("click", () => {
    buttons = all.filter((other) => !other.closest("[hidden]"));
    show(buttons.indexOf(button));
    large.showModal();
  }));
  large.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by) { show(at + by); event.preventDefault(); }
  });
  large.addEventListener("click", (event) => { if (event.target === large) large.close(); });
}
