// Puts the page as it is now in the place of the one that is shown, every two seconds, while somebody looks at it.
"use strict";
const beat = document.getElementById("beat");

async function renew() {
  if (document.hidden) return;
  try {
    const answer = await fetch(location.href, { credentials: "same-origin", redirect: "manual" });
    if (answer.type === "opaqueredirect") return location.reload();
    if (!answer.ok) throw new Error(answer.status);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.querySelector("main");
    const shown = document.querySelector("main");
    // What was opened stays open, and what is marked is not taken away.
    for (const open of shown.querySelectorAll("details[open]")) {
      const same = fresh.querySelector("#" + CSS.escape(open.id));
      if (same) same.open = true;
    }
    if (!getSelection().isCollapsed) return;
    if (fresh.innerHTML !== shown.innerHTML) shown.replaceWith(fresh);
    beat.textContent = "live";
    beat.className = "";
  } catch (error) {
    beat.textContent = "the gateway does not answer: what is shown is old";
    beat.className = "bad";
  }
}

setInterval(renew, 2000);
beat.textContent = "live";
