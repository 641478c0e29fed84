// A telephone over matrix-js-sdk. It dials as Element does: look the number up as a
// third-party user, share a direct chat with that user, call in it.

import { ClientEvent, RoomEvent, SyncState, createClient } from "matrix-js-sdk";
import {
    CallErrorCode,
    CallEvent,
    CallState,
    createNewMatrixCall,
} from "matrix-js-sdk/lib/webrtc/call.js";
import { CallEventHandlerEvent } from "matrix-js-sdk/lib/webrtc/callEventHandler.js";
import { roomWith } from "./rooms.js";

/** The protocol whose presence makes Element show its dial pad. */
const PSTN = "m.protocol.pstn";

/** How long signing in may take, in ms. */
const SYNC_PATIENCE = 30_000;

/** A tone of a browser's lasts 100 ms and has 70 ms of quiet after it. */
const TONE = 200;

/** js-sdk's states that matter to a person, in this telephone's words. */
const OUTGOING = {
    [CallState.WaitLocalMedia]: "dialling",
    [CallState.CreateOffer]: "dialling",
    [CallState.InviteSent]: "ringing",
    [CallState.Connecting]: "connecting",
    [CallState.Connected]: "connected",
};
const INCOMING = {
    [CallState.Ringing]: "incoming",
    [CallState.WaitLocalMedia]: "connecting",
    [CallState.CreateAnswer]: "connecting",
    [CallState.Connecting]: "connecting",
    [CallState.Connected]: "connected",
};

/**
 * State, as `phone.state`: `{ is, party, reason, by }`, where `is` is one of
 * `signed_out`, `ready`, `dialling`, `ringing`, `incoming`, `connecting`, `connected`,
 * `ended`; an ended call has a `reason` (js-sdk's, or `unknown_number`, `no_telephone`,
 * `nobody_joined`, `failed`), `by`: `us` or `them`, and `answered`: whether it ever was.
 *
 * Events: `state`, and `note` for what the other side writes in the room.
 */
export class Phone extends EventTarget {
    #client = null;
    #call = null;
    #consulted = null;
    #roomId = null;
    #heard;
    #history = [];
    #microphoneSince = null;

    constructor(heard) {
        super();
        this.#heard = heard;
        this.#become({ is: "signed_out" });
    }

    get state() {
        return this.#history.at(-1);
    }

    /** Every state so far, each with `at` in ms since the page was opened. */
    get history() {
        return [...this.#history];
    }

    get userId() {
        return this.#client?.getUserId() ?? null;
    }

    get client() {
        return this.#client;
    }

    async login({ homeserver, user, password }) {
        const session = await createClient({ baseUrl: homeserver }).loginRequest({
            type: "m.login.password",
            identifier: { type: "m.id.user", user },
            password,
            initial_device_display_name: "mxtrunk softphone",
        });
        this.#client = createClient({
            baseUrl: homeserver,
            accessToken: session.access_token,
            userId: session.user_id,
            deviceId: session.device_id,
            fallbackICEServerAllowed: false,
        });
        this.#client.on(CallEventHandlerEvent.Incoming, (call) => this.#offered(call));
        this.#client.on(RoomEvent.Timeline, (event) => this.#read(event));
        const synced = this.#synced();
        await this.#client.startClient({ initialSyncLimit: 10 });
        await synced;
        this.#become({ is: "ready" });
    }

    /** Takes the microphone as it is: a browser's processing eats steady tones. */
    async rawMicrophone() {
        await this.#client.getMediaHandler().setAudioSettings({
            autoGainControl: false,
            echoCancellation: false,
            noiseSuppression: false,
        });
    }

    /** Calls what a person typed; a Matrix id is called without a look-up. */
    async dial(number) {
        if (this.#call) throw new Error("there is a call already");
        this.#become({ is: "dialling", party: number });
        try {
            const theirId = number.startsWith("@") ? number : await this.#lookUp(number);
            const roomId = await roomWith(this.#client, theirId);
            if (this.state.is !== "dialling") return;
            const call = createNewMatrixCall(this.#client, roomId);
            this.#follow(call, number, OUTGOING);
            await call.placeVoiceCall();
        } catch (error) {
            if (this.state.is === "ended") return;
            this.#end(error.message in REASONS ? error.message : "failed", "us", error.message);
        }
    }

    async answer() {
        await this.#call.answer(true, false);
    }

    reject() {
        this.#call.reject();
    }

    hangup() {
        if (this.#call) return this.#call.hangup(CallErrorCode.UserHangup, false);
        // Still looking up or waiting for the room: there is nothing to tell anybody.
        if (this.state.is === "dialling") this.#end(CallErrorCode.UserHangup, "us");
    }

    /** Sends one tone after the other: a new one would cut off the one still sounding. */
    async sendDtmf(digits) {
        for (const digit of digits) {
            this.#call.sendDtmfDigit(digit);
            await new Promise((next) => setTimeout(next, TONE));
        }
    }

    /** Hands the call on to a number, as Element's transfer button does: matrix-js-sdk then leaves it. */
    async transfer(number) {
        if (!this.#call?.opponentCanBeTransferred()) throw new Error("it cannot be transferred");
        await this.#call.transfer(await this.#lookUp(number));
    }

    /** Holds the call and calls somebody else, to ask them first; resolves once they have picked up. */
    async consult(number) {
        const roomId = await roomWith(this.#client, await this.#lookUp(number));
        this.#call.setRemoteOnHold(true);
        const call = createNewMatrixCall(this.#client, roomId);
        this.#consulted = call;
        const connected = new Promise((resolve, reject) => {
            call.on(CallEvent.State, (state) => state === CallState.Connected && resolve());
            call.on(CallEvent.Hangup, () => reject(new Error(call.hangupReason)));
        });
        await call.placeVoiceCall();
        await connected;
    }

    /** Leaves the two to each other, as Element does after a consultation. */
    async join() {
        await this.#call.transferToCall(this.#consulted);
    }

    /** Writes to somebody in a direct chat; resolves with the first answer that holds `words`. */
    async write(theirId, text, words) {
        const roomId = await roomWith(this.#client, theirId);
        const answered = new Promise((resolve) => {
            const read = (event) => {
                const said = event.getContent().body ?? "";
                if (event.getRoomId() !== roomId || event.getSender() !== theirId) return;
                if (!said.includes(words)) return;
                this.#client.off(RoomEvent.Timeline, read);
                resolve(said);
            };
            this.#client.on(RoomEvent.Timeline, read);
        });
        await this.#client.sendTextMessage(roomId, text);
        return answered;
    }

    hold(held) {
        this.#call.setRemoteOnHold(held);
    }

    /** Whether the other side has put the call on hold, as Element shows it. */
    get heldByThem() {
        return this.#call?.isLocalOnHold() ?? false;
    }

    mute(muted) {
        return this.#call.setMicrophoneMuted(muted);
    }

    /** What matrix-js-sdk does where the connection is lost. */
    restartIce() {
        this.#call.peerConn.restartIce();
    }

    /** Resolves with the first state that is one of `names`; rejects after `patience` ms. */
    reach(names, patience) {
        return new Promise((resolve, reject) => {
            const check = () => {
                if (!names.includes(this.state.is)) return;
                clearTimeout(timer);
                this.removeEventListener("state", check);
                resolve(this.state);
            };
            const timer = setTimeout(() => {
                this.removeEventListener("state", check);
                const seen = this.#history.map((state) => state.is).join(", ");
                reject(new Error(`not ${names.join(" or ")} after ${patience} ms: ${seen}`));
            }, patience);
            this.addEventListener("state", check);
            check();
        });
    }

    /**
     * Resolves once a microphone that plays `lead` ms of quiet, a clip and `trail` ms of
     * quiet in a loop has played the clip whole within this call: with true, or with
     * false when the call ends first.
     */
    async spoken({ lead, clip, trail }) {
        const connected = this.#history.findLast((state) => state.is === "connected").at;
        const round = lead + clip + trail;
        let begins = this.#microphoneSince + lead;
        while (begins < connected) begins += round;
        const rest = begins + clip + trail - performance.now();
        return this.reach(["ended"], rest).then(
            () => false,
            () => true,
        );
    }

    async #lookUp(number) {
        const protocols = await this.#client.getThirdpartyProtocols();
        if (!(PSTN in protocols)) throw new Error("no_telephone");
        const found = await this.#client.getThirdpartyUser(PSTN, { "m.id.phone": number });
        if (found.length === 0 || !found[0].userid) throw new Error("unknown_number");
        return found[0].userid;
    }

    #offered(call) {
        if (this.#call) {
            call.reject();
            return;
        }
        const party = call.getOpponentMember()?.name ?? call.getOpponentMember()?.userId;
        this.#follow(call, party ?? "somebody", INCOMING);
    }

    #follow(call, party, words) {
        this.#call = call;
        this.#roomId = call.roomId;
        const tell = (state) => {
            const is = words[state];
            if (is && is !== this.state.is) this.#become({ is, party, callId: call.callId });
        };
        call.on(CallEvent.State, tell);
        this.#microphoneSince = null;
        call.on(CallEvent.FeedsChanged, () => {
            if (call.localUsermediaStream) this.#microphoneSince ??= performance.now();
            if (call.remoteUsermediaStream) this.#heard.attach(call.remoteUsermediaStream);
        });
        // js-sdk tells of errors here and then ends the call by itself.
        call.on(CallEvent.Error, (error) => console.warn(`call error: ${error}`));
        call.on(CallEvent.Hangup, () => {
            this.#end(call.hangupReason, call.hangupParty === "local" ? "us" : "them");
        });
        tell(call.state);
    }

    #end(reason, by, detail) {
        const { is, party, callId } = this.state;
        const answered = ["connecting", "connected"].includes(is);
        this.#call = null;
        this.#heard.detach();
        this.#become({ is: "ended", party, callId, reason, by, answered, detail });
    }

    #read(event) {
        // The other side's words about this call, not the call history's.
        if (event.getType() !== "m.room.message" || event.getRoomId() !== this.#roomId) return;
        if (event.getSender() === this.userId) return;
        const said = event.getContent().body;
        this.dispatchEvent(new CustomEvent("note", { detail: said }));
    }

    #become(state) {
        this.#history.push({ ...state, at: Math.round(performance.now()) });
        this.dispatchEvent(new CustomEvent("state", { detail: this.state }));
    }

    #synced() {
        const client = this.#client;
        return new Promise((resolve, reject) => {
            const slow = () => reject(new Error("the homeserver did not sync in time"));
            const patience = setTimeout(slow, SYNC_PATIENCE);
            const check = (state) => {
                if (state !== SyncState.Prepared) return;
                clearTimeout(patience);
                client.off(ClientEvent.Sync, check);
                resolve();
            };
            client.on(ClientEvent.Sync, check);
        });
    }
}

/** Why a call ended, in a person's words. */
const REASONS = {
    [CallErrorCode.UserBusy]: "Busy",
    [CallErrorCode.InviteTimeout]: "No answer",
    [CallErrorCode.AnsweredElsewhere]: "Answered on another device",
    [CallErrorCode.Transferred]: "You handed the call on",
    [CallErrorCode.NoUserMedia]: "No microphone: allow this page to use one",
    [CallErrorCode.IceFailed]: "The sound found no way through the network",
    unknown_number: "There is no such number",
    no_telephone: "This homeserver is not joined to a telephone system (yet)",
    nobody_joined: "The telephone system did not come to the room",
};

/** One plain sentence for a state. */
export function inWords(state) {
    const party = state.party ?? "";
    switch (state.is) {
        case "signed_out":
            return "Not signed in";
        case "ready":
            return "Ready";
        case "dialling":
            return `Dialling ${party} …`;
        case "ringing":
            return `Ringing ${party} …`;
        case "incoming":
            return `${party} is calling`;
        case "connecting":
            return `Connecting with ${party} …`;
        case "connected":
            return `Speaking with ${party}`;
        case "ended":
            return `${whyEnded(state)}.`;
        default:
            return state.is;
    }
}

function whyEnded({ reason, by, detail, answered }) {
    if (reason in REASONS) return REASONS[reason];
    if (reason !== CallErrorCode.UserHangup) return `The call failed (${detail ?? reason})`;
    if (by === "us") return "You hung up";
    return answered ? "The other side hung up" : "The other side declined";
}
