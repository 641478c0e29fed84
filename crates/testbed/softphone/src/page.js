// The page: buttons and words around the telephone. Tests drive `window.phone` instead.

import { Heard } from "./heard.js";
import { Home, frameWidget } from "./home.js";
import { FileMicrophone } from "./microphone.js";
import { Phone, inWords } from "./phone.js";

const KEYS = [
    ["1", ""], ["2", "ABC"], ["3", "DEF"],
    ["4", "GHI"], ["5", "JKL"], ["6", "MNO"],
    ["7", "PQRS"], ["8", "TUV"], ["9", "WXYZ"],
    ["*", ""], ["0", "+"], ["#", ""],
];

/** In these states there is a call to hang up. */
const BUSY = ["dialling", "ringing", "connecting", "connected"];

const element = (id) => document.getElementById(id);
const heard = new Heard(element("heard"));
const phone = new Phone(heard);
window.phone = phone;
window.heard = heard;
window.microphone = new FileMicrophone();

function button(text, press) {
    const made = document.createElement("button");
    made.type = "button";
    made.append(text);
    made.addEventListener("click", press);
    return made;
}

/** What the demo's own server says about the site: homeserver, users, numbers to try. */
async function site() {
    const answer = await fetch("site.json");
    if (!answer.ok) throw new Error(`site.json: ${answer.status}`);
    return answer.json();
}

function offerUsers({ homeserver, users }) {
    for (const { user, password, name, line } of users) {
        const choice = button(`${name} – line ${line}`, () =>
            signIn({ homeserver, user, password }, `${name}, line ${line}`),
        );
        element("users").append(choice);
    }
}

async function signIn(account, who) {
    const choices = element("users").querySelectorAll("button");
    const allow = (may) => choices.forEach((choice) => (choice.disabled = !may));
    allow(false);
    element("trouble").textContent = "";
    try {
        await phone.login(account);
    } catch (error) {
        element("trouble").textContent = `Could not sign in: ${error.message}`;
        allow(true);
        return;
    }
    element("who").textContent = who;
    element("number").focus();
}

/** Somebody has signed in, here or by a test's hand. */
function open() {
    element("sign-in").hidden = true;
    element("phone").hidden = false;
    showHome();
}

function offerNumbers({ numbers }) {
    for (const { number, says } of numbers) {
        const choice = button("", () => (element("number").value = number));
        const what = document.createElement("span");
        what.textContent = says;
        choice.append(number, what);
        const item = document.createElement("li");
        item.append(choice);
        element("numbers").append(item);
    }
}

function layKeys() {
    for (const [digit, letters] of KEYS) {
        const key = button(digit, () => press(digit));
        const small = document.createElement("small");
        small.textContent = letters;
        small.ariaHidden = "true";
        key.append(small);
        element("keys").append(key);
    }
}

/** The telephony space beside the telephone, once the gateway has made it. */
function showHome() {
    const home = new Home(phone.client);
    window.home = home;
    let waiting = null;
    const draw = () => {
        waiting = null;
        element("home").hidden = home.space === null;
        element("space").textContent = home.space ?? "";
        element("history").replaceChildren(...home.calls.map(told));
        if (home.widget !== null && !element("line").src) {
            frameWidget(element("line"), home.widget, phone.client);
            element("line").hidden = false;
        }
    };
    // What belongs together comes as several events.
    home.addEventListener("change", () => (waiting ??= setTimeout(draw, 50)));
    draw();
}

/** A call of the history; a press on it puts its number in. */
function told({ text, missed, number }) {
    const item = document.createElement("li");
    if (missed) item.className = "missed";
    if (number === null) {
        item.textContent = text;
    } else {
        item.append(button(text, () => (element("number").value = number)));
    }
    return item;
}

/** A key dials, or, while speaking, sends its tone to the other side. */
function press(digit) {
    element("number").value += digit;
    if (phone.state.is === "connected") phone.sendDtmf(digit);
}

function show(state) {
    if (state.is === "ready") open();
    element("state").textContent = inWords(state);
    element("state").dataset.is = state.is;
    const shown = {
        call: ["ready", "ended"].includes(state.is),
        answer: state.is === "incoming",
        decline: state.is === "incoming",
        mute: state.is === "connected",
        transfer: state.is === "connected",
        hangup: BUSY.includes(state.is),
        try: ["ready", "ended"].includes(state.is),
    };
    for (const [id, visible] of Object.entries(shown)) element(id).hidden = !visible;
    if (state.is === "dialling" || state.is === "incoming") element("note").textContent = "";
    if (state.is === "connected") {
        element("number").value = "";
        element("mute").ariaPressed = "false";
    }
}

async function toggleMute() {
    const muted = element("mute").ariaPressed !== "true";
    await phone.mute(muted);
    element("mute").ariaPressed = String(muted);
}

/** Hands the call on to the number that is typed, or says what to do. */
async function transfer() {
    const number = element("number").value.trim();
    try {
        if (number === "") throw new Error("type the number to transfer to first");
        await phone.transfer(number);
        element("number").value = "";
    } catch (error) {
        element("note").textContent = `Not transferred: ${error.message}`;
    }
}

function dial(event) {
    event.preventDefault();
    const number = element("number").value.trim();
    if (number !== "" && !element("call").hidden) phone.dial(number);
}

function showLevel() {
    element("level").value = heard.level();
    requestAnimationFrame(showLevel);
}

phone.addEventListener("state", ({ detail }) => show(detail));
phone.addEventListener("note", ({ detail }) => (element("note").textContent = detail));
element("dial").addEventListener("submit", dial);
element("call").addEventListener("click", dial);
element("answer").addEventListener("click", () => phone.answer());
element("decline").addEventListener("click", () => phone.reject());
element("hangup").addEventListener("click", () => phone.hangup());
element("mute").addEventListener("click", toggleMute);
element("transfer").addEventListener("click", transfer);
element("erase").addEventListener("click", () => {
    element("number").value = element("number").value.slice(0, -1);
});
// Who closes the page hangs up; otherwise the other side would wait for the media timeout.
window.addEventListener("pagehide", () => phone.hangup());

layKeys();
showLevel();
site().then(
    (about) => {
        offerUsers(about);
        offerNumbers(about);
    },
    (error) => (element("trouble").textContent = `Cannot read the site: ${error.message}`),
);
