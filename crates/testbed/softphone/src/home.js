// What a person has beside their calls: the telephony space, the call history in it, and the widget above that.

import { ClientEvent, MatrixEventEvent, RoomEvent, RoomStateEvent } from "matrix-js-sdk";

/** The gateway's mark on the rooms that are a person's own. */
const MARK = "org.mxtrunk.telephony";

const WIDGETS = "im.vector.modular.widgets";
const LINE = "org.mxtrunk.line";

/** So many calls are shown, the newest first. */
const SHOWN = 8;

/** Event: `change`. */
export class Home extends EventTarget {
    #client;

    constructor(client) {
        super();
        this.#client = client;
        const changed = () => this.dispatchEvent(new Event("change"));
        const news = [
            ClientEvent.Room,
            RoomEvent.Timeline,
            RoomEvent.Redaction,
            RoomStateEvent.Events,
            MatrixEventEvent.Replaced,
        ];
        for (const event of news) client.on(event, changed);
    }

    /** What the space is called; `null` while it is not there. */
    get space() {
        return this.#room("space")?.name ?? null;
    }

    /** The last calls, the newest first: `{ text, missed, number }`, and no number for one that is withheld. */
    get calls() {
        const events = this.#room("history")?.getLiveTimeline().getEvents() ?? [];
        const told = events.filter(
            (event) =>
                event.getType() === "m.room.message" &&
                !event.isRedacted() &&
                !event.isRelation("m.replace"),
        );
        return told
            .slice(-SHOWN)
            .reverse()
            .map((event) => {
                const { body, msgtype, "org.mxtrunk.call": call } = event.getContent();
                return { text: body, missed: msgtype === "m.text", number: call?.number ?? null };
            });
    }

    /** The content of the widget's state event; `null` while there is none. */
    get widget() {
        const state = this.#room("history")?.currentState.getStateEvents(WIDGETS, LINE);
        return state?.getContent().url ? state.getContent() : null;
    }

    #room(part) {
        return this.#client
            .getRooms()
            .find(
                (room) =>
                    room.getMyMembership() === "join" &&
                    room.currentState.getStateEvents(MARK, "")?.getContent().part === part,
            );
    }
}

/** Shows a widget as Element does: fills its address in, and vouches for the person (Matrix OpenID). */
export function frameWidget(frame, widget, client) {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const address = new URL(
        widget.url
            .replaceAll("$org.matrix.msc2873.client_theme", dark ? "dark" : "light")
            .replaceAll("$org.matrix.msc2873.client_language", navigator.language),
    );
    address.searchParams.set("widgetId", widget.id);
    address.searchParams.set("parentUrl", window.location.href.split("#")[0]);
    const post = (message) => frame.contentWindow.postMessage(message, address.origin);
    window.addEventListener("message", async ({ source, origin, data }) => {
        if (source !== frame.contentWindow || origin !== address.origin) return;
        if (data.api !== "fromWidget" || data.response !== undefined) return;
        if (data.action !== "get_openid") {
            post({ ...data, response: { error: { message: `not asked for: ${data.action}` } } });
            return;
        }
        const credentials = await client.getOpenIdToken();
        post({ ...data, response: { state: "allowed", ...credentials } });
    });
    frame.addEventListener(
        "load",
        () =>
            post({
                api: "toWidget",
                widgetId: widget.id,
                requestId: `page-${Date.now()}`,
                action: "capabilities",
                data: {},
            }),
        { once: true },
    );
    frame.src = address.href;
}
