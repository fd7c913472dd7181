"use strict";
for (const figure of document.querySelectorAll("[data-compare]")) {
  const slider = figure.querySelector("input"), over = figure.querySelector(".over");
  const blink = figure.querySelector("[data-blink]"), zoom = figure.querySelector("[data-zoom]");
  let timer = 0;
  const cut = () => over.style.setProperty("--cut", slider.value + "%");
  slider.addEventListener("input", cut);
  cut();
  blink.addEventListener("click", () => {
    const on = timer === 0;
    blink.setAttribute("aria-pressed", String(on));
    figure.classList.toggle("blinking", on);
    if (on) timer = setInterval(() => figure.classList.toggle("second"), 700);
    else { clearInterval(timer); timer = 0; figure.classList.remove("second"); }
  });
  zoom.addEventListener("click", () => {
    zoom.setAttribute("aria-pressed", String(figure.classList.toggle("zoomed")));
    const stage = figure.querySelector(".stage");
    stage.scrollLeft = (stage.scrollWidth - stage.clientWidth) / 2;
    stage.scrollTop = (stage.scrollHeight - stage.clientHeight) / 2;
  });
}
