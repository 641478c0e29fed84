// What is heard: played, shown as a level, and recorded when a test asks for it.

/** The recorder runs beside the page's own thread, so that a busy page loses nothing. */
const TAP = `
registerProcessor("tap", class extends AudioWorkletProcessor {
    process([input]) {
        if (input.length > 0) this.port.postMessage(input[0].slice());
        return true;
    }
});`;

/** The level shown as silence, in dB below full scale. */
const QUIETEST_DB = -60;

export class Heard {
    #audio;
    #context = null;
    #analyser = null;
    #source = null;
    #stream = null;
    #tap = null;
    #recording = null;

    /** Plays through `audio`: without a playing element browsers deliver only zeros. */
    constructor(audio) {
        this.#audio = audio;
    }

    /** Listens to `stream`; the same stream again changes nothing. */
    async attach(stream) {
        if (this.#stream === stream) return;
        this.detach();
        this.#stream = stream;
        this.#audio.srcObject = stream;
        // Autoplay may be refused until the person has clicked; they have, to call.
        this.#audio.play().catch(() => {});
        const context = await this.#contextReady();
        if (this.#stream !== stream) return;
        this.#source = context.createMediaStreamSource(stream);
        this.#source.connect(this.#analyser);
        if (this.#recording) this.#source.connect(this.#tap);
    }

    detach() {
        this.#source?.disconnect();
        this.#source = null;
        this.#stream = null;
        this.#audio.srcObject = null;
    }

    /** Starts a recording, empty, of this and later calls. */
    async record() {
        const context = await this.#contextReady();
        this.#tap ??= await this.#newTap(context);
        this.#recording = [];
        this.#source?.connect(this.#tap);
    }

    /** Resolves once `seconds` are recorded; rejects when the recording stops growing. */
    async recorded(seconds) {
        const wanted = seconds * this.#context.sampleRate;
        let before = -1;
        while (this.#samples() < wanted) {
            const now = this.#samples();
            if (now === before) throw new Error(`nothing is heard after ${now} samples`);
            before = now;
            await new Promise((next) => setTimeout(next, 1000));
        }
    }

    /** The recording: `rate` in Hz and 16-bit little-endian samples in base 64. */
    recording() {
        const parts = this.#recording ?? [];
        const pcm = new Int16Array(this.#samples());
        let at = 0;
        for (const part of parts) {
            for (const sample of part) {
                pcm[at++] = Math.max(-32768, Math.min(32767, Math.round(sample * 32768)));
            }
        }
        return { rate: this.#context?.sampleRate ?? 48_000, pcm: base64(pcm) };
    }

    /** How loud it is, from 0 (silence) to 1 (full scale). */
    level() {
        if (!this.#source) return 0;
        const samples = new Float32Array(this.#analyser.fftSize);
        this.#analyser.getFloatTimeDomainData(samples);
        const power = samples.reduce((sum, s) => sum + s * s, 0) / samples.length;
        const db = 10 * Math.log10(power + 1e-12);
        return Math.max(0, Math.min(1, 1 - db / QUIETEST_DB));
    }

    #samples() {
        return (this.#recording ?? []).reduce((sum, part) => sum + part.length, 0);
    }

    async #contextReady() {
        if (!this.#context) {
            this.#context = new AudioContext({ sampleRate: 48_000 });
            this.#analyser = this.#context.createAnalyser();
        }
        await this.#context.resume();
        return this.#context;
    }

    async #newTap(context) {
        const source = URL.createObjectURL(new Blob([TAP], { type: "text/javascript" }));
        await context.audioWorklet.addModule(source);
        URL.revokeObjectURL(source);
        const tap = new AudioWorkletNode(context, "tap", { numberOfOutputs: 1 });
        tap.port.onmessage = ({ data }) => this.#recording?.push(data);
        // A node that leads nowhere is not run; its output is silence.
        tap.connect(context.destination);
        return tap;
    }
}

function base64(pcm) {
    const bytes = new Uint8Array(pcm.buffer);
    let text = "";
    for (let at = 0; at < bytes.length; at += 0x8000) {
        text += String.fromCharCode(...bytes.subarray(at, at + 0x8000));
    }
    return btoa(text);
}
