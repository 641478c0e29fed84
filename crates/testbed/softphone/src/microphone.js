// A microphone that plays a file. Chromium takes one from its command line; in Firefox, the page brings it.

export class FileMicrophone {
    #context = null;
    #sound = null;
    #source = null;

    /** From now on the page's microphone plays `wav` (base 64) in a loop, from when it is opened. */
    async plays(wav) {
        this.#context ??= new AudioContext({ sampleRate: 48_000 });
        const bytes = Uint8Array.from(atob(wav), (letter) => letter.charCodeAt(0));
        this.#sound = await this.#context.decodeAudioData(bytes.buffer);
        navigator.mediaDevices.getUserMedia = () => this.#open();
    }

    async #open() {
        await this.#context.resume();
        this.#source?.stop();
        const microphone = new MediaStreamAudioDestinationNode(this.#context, { channelCount: 1 });
        this.#source = new AudioBufferSourceNode(this.#context, { buffer: this.#sound, loop: true });
        this.#source.connect(microphone);
        this.#source.start();
        return microphone.stream;
    }
}
